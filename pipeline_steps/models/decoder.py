"""Semantic decoders: from features, and prompts where there are any, to logits at full size."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from pipeline_steps.models.layers import conv_norm_relu, normalisation, two_convs

Prompts = Sequence[torch.Tensor | None]


class SemanticDecoder(nn.Module):
    """From coarse to fine: take in features, prompts and what comes from below.

    ``prompts`` are the widths of the four prompts, 0 for one that there is not; ``fusion`` is
    ``concat``, beside the features, or ``add``, projected and added to them.
    """

    def __init__(
        self,
        prompts: Sequence[int],
        channels: int,
        classes: int,
        norm: str,
        upsample: str,
        fusion: str = "concat",
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleDict()
        if fusion == "add":
            self.projections.update(
                {str(i): nn.Conv2d(p, channels, 1) for i, p in enumerate(prompts) if p}
            )
            prompts = (0, 0, 0, 0)
        below = (channels, channels, channels, 0)
        self.levels = nn.ModuleList(
            two_convs(channels + p + b, channels, norm) for p, b in zip(prompts, below, strict=True)
        )
        self.ups = nn.ModuleList(_double(channels, channels, upsample) for _ in range(3))
        self.to_full = _to_full(channels, classes, norm, upsample)

    def forward(self, features: Sequence[torch.Tensor], prompts: Prompts) -> torch.Tensor:
        """Return logits [B, classes, H, W] of four features, and prompts, at H/4 … H/32."""
        x = None
        for level in reversed(range(4)):
            below = None if x is None else self.ups[level](x)
            parts = [*self._fused(level, features[level], prompts[level]), below]
            x = self.levels[level](torch.cat([part for part in parts if part is not None], 1))
        return self.to_full(x)

    def _fused(self, level: int, features: torch.Tensor, prompt: torch.Tensor | None) -> Prompts:
        if prompt is None or str(level) not in self.projections:
            return [features, prompt]
        return [features + self.projections[str(level)](prompt)]


class LinearDecoder(nn.Module):
    """The linear probe: one 1x1 convolution over all taps, then bilinear to full size."""

    def __init__(self, width: int, classes: int, token_stride: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(4 * width, classes, 1)
        self.token_stride = token_stride

    def forward(self, taps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits [B, classes, H, W] of four taps at the token stride."""
        logits = self.classify(torch.cat(list(taps), 1))
        return F.interpolate(logits, scale_factor=self.token_stride, mode="bilinear")


def _to_full(channels: int, classes: int, norm: str, upsample: str) -> nn.Module:
    """Return what leads from H/4 to logits at full size."""
    if upsample == "bilinear":
        return nn.Sequential(
            nn.Conv2d(channels, classes, 1), nn.Upsample(scale_factor=4, mode="bilinear")
        )
    # a thinner end than this starves rare classes
    half, quarter = max(32, channels // 2), max(32, channels // 4)
    return nn.Sequential(
        _double(channels, half, upsample),
        conv_norm_relu(half, half, 3, norm),
        _double(half, quarter, upsample),
        normalisation(norm, quarter),
        nn.ReLU(inplace=True),
        nn.Conv2d(quarter, classes, 1),
    )


def _double(inputs: int, outputs: int, upsample: str) -> nn.Module:
    if upsample == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 2, 2)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(inputs, outputs, 1)
    )
