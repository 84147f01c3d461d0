"""DepthSeg: a frozen ViT, light adapters, and depth prompts for the semantic decoder.

Zhou et al., "DepthSeg: Depth prompting in remote sensing semantic segmentation",
arXiv 2506.14382, 2025; what the paper leaves open follows the defaults of the config.
"""

import bisect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from pipeline_steps.models.decoder import LinearDecoder, SemanticDecoder
from pipeline_steps.models.dpt import STRIDES, DepthDecoder
from pipeline_steps.models.encoder import Encoder, resolved_encoder
from pipeline_steps.models.layers import Prediction, conv_norm_relu, resample
from pipeline_steps.models.prompter import Prompter

WIDEST = 8192
"""Channels up to which a decoder is widened."""


def resolved(
    settings: Mapping[str, Any], weights: Path | None, bands: int, rgb: Sequence[int]
) -> dict[str, Any]:
    """Return the config's ``train.network`` such that `build` needs nothing else, as JSON.

    ``weights`` is the folder of the encoder's, ``rgb`` the places of red, green and blue among the
    ``bands`` of an image. Raises ValueError for a teacher whose ViT timm has no counterpart of.
    """
    encoder = resolved_encoder(settings["encoder"], weights, bands, rgb)
    return {**settings, "encoder": encoder}


def build(classes: int, weights: Path | None, settings: Mapping[str, Any]) -> "DepthSeg":
    """Return the network that ``settings``, as `resolved`, describe.

    ``weights`` is the folder of the encoder's, of `fetch` or `adapt`; without one they are drawn.
    """
    options = dict(settings)
    ours = dict(options.pop("encoder"))
    del ours["weights"], ours["bands"], options["model"]
    encoder = Encoder(**ours, weights=weights)
    if options.pop("match_width"):
        width, stride = encoder.width, encoder.token_stride
        options["channels"] = matched_channels(width, stride, classes, options)
    return DepthSeg(encoder, classes, **options)


class DepthSeg(nn.Module):
    """Image in, classes out; height is modelled on the way and fed as prompts.

    With ``depth="fed"`` no depth decoder is built: the prompter gets the map that the caller
    gives; with ``both`` it gets that map beside the features of a depth decoder. Without
    ``prompter`` there is neither, and with ``decoder="linear"`` nothing but a 1x1 convolution.
    """

    sees_image_beside = False
    """Whether an image is looked at also where its ``constant`` part is known."""

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        adapter: bool = True,
        prompter: bool = True,
        depth: str = "predicted",
        prompt_from: str = "both",
        scales: Sequence[int] = STRIDES,
        skips: str = "residual",
        detach_depth: bool = False,
        norm: str = "batch",
        depth_norm: str = "none",
        widths: Sequence[int] | None = None,
        channels: int | None = None,
        decoder: str = "pyramid",
        fusion: str = "concat",
        upsample: str = "transposed",
    ) -> None:
        super().__init__()
        width, stride = encoder.width, encoder.token_stride
        widths, channels = widths or default_widths(width), channels or d(width)
        self.encoder, self.detach_depth = encoder, detach_depth
        self.sees_depth = prompter and depth != "predicted"
        self.prompt_from = {"fed": "depth", "both": "both"}.get(depth, prompt_from)
        self.adapters = self.depth_decoder = self.prompter = None
        if decoder == "linear":
            self.decoder = LinearDecoder(width, classes, stride)
            return
        self.adapters = nn.ModuleList(
            _adapter(width, inner, channels, stride, level, norm if adapter else None)
            for inner, level in zip(widths, STRIDES, strict=True)
        )
        if prompter and depth != "fed":
            own = None if depth_norm == "none" else depth_norm
            self.depth_decoder = DepthDecoder(width, widths, channels, stride, own)
        prompts = (0, 0, 0, 0)
        if prompter:
            inputs = {"both": channels + 1, "depth": 1, "features": channels}[self.prompt_from]
            self.prompter = Prompter(inputs, channels, skips, norm, scales)
            prompts = self.prompter.widths
        self.decoder = SemanticDecoder(prompts, channels, classes, norm, upsample, fusion)

    def forward(
        self,
        image: torch.Tensor | None,
        depth: torch.Tensor | None = None,
        taps: Sequence[torch.Tensor] | None = None,
    ) -> Prediction:
        """Classify ``image`` [B, bands, H, W] in [0, 1], H and W multiples of 32.

        ``depth`` [B, 1, H, W] in [0, 1] is given to a network that ``sees_depth``. ``taps`` are
        what the encoder said of the image, which is then not looked at: four floating-point maps
        [B, width, H / token stride, W / token stride].
        """
        taps = self.encoder(image) if taps is None else taps
        if self.adapters is None:
            return Prediction(self.decoder(taps), None)
        features = [adapt(tap) for adapt, tap in zip(self.adapters, taps, strict=True)]
        if self.prompter is None:
            return Prediction(self.decoder(features, [None] * 4), None)
        found, shown = self._depth(taps, depth)
        return Prediction(self.decoder(features, self.prompter(shown)), found)

    def constant(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return what no training of a frozen encoder changes: the ``taps`` of an image."""
        return self.encoder(image)

    def _depth(
        self, taps: Sequence[torch.Tensor], fed: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return the depth that is predicted, if any is, and what the prompter sees at H/2."""
        if self.depth_decoder is None:
            return None, _half(fed)
        found, fused = self.depth_decoder(taps)
        depth = fed if self.sees_depth else found
        if self.detach_depth:
            depth, fused = depth.detach(), fused.detach()
        if self.prompt_from == "both":
            return found, torch.cat([_half(depth), fused], 1)
        return found, fused if self.prompt_from == "features" else _half(depth)


def matched_channels(
    width: int, token_stride: int, classes: int, options: Mapping[str, Any]
) -> int:
    """Return the least ``channels`` with which as much is trained as with a prompter.

    ``options`` are those of `DepthSeg`. What the encoder trains is the same with and without.
    """
    encoder = SimpleNamespace(width=width, token_stride=token_stride)

    def trained(**changes: Any) -> int:
        with torch.device("meta"):
            network = DepthSeg(encoder, classes, **{**options, **changes})
        return sum(p.numel() for p in network.parameters())

    widths, goal = range(1, WIDEST + 1), trained(prompter=True)
    place = bisect.bisect_left(widths, goal, key=lambda channels: trained(channels=channels))
    return widths[place]


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


def _half(depth: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(depth, 2)
