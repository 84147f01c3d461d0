"""DepthForge: a frozen ViT whose patches are refined by depth-aware tokens after every block.

Chen et al., "Stronger, Steadier & Superior: Geometric Consistency in Depth VFM Forges Domain
Generalized Semantic Segmentation", arXiv 2504.12753, 2025, built from its mathematics.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from pipeline_steps.models.decoder import SemanticDecoder
from pipeline_steps.models.dinov2 import timm_settings
from pipeline_steps.models.dpt import STRIDES
from pipeline_steps.models.encoder import Encoder, resolved_encoder
from pipeline_steps.models.layers import Prediction
from pipeline_steps.models.masks import MaskHead, head_config, semantic
from pipeline_steps.models.refinement import Refinement
from pipeline_steps.models.tokens import Tokens


def resolved(
    settings: Mapping[str, Any],
    weights: Path | None,
    bands: int,
    rgb: Sequence[int],
    depth_weights: Path | None = None,
) -> dict[str, Any]:
    """Return the config's ``train.network`` such that `build` needs nothing else, as JSON.

    ``weights`` and ``depth_weights`` are the folders of the encoder's and of the teacher whose
    encoder sees depth. Raises ValueError for a teacher whose ViT timm has no counterpart of.
    """
    encoder = resolved_encoder(settings["encoder"], weights, bands, rgb)
    found = {**settings, "encoder": encoder}
    if settings["tokens"] != "plain" and depth_weights is not None:
        found["depth_encoder"] = timm_settings(depth_weights)
    return found


def build(
    classes: int,
    weights: Path | None,
    settings: Mapping[str, Any],
    depth_weights: Path | None = None,
) -> "DepthForge":
    """Return the network that ``settings``, as `resolved`, describe.

    ``weights`` and ``depth_weights`` are folders of `fetch` or `adapt`; without one they are drawn.
    Raises ValueError where no depth encoder is told of, but tokens see depth.
    """
    options = dict(settings)
    ours, seen = dict(options.pop("encoder")), options.pop("depth_encoder", None)
    del ours["weights"], ours["bands"], options["model"], options["points"]
    encoder, depth_encoder = Encoder(**ours, weights=weights, places=default_taps), None
    if options["tokens"] != "plain":
        if seen is None:
            raise ValueError(f"tokens is {options['tokens']}, but there is no teacher's encoder")
        layers = len(encoder.vit.blocks)
        depth_encoder = Encoder(
            **seen,
            token_stride=encoder.token_stride,
            norm=False,
            weights=depth_weights,
            places=lambda blocks: sorted(set(depth_blocks(layers, blocks))),
        )
    return DepthForge(encoder, depth_encoder, classes, **options)


class DepthForge(nn.Module):
    """Image in, classes out; depth is seen by the frozen encoder of a teacher, and by tokens.

    With ``tokens="plain"`` there is no depth encoder: that is tuning by tokens alone. The ``head``
    is ``mask2former``, whose queries the tokens make, or the ``decoder`` of DepthSeg.
    """

    sees_image_beside = True
    """Whether an image is looked at also where its ``constant`` part is known."""

    def __init__(
        self,
        encoder: Encoder,
        depth_encoder: Encoder | None,
        classes: int,
        tokens: str = "shared",
        token_count: int = 100,
        rank: int = 16,
        scale: float = 0.001,
        fusion: str = "add",
        normalise_depth_tokens: bool = False,
        refinement: bool = True,
        head: str = "mask2former",
        width: int = 256,
        layers: int = 9,
        pixel_layers: int = 6,
        heads: int = 8,
        norm: str = "batch",
        upsample: str = "transposed",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        inner, blocks = encoder.width, len(encoder.vit.blocks)
        self.encoder, self.depth_encoder = encoder, depth_encoder
        has_queries, seen = head == "mask2former", None
        if depth_encoder:
            seen = depth_encoder.width
            taps = depth_encoder.taps
            self.blocks = [taps.index(b) for b in depth_blocks(blocks, depth_encoder.blocks)]
        how = (tokens, token_count, rank, scale, width if has_queries else None)
        self.tokens = Tokens(
            blocks, inner, encoder.patch, *how, fusion, normalise_depth_tokens, seen
        )
        self.refinement = Refinement(inner) if refinement else None
        if has_queries:
            config = head_config(classes, token_count, width, layers, pixel_layers, heads)
            self.head: nn.Module = MaskHead(config, [inner] * 4)
        else:
            self.head = PyramidHead(inner, width, classes, norm, upsample)
        self._reads: list[torch.Tensor] = []
        encoder.refine(self._refined)
        encoder.vit.set_grad_checkpointing(checkpointing)

    def forward(
        self,
        image: torch.Tensor,
        depth: torch.Tensor | None = None,
        taps: Sequence[torch.Tensor] | None = None,
    ) -> Prediction:
        """Classify ``image`` [B, bands, H, W] in [0, 1], H and W multiples of 32.

        ``depth`` is looked at by no part. ``taps`` are what the depth encoder said of the image,
        which it then does not see: maps [B, its width, H / token stride, W / token stride].
        While it trains with queries there are no logits, but masks.
        """
        size = image.shape[-2:]
        self._reads = self._read(image, taps)
        pyramid = _pyramid(self.encoder(image), size)
        if not torch.is_grad_enabled():
            self._reads = []
        if self.refinement is not None:
            pyramid[0] = self.refinement(pyramid)
        told = self.tokens.told() if self.training else None
        if isinstance(self.head, PyramidHead):
            return Prediction(self.head(pyramid), None, told=told)
        masks = self.head(pyramid, self.tokens.queries())
        logits = None if self.training else semantic(masks, size)
        return Prediction(logits, None, masks, told)

    def constant(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return what no training changes: what the depth encoder says of an image, block by block.

        Maps [B, its width, H / token stride, W / token stride].
        """
        return self.depth_encoder(image[:, self.encoder.bands.order[:3]])

    def _read(self, image: torch.Tensor, taps: Sequence[torch.Tensor] | None) -> list[torch.Tensor]:
        """Return what the tokens of every layer take from depth; nothing where they see none."""
        if self.depth_encoder is None:
            return []
        taps = self.constant(image) if taps is None else taps
        grid = self.encoder.grid_of(image.shape[-2:])
        patches = [_like(tap, grid).flatten(2).transpose(1, 2) for tap in taps]
        return [self.tokens.read(i, patches[block]) for i, block in enumerate(self.blocks)]

    def _refined(self, layer: int, patches: torch.Tensor) -> torch.Tensor:
        return self.tokens(layer, patches, self._reads[layer] if self._reads else None)


