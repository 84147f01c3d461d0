"""The optimiser and the loop, the same for every network that is trained."""

import logging
import math
from collections.abc import Callable, Iterable

import pandas as pd
import torch
from torch import nn

log = logging.getLogger(__name__)

Losses = dict[str, torch.Tensor]
"""The terms of a loss by name; ``loss`` is what is minimised."""


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


def fit(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    factor: Callable[[int], float],
    loss_of: Callable[[dict[str, torch.Tensor]], Losses],
    data: Iterable[dict[str, torch.Tensor]],
    device: torch.device,
    clip: float,
    report_every: int,
    validate: Callable[[], dict[str, float]] = dict,
) -> pd.DataFrame:
    """Train ``network`` on ``data`` until it ends; return mean losses every ``report_every`` steps.

    What ``validate`` returns stands beside them. Raises ValueError at the first report whose
    loss is not a number.
    """
    network.train()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    trainable = [p for p in network.parameters() if p.requires_grad]
    rows, sums, since = [], {}, 0
    for step, batch in enumerate(data, 1):
        batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        losses = loss_of(batch)
        optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(trainable, clip)
        optimiser.step()
        lr = schedule.get_last_lr()[0]
        schedule.step()
        sums = {key: sums.get(key, 0) + loss.detach() for key, loss in losses.items()}
        since += 1
        if step % report_every == 0:
            rows.append(_row(step, lr, sums, since) | validate())
            sums, since = {}, 0
    if since:
        rows.append(_row(step, lr, sums, since) | validate())
    return pd.DataFrame(rows)


def _row(step: int, lr: float, sums: dict[str, torch.Tensor], count: int) -> dict[str, float]:
    row = {"step": step, "lr": lr, **{key: float(value) / count for key, value in sums.items()}}
    if not math.isfinite(row["loss"]):
        raise ValueError(f"loss is {row['loss']} by step {step}, expected a finite number")
    said = ", ".join(
        f"{key} {value:.4f}" for key, value in row.items() if key not in ("step", "lr")
    )
    log.info("step %d: %s", step, said)
    return row
