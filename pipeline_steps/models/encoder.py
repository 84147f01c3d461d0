"""A vision transformer of timm as a source of features at four depths."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

SHORT = 640
"""Tokens up to which plain attention was faster than the fused one on two CPU cores."""


class Encoder(nn.Module):
    """A ViT whose block outputs at ``taps`` come as maps, after the final layer norm.

    The image is resized by patch size / token stride first, so that one token stands for exactly
    ``token_stride`` pixels. A frozen encoder runs without a graph and stays in evaluation mode.
    """

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        frozen: bool = True,
        token_stride: int = 16,
        taps: Sequence[int] | None = None,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.vit = _vit(name, dict(arguments or {}), weights)
        self.frozen, self.token_stride = frozen, token_stride
        self.taps = list(taps or default_taps(len(self.vit.blocks)))
        blocks = len(self.vit.blocks)
        if self.taps != sorted(set(self.taps)) or self.taps[-1] >= blocks:
            raise ValueError(f"taps are {self.taps}, expected four ascending blocks below {blocks}")
        self.width: int = self.vit.embed_dim
        self.patch: int = self.vit.patch_embed.patch_size[0]
        for key in ("mean", "std"):
            values = torch.tensor(self.vit.pretrained_cfg[key]).view(1, 3, 1, 1)
            self.register_buffer(key, values, persistent=False)
        if frozen:
            self.requires_grad_(False)
            self.vit.eval()

    def train(self, mode: bool = True) -> "Encoder":
        """Set the training mode, which does not reach a frozen ViT."""
        super().train(mode)
        if self.frozen:
            self.vit.eval()
        return self

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return four maps [B, width, H / token_stride, W / token_stride].

        ``image`` is [B, 3, H, W] in [0, 1], H and W multiples of the token stride.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            x = (image - self.mean) / self.std
            if self.patch != self.token_stride:
                size = [length // self.token_stride * self.patch for length in x.shape[-2:]]
                x = F.interpolate(x, size, mode="bilinear", antialias=True)
            self._pick_attention(x)
            return self.vit.forward_intermediates(
                x, indices=self.taps, norm=True, intermediates_only=True
            )

    def _pick_attention(self, x: torch.Tensor) -> None:
        """Use the fused kernel but for short sequences on a CPU, where it takes twice as long."""
        tokens = x.shape[-2] * x.shape[-1] // self.patch**2
        for block in self.vit.blocks:
            block.attn.fused_attn = x.is_cuda or tokens > SHORT


def default_taps(blocks: int) -> list[int]:
    """Return Depth Anything V2's choice of four blocks: evenly, but 4, 11, 17, 23 of 24.

    Raises ValueError for fewer than four.
    """
    if blocks < 4:
        raise ValueError(f"encoder has {blocks} blocks, expected 4 or more")
    return [4, 11, 17, 23] if blocks == 24 else [round((i + 1) * blocks / 4) - 1 for i in range(4)]


def _vit(name: str, arguments: dict[str, Any], weights: Path | None) -> nn.Module:
    file = {"file": str(weights)} if weights else None
    try:
        vit = timm.create_model(
            name,
            pretrained=weights is not None,
            pretrained_cfg_overlay=file,
            num_classes=0,
            dynamic_img_size=True,
            **arguments,
        )
    except (RuntimeError, TypeError, AssertionError, ArithmeticError) as error:
        found = f"{weights or name} with {arguments}"
        raise ValueError(f"{found} does not make a network: {error}") from error
    if not hasattr(vit, "blocks") or not hasattr(vit, "forward_intermediates"):
        raise ValueError(f"encoder is {name}, expected a vision transformer of timm")
    return vit