class PyramidHead(nn.Module):
    """DepthSeg's semantic decoder, without prompts, over a pyramid of any width."""

    def __init__(self, inner: int, width: int, classes: int, norm: str, upsample: str) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(inner, width, 1) for _ in STRIDES)
        self.decoder = SemanticDecoder((0, 0, 0, 0), width, classes, norm, upsample)

    def forward(self, pyramid: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits [B, classes, H, W] of a ``pyramid``, finest first."""
        features = [project(x) for project, x in zip(self.project, pyramid, strict=True)]
        return self.decoder(features, [None] * len(features))


def default_taps(blocks: int) -> list[int]:
    """Return the published choice of four blocks: 7, 11, 15, 23 of 24, and so of others.

    Raises ValueError for fewer than six, of which four could not be told apart.
    """
    if blocks < 6:
        raise ValueError(f"encoder has {blocks} blocks, expected 6 or more, or taps stated")
    return [round(blocks * part / 6) - 1 for part in (2, 3, 4, 6)]


def depth_blocks(layers: int, blocks: int) -> list[int]:
    """Return the block of a depth encoder of ``blocks`` that each of ``layers`` tokens see."""
    return [min(blocks - 1, round(layer * blocks / layers)) for layer in range(layers)]


def _pyramid(taps: Sequence[torch.Tensor], size: Sequence[int]) -> list[torch.Tensor]:
    return [
        _like(tap, [length // stride for length in size])
        for tap, stride in zip(taps, STRIDES, strict=True)
    ]


def _like(tap: torch.Tensor, grid: Sequence[int]) -> torch.Tensor:
    if list(tap.shape[-2:]) == list(grid):
        return tap
    return F.interpolate(tap, list(grid), mode="bilinear")
