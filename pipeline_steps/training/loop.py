"""The loop, the same for every network that is trained: it can be left and gone on with."""

import contextlib
import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import nn

log = logging.getLogger(__name__)

Batch = dict[str, torch.Tensor]
Losses = dict[str, torch.Tensor]
"""The terms of a loss by name; ``loss`` is what is minimised."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How steps are taken, beside network and optimiser."""

    factor: Callable[[int], float]
    """Of the learning rate, at a step from 0 on."""

    clip: float
    """Largest norm of the gradient."""

    report_every: int
    """Steps between two rows of the history."""

    seed: int = 0
    """Seed of what a step draws, such as dropout."""

    accumulate: int = 1
    """Parts of a batch that are computed one after another."""

    ema: float = 0.0
    """Decay of a moving average of the weights, which is then the result; 0: none."""

    patience: int | None = None
    """Rows without a lower ``val_loss`` after which it ends, with the weights of the best."""


class Training:
    """A network on its way: the steps that are done, and all that the next one depends on.

    ``loss_of`` takes the network and a batch. What the result is made of, weights and running
    statistics, is ``result``.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        loss_of: Callable[[nn.Module, Batch], Losses],
        recipe: Recipe,
    ) -> None:
        self.fabric, self.bare, self.loss_of, self.recipe = fabric, network, loss_of, recipe
        self.peaks = [group["lr"] for group in optimiser.param_groups]
        self.network, self.optimiser = fabric.setup(network, optimiser)
        self.trained = {k: p for k, p in network.named_parameters() if p.requires_grad}
        kept = set(network.state_dict())
        self.buffers = {k: b for k, b in network.named_buffers() if k in kept}
        self.done, self.is_over, self.rows = 0, False, []
        self.average: list[torch.Tensor] = []
        if recipe.ema:
            self.average = [p.detach().clone() for p in self.trained.values()]
        self._sums: dict[str, torch.Tensor] = {}
        self._since, self._waited = 0, 0
        self._best: tuple[float, dict[str, torch.Tensor]] = (math.inf, {})
        self._trouble: dict[str, torch.Tensor] = {}

    def run(
        self,
        data: Iterable[Batch],
        steps: int,
        watch: Callable[[], dict[str, float]] = dict,
        after: Callable[["Training"], None] = lambda _: None,
    ) -> pd.DataFrame:
        """Take a step with each batch of ``data`` until ``steps`` are done; return the history.

        A row has the mean losses since the one before, and what ``watch`` returns. ``after`` is
        called after every step. Raises ValueError where loss or gradient is not a number.
        """
        self.bare.train()
        waited = begun = time.perf_counter()
        waiting = 0.0
        for batch in data:
            waiting += time.perf_counter() - waited
            self.step(self.fabric.to_device(batch))
            if self.done % self.recipe.report_every == 0 or self.done == steps:
                self._report(watch)
            after(self)
            waited = time.perf_counter()
            if self.is_over:
                break
        share = 100 * waiting / max(time.perf_counter() - begun, 1e-9)
        log.info("waited for data: %.1f %% of the time", share)
        return pd.DataFrame(self.rows)

    def step(self, batch: Batch) -> None:
        """Change the weights by one batch."""
        recipe = self.recipe
        torch.manual_seed(_mixed(recipe.seed, self.done, self.fabric.global_rank))
        rate = recipe.factor(self.done)
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
        losses: Losses = {}
        parts = _parts(batch, recipe.accumulate)
        for number, part in enumerate(parts, 1):
            is_last = number == len(parts)
            with self.fabric.no_backward_sync(self.network, enabled=not is_last):
                found = {k: v / len(parts) for k, v in self.loss_of(self.network, part).items()}
                self.fabric.backward(found["loss"])
            losses = {key: losses.get(key, 0) + value.detach() for key, value in found.items()}
        norm = self.fabric.clip_gradients(
            self.network, self.optimiser, max_norm=recipe.clip, error_if_nonfinite=False
        )
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._watch_for_trouble(losses, norm)
        if self.average:
            decay = min(recipe.ema, (1 + self.done) / (10 + self.done))
            weights = [p.detach() for p in self.trained.values()]
            torch._foreach_lerp_(self.average, weights, 1 - decay)
        self._sums = {key: self._sums.get(key, 0) + loss for key, loss in losses.items()}
        self.done, self._since = self.done + 1, self._since + 1

    def check(self) -> None:
        """Raise DivergenceError where a loss or gradient since the last look is not a number."""
        found = {key: float(value) for key, value in self._trouble.items()}
        if found.get("is_found"):
            losses = {k: v for k, v in found.items() if k not in ("step", "is_found", "gradient")}
            raise DivergenceError(int(found["step"]), losses, found["gradient"])

    @contextlib.contextmanager
    def as_result(self) -> Iterator[Callable[..., Any]]:
        """Yield the network as it would be the result now: with averaged weights, not training.

        It is called as the network, and computes in the training's arithmetic; losses of what it
        says are left in float32.
        """
        weights = [p.data for p in self.trained.values()]
        for parameter, averaged in zip(self.trained.values(), self.average, strict=False):
            parameter.data = averaged
        self.bare.eval()
        try:
            yield self._said
        finally:
            self.bare.train()
            for parameter, own in zip(self.trained.values(), weights, strict=True):
                parameter.data = own

    def result(self) -> dict[str, torch.Tensor]:
        """Return the state of the trained network, on the CPU: of the best row, or the last."""
        with self.as_result():
            state = _on_cpu(self.bare.state_dict())
        return state | self._best[1] if self.recipe.patience else state

    def state_dict(self) -> dict[str, Any]:
        """Return all that a training of the same inputs needs to go on from here."""
        return {
            "done": self.done,
            "is_over": self.is_over,
            "rows": self.rows,
            "network": {k: t.detach() for k, t in (self.trained | self.buffers).items()},
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "sums": (self._sums, self._since),
            "best": (self._waited, *self._best),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self.done, self.is_over, self.rows = state["done"], state["is_over"], state["rows"]
        self.bare.load_state_dict(state["network"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        for averaged, value in zip(self.average, state["average"], strict=True):
            averaged.copy_(value)
        sums, self._since = state["sums"]
        self._sums = {key: value.to(self.fabric.device) for key, value in sums.items()}
        self._waited, *best = state["best"]
        self._best = tuple(best)

    @torch.no_grad()
    def _said(self, *inputs: Any) -> Any:
        with self.fabric.autocast():
            return self.bare(*inputs)

    def _watch_for_trouble(self, losses: Losses, norm: torch.Tensor) -> None:
        """Keep the first step that went wrong on the device: to look would make it wait."""
        is_bad = ~(torch.isfinite(losses["loss"]) & torch.isfinite(norm))
        found = losses | {"gradient": norm, "step": torch.full_like(norm, self.done + 1)}
        found["is_found"] = is_bad.to(norm.dtype)
        if self._trouble:
            before = self._trouble["is_found"] > 0
            found = {key: torch.where(before, self._trouble[key], v) for key, v in found.items()}
        self._trouble = found
        if self.fabric.device.type == "cpu":
            self.check()

    def _report(self, watch: Callable[[], dict[str, float]]) -> None:
        self.check()
        means = {key: value / self._since for key, value in self._sums.items()}
        means = {k: float(v) for k, v in self.fabric.all_reduce(means, reduce_op="mean").items()}
        row = {"step": self.done, "lr": self.optimiser.param_groups[0]["lr"], **means}
        # one device measures, and all go by it
        watched = watch() if self.fabric.global_rank == 0 else {}
        row |= self.fabric.broadcast(watched)
        self.rows.append(row)
        self._sums, self._since = {}, 0
        said = ", ".join(f"{k} {v:.4f}" for k, v in row.items() if k not in ("step", "lr"))
        log.info("step %d: %s", self.done, said)
        if self.recipe.patience:
            self._be_patient(row["val_loss"])

    def _be_patient(self, loss: float) -> None:
        self._waited += 1
        if loss < self._best[0]:
            with self.as_result():
                kept = _on_cpu(self.trained | self.buffers)
            self._best, self._waited = (loss, kept), 0
        self.is_over = self._waited >= self.recipe.patience
        if self.is_over:
            log.info("no better for %d rows: it ends, with the best", self._waited)


class DivergenceError(ValueError):
    """A loss or gradient that is not a number, at ``step``, counted from 1."""

    def __init__(self, step: int, losses: Mapping[str, float], gradient: float) -> None:
        terms = ", ".join(f"{k} {v:.4g}" for k, v in losses.items() if k != "loss")
        found = "loss" if not math.isfinite(losses["loss"]) else "gradient"
        value = losses["loss"] if found == "loss" else gradient
        super().__init__(
            f"{found} is {value} at step {step}, expected a finite number ({terms or 'one term'})"
        )
        self.step = step


def _parts(batch: Batch, count: int) -> list[Batch]:
    if count == 1:
        return [batch]
    chunks = {key: value.chunk(count) for key, value in batch.items()}
    return [dict(zip(chunks, some, strict=True)) for some in zip(*chunks.values(), strict=True)]


def _on_cpu(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    packed = torch.contiguous_format
    return {k: v.detach().to("cpu", copy=True, memory_format=packed) for k, v in state.items()}


def _mixed(*numbers: int) -> int:
    """Return a seed in which every number tells."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:8], "big") >> 1
