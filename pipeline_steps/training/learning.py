"""One training from its rasters to its history, kept on disk as it goes."""

import contextlib
import dataclasses
import itertools
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import nn

from pipeline_steps.models.bands import Bands
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Crops, Drawing, batches
from pipeline_steps.training.features import features_of
from pipeline_steps.training.journal import Journal
from pipeline_steps.training.keeper import CHECKPOINT, Keeper
from pipeline_steps.training.layers import Layers
from pipeline_steps.training.loop import DivergenceError, Recipe, Training
from pipeline_steps.training.objective import Objective
from pipeline_steps.training.panels import Panels

VALIDATION_BATCHES = 8
"""Fixed batches of the validation rasters that every row of the history is measured on."""

SHOWN = 3
"""Crops in a picture of the network at work."""

Shown = Callable[[Iterable[Any], int, str, str], Iterable[Any]]
"""Passes on work of so many steps, and shows how far it is; of what, in which unit."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a training learns from, and for how long; the fields are those of ``train``."""

    steps: int
    batch: int
    crop: int
    augmentation: Augmentation
    drawing: Drawing
    ignore: int
    seed: int = 0
    workers: int = 0
    panels: int = 0
    feature_cache: bool = False

    def crops(
        self,
        rasters: list[Layers],
        features: Any | None = None,
        hold: bool = True,
        beside: bool = False,
    ) -> Crops:
        """Return the crops of the training; its item n is in batch n // ``batch``."""
        how = (self.crop, self.steps * self.batch, self.seed, self.augmentation, self.ignore)
        return Crops(rasters, *how, hold and self.workers == 0, self.drawing, features, beside)

    def fixed(self, rasters: list[Layers]) -> Crops:
        """Return crops to look at a training by: as they are, anywhere, the same for all seeds."""
        drawing = dataclasses.replace(self.drawing, positions="anywhere", rare_classes=None)
        plain = {"augmentation": Augmentation(), "drawing": drawing, "seed": 0}
        few = dataclasses.replace(self, steps=VALIDATION_BATCHES, **plain)
        return few.crops(rasters, hold=False)


class Learning:
    """A network that learns by a plan; in the folder ``work`` it is gone on with."""

    def __init__(
        self,
        fabric: Fabric,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        objective: Objective,
        recipe: Recipe,
        plan: Plan,
        work: Path,
    ) -> None:
        self.fabric, self.objective, self.plan, self.work = fabric, objective, plan, work
        self.training = Training(fabric, network, optimiser, objective, recipe)

    def learn(
        self,
        learned: list[Layers],
        watched: list[Layers],
        panels: Path,
        events: Path | None,
        shown: Shown,
    ) -> pd.DataFrame:
        """Train to the end, from the start or from where it was left; return the history.

        Losses are watched on other rasters, pictures go to the folder ``panels``, and both to
        TensorBoard in ``events``. Raises ValueError that names the crops of a step whose loss is
        no number.
        """
        plan, training, fabric = self.plan, self.training, self.fabric
        crops = self._crops(learned, shown)
        with contextlib.ExitStack() as stack:
            keeper = stack.enter_context(Keeper(self.work / CHECKPOINT))
            keeper.resume(training)
            after: list[Callable[[Training], None]] = [keeper]
            if fabric.global_rank == 0:
                # what is written comes before the checkpoint that knows of it
                after.insert(0, stack.enter_context(self._journal(crops, watched, panels, events)))
            is_on_gpu, place = fabric.device.type == "cuda", (fabric.global_rank, fabric.world_size)
            first = training.done * plan.batch
            data = batches(crops, plan.batch, plan.workers, is_on_gpu, *place, first)
            left = 0 if training.is_over else plan.steps - training.done
            work = shown(itertools.islice(data, left), left, "train", "steps")
            try:
                return training.run(
                    work,
                    plan.steps,
                    self._watch(watched),
                    lambda training: [follow(training) for follow in after],
                )
            except DivergenceError as error:
                raise ValueError(f"{error}; {self._places(crops, error.step)}") from error

    def _crops(self, rasters: list[Layers], shown: Shown) -> Crops:
        plan, crops = self.plan, self.plan.crops(rasters)
        if not plan.feature_cache:
            return crops

        def show(work: Iterable[Any], count: int) -> Iterable[Any]:
            return shown(work, count, "features", "batches")

        size, network = plan.batch // self.fabric.world_size, self.training.bare
        how = (self.work / "features", size, self.fabric, show)
        features = features_of(crops, network.constant, *how)
        return plan.crops(rasters, features, beside=network.sees_image_beside)

    def _journal(
        self, crops: Crops, watched: list[Layers], folder: Path, events: Path | None
    ) -> Journal:
        plan = self.plan
        if events and not self.training.done:
            shutil.rmtree(events, ignore_errors=True)
        parts = self.training.bare.modules()
        rgb = next(part.order[:3] for part in parts if isinstance(part, Bands))
        shown = Panels(plan.fixed(watched or crops.rasters), SHOWN, rgb) if plan.panels else None
        steps = {round(plan.steps * n / plan.panels) for n in range(1, plan.panels + 1)}
        has_lesson = self.objective.depth_weight > 0 and plan.drawing.depth_control != "constant"
        return Journal(self.training, events, shown, folder, steps, has_lesson)

    def _watch(self, rasters: list[Layers]) -> Callable[[], dict[str, float]]:
        """Return a function that gives mean losses over fixed crops, or nothing without rasters."""
        plan, training = self.plan, self.training
        if not rasters:
            return dict
        data = list(batches(plan.fixed(rasters), plan.batch, 0, False))

        def measure() -> dict[str, float]:
            with training.as_result() as network:
                found = [self.objective(network, training.fabric.to_device(b)) for b in data]
            means = {key: np.mean([float(one[key]) for one in found]) for key in found[0]}
            return {f"val_{key}": float(mean) for key, mean in means.items()}

        return measure

    def _places(self, crops: Crops, step: int) -> str:
        """Say where the crops of a step, counted from 1, lie."""
        numbers = range((step - 1) * self.plan.batch, step * self.plan.batch)
        return "its crops: " + "; ".join(str(crops.place(number)) for number in numbers)
