"""The depth refinement decoder: every level of a pyramid, gated, sharpens the finest.

Chen et al., arXiv 2504.12753, 2025.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


class Refinement(nn.Module):
    """All levels of a pyramid, each ``width`` wide, gated by one gate and added to the finest."""

    def __init__(self, width: int, levels: int = 4, reduction: int = 16) -> None:
        super().__init__()
        inner = max(1, width // reduction)
        self.channel_gate = nn.Sequential(
            nn.Conv2d(width, inner, 1), nn.ReLU(), nn.Conv2d(inner, width, 1), nn.Sigmoid()
        )
        self.spatial_gate = nn.Sequential(nn.Conv2d(width, 1, 3, padding=1), nn.Sigmoid())
        self.fuse = nn.Conv2d(levels * width, width, 1)

    def forward(self, pyramid: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the finest level [B, width, h, w] of a ``pyramid``, finest first, refined."""
        finest = pyramid[0]
        # level by level, which is the same as all side by side, and never has them so
        weights = self.fuse.weight.split(finest.shape[1], dim=1)
        found = finest + self.fuse.bias[:, None, None]
        for level, weight in zip(pyramid, weights, strict=True):
            found = found + F.conv2d(self._gated(_like(level, finest)), weight)
        return found

    def _gated(self, x: torch.Tensor) -> torch.Tensor:
        x = x * self.channel_gate(x)
        return x * self.spatial_gate(x)


def _like(level: torch.Tensor, finest: torch.Tensor) -> torch.Tensor:
    if level.shape[-2:] == finest.shape[-2:]:
        return level
    return F.interpolate(level, finest.shape[-2:], mode="bilinear")
