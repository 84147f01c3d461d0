"""What networks are made of, and what they say."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import distributed, nn

NO_DEPTH = 0.5
"""What depth is everywhere to a network that shall learn without: see ``depth_control``."""

Norm = str
"""``batch``, ``group``, or ``sync``: batch norm over all processes of a training."""


class Prediction(NamedTuple):
    """Logits [B, classes, H, W], and depth [B, 1, H, W] in [0, 1] where a network predicts it.

    A network of queries says ``masks``, see `Masks`, and no logits while it trains. What else is to
    be seen of a training, ``told``, goes to its history.
    """

    logits: torch.Tensor | None
    depth: torch.Tensor | None
    masks: Any = None
    told: Mapping[str, torch.Tensor] | None = None


def normalisation(kind: Norm, channels: int) -> nn.Module:
    """Return a normalisation layer; groups hold 8 channels where that divides evenly.

    Batch norm and sync have the same state: one process alone has nothing to synchronise with.
    Raises ValueError for sync in several processes on a CPU.
    """
    if kind == "sync" and distributed.is_available() and distributed.is_initialized():
        if not torch.cuda.is_available():
            raise ValueError("norm is sync, but torch has none for a CPU; expected batch or group")
        return nn.SyncBatchNorm(channels)
    if kind in ("batch", "sync"):
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(max(1, channels // 8) if channels % 8 == 0 else 1, channels)


def conv_norm(
    inputs: int, outputs: int, size: int, norm: Norm | None, stride: int = 1
) -> nn.Module:
    """Return a convolution and, if there is a ``norm``, that in the place of the bias."""
    if norm is None:
        return nn.Conv2d(inputs, outputs, size, stride, size // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        normalisation(norm, outputs),
    )


def conv_norm_relu(inputs: int, outputs: int, size: int, norm: Norm, stride: int = 1) -> nn.Module:
    """Return convolution, normalisation and ReLU; no bias, which the normalisation would undo."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        normalisation(norm, outputs),
        nn.ReLU(inplace=True),
    )


def two_convs(inputs: int, outputs: int, norm: Norm) -> nn.Module:
    """Return two 3x3 convolutions, each with normalisation and ReLU."""
    return nn.Sequential(
        conv_norm_relu(inputs, outputs, 3, norm), conv_norm_relu(outputs, outputs, 3, norm)
    )


def resample(channels: int, token_stride: int, stride: int) -> nn.Module:
    """Return the learned layer that takes features from ``token_stride`` pixels to ``stride``."""
    if stride < token_stride:
        factor = token_stride // stride
        return nn.ConvTranspose2d(channels, channels, factor, factor)
    if stride == token_stride:
        return nn.Identity()
    return nn.Conv2d(channels, channels, 3, stride // token_stride, 1)


class Residual(nn.Module):
    """Two 3x3 convolutions beside a skip connection, at ``stride``."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, stride: int = 1) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv_norm_relu(inputs, outputs, 3, norm, stride),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            normalisation(norm, outputs),
        )
        self.skip = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Conv2d(inputs, outputs, 1, stride)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.convs(x) + self.skip(x))


def parameters_of(network: nn.Module) -> dict[str, tuple[int, int]]:
    """Return for each part of a network how many parameters it has, and how many are trained."""
    found = {}
    for name, part in network.named_children():
        counts = [(p.numel(), p.numel() * p.requires_grad) for p in part.parameters()]
        found[name] = (sum(n for n, _ in counts), sum(n for _, n in counts))
    return found
