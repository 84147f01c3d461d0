"""DepthSeg: a frozen ViT, light adapters, and depth prompts for the semantic decoder.

Zhou et al., "DepthSeg: Depth prompting in remote sensing semantic segmentation",
arXiv 2506.14382, 2025; what the paper leaves open follows the defaults of the config.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from pipeline_steps.models.dpt import STRIDES, DepthDecoder
from pipeline_steps.models.encoder import Encoder
from pipeline_steps.models.layers import (
    Residual,
    conv_norm_relu,
    normalisation,
    resample,
    two_convs,
)


class Prediction(NamedTuple):
    """Logits [B, classes, H, W], and depth [B, 1, H, W] where the network predicts it."""

    logits: torch.Tensor
    depth: torch.Tensor | None


def build(classes: int, weights: Path | None, settings: Mapping[str, Any]) -> "DepthSeg":
    """Return the network that ``settings``, the config's ``train.network``, describes."""
    options = dict(settings)
    encoder = dict(options.pop("encoder"))
    encoder.pop("weights")
    options.pop("model")
    return DepthSeg(Encoder(**encoder, weights=weights), classes, **options)


class DepthSeg(nn.Module):
    """Image in, classes out; height is modelled on the way and fed as prompts.

    With ``depth="fed"`` no depth decoder is built: the prompter gets the map that the caller
    gives. Without ``prompter`` there is neither.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        adapter: bool = True,
        prompter: bool = True,
        depth: str = "predicted",
        prompt_from: str = "both",
        skips: str = "residual",
        detach_depth: bool = False,
        norm: str = "batch",
        widths: Sequence[int] | None = None,
        channels: int | None = None,
        upsample: str = "transposed",
    ) -> None:
        super().__init__()
        widths, channels = widths or default_widths(encoder.width), channels or d(encoder.width)
        self.encoder, self.detach_depth = encoder, detach_depth
        self.prompt_from = "depth" if depth == "fed" else prompt_from
        stride = encoder.token_stride
        self.adapters = nn.ModuleList(
            _adapter(encoder.width, width, channels, stride, level, norm if adapter else None)
            for width, level in zip(widths, STRIDES, strict=True)
        )
        self.depth_decoder = self.prompter = None
        prompts = (0, 0, 0, 0)
        if prompter:
            if depth == "predicted":
                self.depth_decoder = DepthDecoder(encoder.width, widths, channels, stride)
            inputs = {"both": channels + 1, "depth": 1, "features": channels}[self.prompt_from]
            self.prompter = Prompter(inputs, channels, skips, norm)
            prompts = self.prompter.widths
        self.decoder = SemanticDecoder(prompts, channels, classes, norm, upsample)

    def forward(self, image: torch.Tensor, depth: torch.Tensor | None = None) -> Prediction:
        """Classify ``image`` [B, 3, H, W] in [0, 1], H and W multiples of 32.

        ``depth`` [B, 1, H, W] in [0, 1] is what a network with ``depth="fed"`` is given.
        """
        taps = self.encoder(image)
        features = [adapt(tap) for adapt, tap in zip(self.adapters, taps, strict=True)]
        if self.prompter is None:
            return Prediction(self.decoder(features, [None] * 4), None)
        if self.depth_decoder is None:
            return Prediction(self.decoder(features, self.prompter(_half(depth))), None)
        depth, fused = self.depth_decoder(taps)
        shown = (depth.detach(), fused.detach()) if self.detach_depth else (depth, fused)
        prompts = self.prompter(self._prompt(*shown))
        return Prediction(self.decoder(features, prompts), depth)

    def _prompt(self, depth: torch.Tensor, fused: torch.Tensor) -> torch.Tensor:
        if self.prompt_from == "features":
            return fused
        return torch.cat([_half(depth), fused], 1) if self.prompt_from == "both" else _half(depth)


class Prompter(nn.Module):
    """Depth at H/2 in, four prompts at H/4 … H/32 out, through residual stages."""

    def __init__(self, inputs: int, channels: int, skips: str, norm: str) -> None:
        super().__init__()
        self.widths = tuple(min(256, channels * m) for m in (1, 1, 2, 4))
        before = (channels, *self.widths[:-1])
        self.stem = conv_norm_relu(inputs, channels, 3, norm, stride=2)
        self.stages = nn.ModuleList(
            Residual(i, o, norm, stride)
            for i, o, stride in zip(before, self.widths, (1, 2, 2, 2), strict=True)
        )
        pairs = zip(self.widths[:-1], self.widths[1:], strict=True)
        self.merges = nn.ModuleList(two_convs(a + b, a, norm) for a, b in pairs if skips == "unet")

    def forward(self, depth: torch.Tensor) -> list[torch.Tensor]:
        x, prompts = self.stem(depth), []
        for stage in self.stages:
            x = stage(x)
            prompts.append(x)
        for level in reversed(range(len(self.merges))):
            below = F.interpolate(prompts[level + 1], scale_factor=2, mode="bilinear")
            prompts[level] = self.merges[level](torch.cat([prompts[level], below], 1))
        return prompts


class SemanticDecoder(nn.Module):
    """From coarse to fine: concatenate features, prompts and what comes from below."""

    def __init__(
        self, prompts: Sequence[int], channels: int, classes: int, norm: str, upsample: str
    ) -> None:
        super().__init__()
        below = (channels, channels, channels, 0)
        self.levels = nn.ModuleList(
            two_convs(channels + p + b, channels, norm) for p, b in zip(prompts, below, strict=True)
        )
        self.ups = nn.ModuleList(_double(channels, channels, upsample) for _ in range(3))
        # a thinner end than this starves rare classes
        half, quarter = max(32, channels // 2), max(32, channels // 4)
        self.to_full = nn.Sequential(
            _double(channels, half, upsample),
            conv_norm_relu(half, half, 3, norm),
            _double(half, quarter, upsample),
            normalisation(norm, quarter),
            nn.ReLU(inplace=True),
            nn.Conv2d(quarter, classes, 1),
        )

    def forward(
        self, features: Sequence[torch.Tensor], prompts: Sequence[torch.Tensor | None]
    ) -> torch.Tensor:
        x = None
        for level in reversed(range(4)):
            parts = [features[level], prompts[level], None if x is None else self.ups[level](x)]
            x = self.levels[level](torch.cat([part for part in parts if part is not None], 1))
        return self.to_full(x)


def default_widths(width: int) -> tuple[int, int, int, int]:
    """Return the adapters' widths: Depth Anything V2's for ViT-S, -B and -L."""
    if width >= 1024:
        return 256, 512, 1024, 1024
    return width // 8, width // 4, width // 2, width


def d(width: int) -> int:
    """Return the decoder's width for an encoder of ``width``: 64, 128 or 256 for ViT-S, -B, -L."""
    return 256 if width >= 1024 else 128 if width >= 768 else 64


def _adapter(
    width: int, inner: int, channels: int, stride: int, level: int, norm: str | None
) -> nn.Module:
    """Return an adapter: 1x1 convolution, norm, ReLU; without ``norm`` the bare convolution."""
    first = conv_norm_relu(width, inner, 1, norm) if norm else nn.Conv2d(width, inner, 1)
    return nn.Sequential(
        first, resample(inner, stride, level), nn.Conv2d(inner, channels, 3, padding=1)
    )


def _double(inputs: int, outputs: int, upsample: str) -> nn.Module:
    if upsample == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 2, 2)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(inputs, outputs, 1)
    )


def _half(depth: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(depth, 2)
