"""The depth decoder: a dense prediction transformer's head on frozen taps.

Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021, in the sizes of Depth
Anything V2, with a sigmoid at the end: SSIM needs a known range. As in the authors' code,
convolutions of the residual units may be followed by a norm; the one before the last is too.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from pipeline_steps.models.layers import Norm, conv_norm, resample

STRIDES = (4, 8, 16, 32)


class DepthDecoder(nn.Module):
    """Four taps in, a depth map at full size and the last fused features out.

    Without a ``norm`` features grow from level to level: with a large step the sigmoid saturates,
    and nothing is learned any more.
    """

    def __init__(
        self,
        width: int,
        widths: Sequence[int],
        features: int,
        token_stride: int,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.reassemble = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, w, 1),
                resample(w, token_stride, stride),
                nn.Conv2d(w, features, 3, padding=1, bias=False),
            )
            for w, stride in zip(widths, STRIDES, strict=True)
        )
        self.fuse = nn.ModuleList(Fusion(features, norm) for _ in STRIDES)
        self.neck = nn.Conv2d(features, features // 2, 3, padding=1)
        self.head = nn.Sequential(
            conv_norm(features // 2, 32, 3, norm),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, taps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return depth [B, 1, H, W] in [0, 1] and features [B, features, H/2, W/2]."""
        levels = [layer(tap) for layer, tap in zip(self.reassemble, taps, strict=True)]
        x = None
        for level, fuse in zip(reversed(levels), reversed(self.fuse), strict=True):
            x = fuse(level, x)
        depth = self.head(F.interpolate(self.neck(x), scale_factor=2, mode="bilinear"))
        return depth, x


class Fusion(nn.Module):
    """Refine a level, add what comes from below, refine again, and double the size."""

    def __init__(self, features: int, norm: Norm | None = None) -> None:
        super().__init__()
        self.level, self.both = ResidualUnit(features, norm), ResidualUnit(features, norm)
        self.out = nn.Conv2d(features, features, 1)

    def forward(self, level: torch.Tensor, below: torch.Tensor | None) -> torch.Tensor:
        x = self.level(level)
        x = self.both(x if below is None else x + below)
        return self.out(F.interpolate(x, scale_factor=2, mode="bilinear"))


class ResidualUnit(nn.Module):
    """Pre-activated residual unit of two 3x3 convolutions."""

    def __init__(self, features: int, norm: Norm | None = None) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.ReLU(),
            conv_norm(features, features, 3, norm),
            nn.ReLU(),
            conv_norm(features, features, 3, norm),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.convs(x)
