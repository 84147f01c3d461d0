"""A vision transformer of timm as a source of features at four depths."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from pipeline_steps.models.bands import RGB, Bands, Inflated, with_bands
from pipeline_steps.models.dinov2 import timm_settings
from pipeline_steps.models.vit import load_vit

SHORT = 640
"""Tokens up to which plain attention was faster than the fused one on two CPU cores."""

TEACHER = "teacher"
"""The encoder's name where it is the teacher's own."""


class Encoder(nn.Module):
    """A ViT whose block outputs at ``taps`` come as maps, one value per ``token_stride`` pixels.

    Where the patch size is another, ``fit`` says what is resized: the ``image`` first, by patch
    size / token stride, or the ``tokens``, of an image seen as it is. With ``norm`` the final
    norm is applied to each tap. Where ``taps`` are not stated, ``places`` chooses them among so
    many blocks, by default `default_taps`. A frozen encoder stays in evaluation mode, and runs
    without a graph, unless its patch embedding is widened: what is new, for the bands of
    ``in_bands`` that are not at ``rgb``, is always trained.
    """

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        frozen: bool = True,
        token_stride: int = 16,
        fit: str = "image",
        taps: Sequence[int] | None = None,
        norm: bool = True,
        in_bands: int = 3,
        rgb: Sequence[int] = RGB,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        weights: Path | None = None,
        places: Callable[[int], list[int]] | None = None,
    ) -> None:
        super().__init__()
        self.vit = load_vit(name, arguments or {}, weights)
        self.frozen, self.token_stride, self.fit, self.norm = frozen, token_stride, fit, norm
        self.blocks = len(self.vit.blocks)
        self.taps = _checked(taps or (places or default_taps)(self.blocks), self.blocks)
        self.width: int = self.vit.embed_dim
        self.patch: int = self.vit.patch_embed.patch_size[0]
        taught = self.vit.pretrained_cfg
        self.bands = Bands(mean or taught["mean"], std or taught["std"], in_bands, rgb)
        _prune(self.vit, self.taps, norm)
        if frozen:
            self.vit.requires_grad_(False)
            self.vit.eval()
        others = len(self.bands.others)
        self.is_constant = frozen and not others
        if others:
            self.vit.patch_embed.proj = Inflated(self.vit.patch_embed.proj, others)

    def train(self, mode: bool = True) -> "Encoder":
        """Set the training mode, which does not reach a frozen ViT."""
        super().train(mode)
        if self.frozen:
            self.vit.eval()
        return self

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return four maps [B, width, H / token_stride, W / token_stride].

        ``image`` is [B, bands, H, W] in [0, 1], H and W multiples of the token stride.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_constant):
            x = self._resized(self.bands(image))
            self._pick_attention(x)
            taps = self.vit.forward_intermediates(
                x, indices=self.taps, norm=self.norm, intermediates_only=True
            )
            grid = [length // self.token_stride for length in image.shape[-2:]]
            return [_to_grid(tap, grid) for tap in taps]

    def refine(self, change: Callable[[int, torch.Tensor], torch.Tensor]) -> None:
        """Let ``change`` have its way with the patches [B, n, width] that every block returns.

        What it returns goes on to the next block, and gradients pass through a frozen ViT to it;
        class and register tokens are left as they are. It is told which block it is.
        """
        self.is_constant = False
        for number, block in enumerate(self.vit.blocks):
            # no closure: in a copy of a network its own `change` shall be called
            how = (change, number, self.vit.num_prefix_tokens)
            block.register_forward_hook(functools.partial(_changed, *how))

    def grid_of(self, size: Sequence[int]) -> list[int]:
        """Return how many patches it sees of an image of ``size``, down and across."""
        pixels = self.patch if self.fit == "tokens" else self.token_stride
        return [max(1, round(length / pixels)) for length in size]

    def _resized(self, x: torch.Tensor) -> torch.Tensor:
        size = [count * self.patch for count in self.grid_of(x.shape[-2:])]
        if size == list(x.shape[-2:]):
            return x
        return F.interpolate(x, size, mode="bilinear", antialias=True)

    def _pick_attention(self, x: torch.Tensor) -> None:
        """Use the fused kernel but for short sequences on a CPU, where it takes twice as long."""
        tokens = x.shape[-2] * x.shape[-1] // self.patch**2
        for block in self.vit.blocks:
            # not every kind of block can choose
            if hasattr(getattr(block, "attn", None), "fused_attn"):
                block.attn.fused_attn = x.is_cuda or tokens > SHORT


def default_taps(blocks: int) -> list[int]:
    """Return Depth Anything V2's choice of four blocks: evenly, but 4, 11, 17, 23 of 24.

    Raises ValueError for fewer than four.
    """
    if blocks < 4:
        raise ValueError(f"encoder has {blocks} blocks, expected 4 or more")
    return [4, 11, 17, 23] if blocks == 24 else [round((i + 1) * blocks / 4) - 1 for i in range(4)]


def resolved_encoder(
    settings: Mapping[str, Any], weights: Path | None, bands: int, rgb: Sequence[int]
) -> dict[str, Any]:
    """Return an encoder's settings such that no other file tells how to build it again.

    ``weights`` is the teacher's folder where it is the teacher's own, ``rgb`` the places of red,
    green and blue among the ``bands`` of an image. Raises ValueError for a teacher of another kind.
    """
    found = dict(settings)
    if found["name"] == TEACHER:
        if weights is None:
            raise ValueError("encoder.name is teacher, but there is no folder of it")
        own = timm_settings(weights)
        found |= own | {"arguments": own["arguments"] | (found["arguments"] or {})}
    return found | with_bands(found, bands, rgb)


def _checked(taps: Sequence[int], blocks: int) -> list[int]:
    taps = list(taps)
    if taps != sorted(set(taps)) or taps[-1] >= blocks:
        raise ValueError(f"taps are {taps}, expected ascending blocks below {blocks}")
    return taps


def _changed(
    change: Callable[[int, torch.Tensor], torch.Tensor],
    number: int,
    kept: int,
    _: nn.Module,
    __: Any,
    x: torch.Tensor,
) -> torch.Tensor:
    return torch.cat([x[:, :kept], change(number, x[:, kept:])], 1)


def _prune(vit: nn.Module, taps: list[int], norm: bool) -> None:
    """Leave out what no tap depends on: it would be trained by nothing."""
    if norm and isinstance(vit.norm, nn.Identity) and hasattr(vit, "fc_norm"):
        # EVA02 has its final norm behind the pooling, of which nothing is left here
        vit.norm = vit.fc_norm
    vit.prune_intermediate_layers(taps, prune_norm=not norm)


def _to_grid(tap: torch.Tensor, grid: list[int]) -> torch.Tensor:
    if list(tap.shape[-2:]) == grid:
        return tap
    return F.interpolate(tap, grid, mode="bilinear")
