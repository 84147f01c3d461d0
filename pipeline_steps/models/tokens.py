"""Depth-aware tokens: what refines a frozen ViT's patches after every block, and becomes queries.

Chen et al., "Stronger, Steadier & Superior: Geometric Consistency in Depth VFM Forges Domain
Generalized Semantic Segmentation", arXiv 2504.12753, 2025. Tokens that see no depth are those of
Wei et al., "Stronger, Fewer, & Superior: Harnessing Vision Foundation Models for Domain
Generalized Semantic Segmentation", arXiv 2312.04265, 2024.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Tokens(nn.Module):
    """For each of ``layers`` blocks ``count`` tokens of low ``rank``, the first of them a sink.

    ``kind`` is ``plain`` where tokens look at the visual patches alone; ``shared`` where the same
    tokens look at those of a depth encoder, too; ``separate`` where tokens of their own do, and a
    learned share of attention is theirs. With ``fusion="cross_attention"`` shared tokens first
    gather from the depth patches, and then look at the visual ones. ``normalise`` brings depth
    patches, whose size grows from block to block, to mean 0 and variance 1. ``patch`` is the side
    of a patch in pixels, by which tokens are drawn. With ``query_width`` they make queries.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        patch: int,
        kind: str = "shared",
        count: int = 100,
        rank: int = 16,
        scale: float = 0.001,
        query_width: int | None = 256,
        fusion: str = "add",
        normalise: bool = False,
        depth_width: int | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.fusion, self.normalise = kind, fusion, normalise
        bound = math.sqrt(6 / (3 * patch**2 + math.sqrt(width * rank)))
        self.a, self.b = _drawn(layers, count, rank, width, bound)
        if kind == "separate":
            self.depth_a, self.depth_b = _drawn(layers, count, rank, width, bound)
            self.depth_share = nn.Parameter(torch.tensor(0.5))
        self.to_feature, self.to_delta = nn.Linear(width, width), nn.Linear(width, width)
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.gather = nn.Linear(width, width) if fusion == "cross_attention" else None
        self.project: nn.Module | None = None
        if kind != "plain" and depth_width not in (None, width):
            self.project = nn.Linear(depth_width, width)
        self.to_query = self.merge = None
        if query_width:
            self.to_query = nn.Linear(width, query_width)
            self.merge = nn.Linear(3 * query_width, query_width)
        self.variances: dict[int, list[torch.Tensor]] = {}

    def read(self, layer: int, depth: torch.Tensor) -> torch.Tensor:
        """Return what the tokens of a layer take from depth patches [B, n, depth width].

        It is small: attention over tokens, or what these gathered.
        """
        if self.project is not None:
            depth = self.project(depth)
        if self.normalise:
            depth = F.layer_norm(depth, depth.shape[-1:])
        tokens = self._of(layer, self.kind == "separate")
        seen = _logits(depth, tokens)
        if self.gather is not None:
            return self.gather(seen.transpose(1, 2).softmax(-1) @ depth)
        return seen

    def forward(
        self, layer: int, patches: torch.Tensor, read: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the patches [B, n, width] of a block, refined; ``read`` is of `read`."""
        tokens = self._of(layer)
        if read is not None and self.gather is not None:
            tokens = tokens + read
        seen = _logits(patches, tokens)
        if self.training:
            self._note(layer, seen, read)
        if read is None or self.gather is not None:
            gained = self._value(seen, tokens)
        elif self.kind == "shared":
            gained = self._value(seen + read, tokens)
        else:
            other = self._value(read, self._of(layer, True))
            gained = torch.lerp(self._value(seen, tokens), other, self.depth_share.clamp(0, 1))
        return patches + self.scale * self.to_delta(gained + patches)

    def queries(self) -> torch.Tensor:
        """Return as many queries as there are tokens, [count, query width], of all layers."""
        found = self.to_query(self.a @ self.b)
        # side by side channel by channel, as the published weights have it
        parts = torch.stack([found.amax(0), found.mean(0), found[-1]], -1)
        return self.merge(parts.flatten(-2))

    def told(self) -> dict[str, torch.Tensor]:
        """Return the variances of visual and depth attention before the softmax, over all layers.

        Where depth's is far larger, what is seen does not count; see ``normalise``.
        """
        found = torch.stack([torch.stack(pair) for pair in self.variances.values()]).mean(0)
        return dict(zip(("visual_variance", "depth_variance"), found, strict=False))

    def _of(self, layer: int, is_depth: bool = False) -> torch.Tensor:
        a, b = (self.depth_a, self.depth_b) if is_depth else (self.a, self.b)
        return a[layer] @ b[layer]

    def _value(self, logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return logits.softmax(-1)[..., 1:] @ self.to_feature(tokens[..., 1:, :])

    def _note(self, layer: int, seen: torch.Tensor, read: torch.Tensor | None) -> None:
        parts = [seen] if read is None or self.gather is not None else [seen, read]
        self.variances[layer] = [one.detach().float().var() for one in parts]


def _drawn(
    layers: int, count: int, rank: int, width: int, bound: float
) -> tuple[nn.Parameter, nn.Parameter]:
    """Return tokens of all layers as two factors."""
    shapes = (layers, count, rank), (layers, rank, width)
    a, b = (nn.Parameter(torch.empty(shape).uniform_(-bound, bound)) for shape in shapes)
    return a, b


def _logits(patches: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return [B, n, count] of patches [B, n, width] and tokens [count, width] or one set each."""
    return patches @ tokens.transpose(-1, -2) / math.sqrt(patches.shape[-1])
