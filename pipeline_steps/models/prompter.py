"""Depth prompts: from depth at H/2 to features for the semantic decoder, from H/4 on."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from pipeline_steps.models.dpt import STRIDES
from pipeline_steps.models.layers import Residual, conv_norm_relu, two_convs

WIDEST = 256
"""Channels that no prompt has more of."""


class Prompter(nn.Module):
    """Depth at H/2 in, prompts at ``scales`` of H/4 … H/32 out, through residual stages.

    ``widths`` are the channels of the four prompts, 0 for one that is left out. What no prompt
    depends on is not built.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        skips: str,
        norm: str,
        scales: Sequence[int] = STRIDES,
    ) -> None:
        super().__init__()
        widths = [min(WIDEST, channels * m) for m in (1, 1, 2, 4)]
        self.shown = [stride in scales for stride in STRIDES]
        self.widths = tuple(w if shown else 0 for w, shown in zip(widths, self.shown, strict=True))
        self.first = self.shown.index(True)
        # with U-Net skips the finest prompt depends on the coarsest stage
        deepest = 4 if skips == "unet" else 4 - self.shown[::-1].index(True)
        self.stem = conv_norm_relu(inputs, channels, 3, norm, stride=2)
        before = (channels, *widths)
        self.stages = nn.ModuleList(
            Residual(before[i], widths[i], norm, 1 if i == 0 else 2) for i in range(deepest)
        )
        merged = range(self.first, 3) if skips == "unet" else ()
        self.merges = nn.ModuleDict(
            {str(i): two_convs(widths[i] + widths[i + 1], widths[i], norm) for i in merged}
        )

    def forward(self, depth: torch.Tensor) -> list[torch.Tensor | None]:
        """Return four prompts of ``depth`` [B, inputs, H/2, W/2]; None for one that is left out."""
        x, prompts = self.stem(depth), []
        for stage in self.stages:
            x = stage(x)
            prompts.append(x)
        for level in sorted(map(int, self.merges), reverse=True):
            below = F.interpolate(prompts[level + 1], scale_factor=2, mode="bilinear")
            both = torch.cat([prompts[level], below], 1)
            prompts[level] = self.merges[str(level)](both)
        prompts += [None] * (4 - len(prompts))
        return [p if shown else None for p, shown in zip(prompts, self.shown, strict=True)]
