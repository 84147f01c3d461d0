"""The optimiser, and how its learning rate goes."""

import math
from collections.abc import Callable

import torch
from torch import nn


def adamw(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over what is trainable; norms and biases (all 1-D parameters) do not decay."""
    trainable = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)


def polynomial(steps: int, warmup: int, power: float) -> Callable[[int], float]:
    """Return the factor of the learning rate at a step: linear warm-up, polynomial decay.

    The warm-up takes at most a tenth of the steps, so that a short training decays too.
    """
    warmup = min(warmup, steps // 10)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return (1 - (step - warmup) / max(1, steps - warmup)) ** power

    return factor


def cosine(steps: int) -> Callable[[int], float]:
    """Return the factor of the learning rate at a step: half a cosine from 1 to 0.

    A twentieth of the steps warms up linearly.
    """
    warmup = steps // 20

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / (warmup + 1)) * (1 + math.cos(math.pi * step / steps)) / 2

    return factor
