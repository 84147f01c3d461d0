"""Teach a teacher what is tall in this imagery, from the training scenes' elevation."""

import dataclasses
import itertools
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import nn

from pipeline_steps.models.teacher import Teacher, load_teacher, save_teacher
from pipeline_steps.rasters.place import factor_to
from pipeline_steps.rasters.store import Limits, Scene, tiled
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE
from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.manifest import digest_of, read_made, read_manifest, write_manifest
from pipeline_steps.study.params.adapt import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import begun, release
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Crops, batches
from pipeline_steps.training.fabric import new_fabric
from pipeline_steps.training.keeper import CHECKPOINT, Keeper
from pipeline_steps.training.layers import Layers, layers_of
from pipeline_steps.training.loop import Batch, Losses, Recipe, Training
from pipeline_steps.training.losses import relative_height_loss
from pipeline_steps.training.optimiser import adamw, cosine

log = logging.getLogger(__name__)

LEAST_RANGE = 0.7
"""What answers are to span at least, from flat ground to tall: random networks' do not."""

GROUND = -0.05
"""What flat ground is to give at least, of that span: a little below 0, where the ReLU at the end
of most networks, once they are loaded again, makes one height of noise on the ground."""

LOOKS = 4
"""Batches on which the base is asked what range its answers have."""


def run(
    base: Path,
    tiles: list[Path],
    splits: list[Path],
    stretch: Path,
    config: Path,
    weights: Path,
    preprocessor: Path,
    manifest: Path,
    params: Params,
) -> None:
    """Fine-tune the model whose manifest is ``base`` on the tiled scenes; write it as its like.

    Heights are divided by their 98th percentile over all scenes and cut off there; of a scene
    that is divided (its manifest is among ``splits``) only the training part is used. The manifest
    says how ``depth`` is to show it scenes. Raises ValueError where no scene has any height, or
    one has no georeference and ``gsd`` is stated. What a killed run has learned is gone on with.
    """
    scenes, origin = tiled(tiles, splits, read_manifest), read_made(base)
    rasters = _rasters(scenes, read_manifest(stretch)["limits"], params)
    tall = _tall(rasters, scenes)
    fabric = new_fabric(params.precision)
    torch.manual_seed(params.seed)
    teacher = _teacher(base.parent, origin.get("gives"), fabric.device)
    sources = (base, stretch, *tiles, *splits)
    key = [fingerprint("pipeline_steps.adapt"), *map(digest_of, sources), params.model_dump_json()]
    work = begun(manifest.with_name("work.partial"), key)
    history = _learn(fabric, _Objective(teacher, tall, params), rasters, params, work)
    save_teacher(teacher, work)
    made = (config, weights, preprocessor)
    write_manifest(
        manifest,
        "pipeline_steps.adapt",
        params=params,
        made_from=sources,
        made=made,
        work=work,
        model=manifest.parent.name,
        gives=origin.get("gives"),
        license=origin.get("license"),
        gsd=params.gsd,
        resample=params.resample,
        tall_m=tall,
        loss=float(history["loss"].iloc[-1]),
    )
    release(work, *made, manifest)
    log.info("teacher: %s", weights)


def _rasters(scenes: list[Scene], limits: Limits | None, params: Params) -> list[Layers]:
    """Open image and height of all rasters, each with the factor to the teacher's pixels."""
    heights = [scene.folder / "elevation.zarr" for scene in scenes]
    layers = layers_of(scenes, heights, limits, ("train", None), IGNORE)
    factors = [_factor(scene, i, params) for scene in scenes for i in range(len(scene.rasters))]
    pairs = zip(layers, factors, strict=True)
    return [dataclasses.replace(one, labels=None, factor=factor) for one, factor in pairs]


def _factor(scene: Scene, index: int, params: Params) -> float:
    """Return the teacher's pixels for one of the scene, along a side."""
    what = f"{scene.folder / 'manifest.json'}: raster {scene.rasters[index]}"
    return factor_to(params.gsd, params.resample, scene.grid(index), what)


def _teacher(folder: Path, gives: str | None, device: torch.device) -> Teacher:
    # on a CPU the plain form trains half as fast again as the fused one, whose gradient is slow
    attention = "eager" if device.type == "cpu" else None
    teacher = load_teacher(folder, 1.0, gives, attention)
    head = getattr(teacher.network, "head", None)
    if isinstance(getattr(head, "activation2", None), nn.ReLU):
        # a final ReLU that has gone dark passes no gradient and stays so; it is back when loaded
        head.activation2 = nn.Identity()
    return teacher.to(device, memory_format=torch.channels_last)


class _Objective:
    """The loss of a batch, whose absolute error weighs more from step to step.

    From the start it would pull all to the ground, of which there is most.
    """

    def __init__(self, teacher: Teacher, tall: float, params: Params) -> None:
        self.teacher, self.tall, self.params = teacher, tall, params
        self.low, self.range, self.step = 0.0, 1.0, 0

    def __call__(self, network: nn.Module, batch: Batch) -> Losses:
        guess = (_guess(network, batch) - self.low) / self.range
        absolute = self.params.absolute_weight * self.step / self.params.steps
        self.step += 1
        known, gradient = batch["known"], self.params.gradient_weight
        loss = relative_height_loss(guess, self._truth(batch), known, absolute, gradient)
        return {"loss": loss}

    @torch.no_grad()
    def settle(self, fabric: Fabric, data: Iterable[Batch]) -> None:
        """Lay relative height into the range that the base's answers have already."""
        seen = [fabric.to_device(batch) for batch in data]
        with fabric.autocast():
            guess = torch.cat([_guess(self.teacher, b)[b["known"] > 0] for b in seen]).float()
        truth = torch.cat([self._truth(batch)[batch["known"] > 0] for batch in seen])
        if truth.numel() > 1:
            self.range = max(LEAST_RANGE, float(guess.std() / truth.std().clamp(min=1e-3)))
            low = float(guess.mean() - self.range * truth.mean())
            # what a network says as depth is negated
            self.low = max(GROUND * self.range, low) if self.teacher.sign > 0 else low

    def _truth(self, batch: Batch) -> torch.Tensor:
        return (batch["target"] / self.tall).clamp(0, 1)


def _guess(network: nn.Module, batch: Batch) -> torch.Tensor:
    return network(batch["image"].contiguous(memory_format=torch.channels_last))


def _learn(
    fabric: Fabric, loss_of: _Objective, rasters: list[Layers], params: Params, folder: Path
) -> pd.DataFrame:
    augmentation, steps = Augmentation(turns=True, photometric=params.photometric), params.steps
    count = steps * params.batch
    crops = Crops(rasters, params.crop, count, params.seed, augmentation, IGNORE)
    how = (crops, params.batch, 0, fabric.device.type == "cuda")
    loss_of.settle(fabric, itertools.islice(batches(*how), LOOKS))
    optimiser = adamw(loss_of.teacher, params.lr, 0.01)
    recipe = Recipe(cosine(steps), 1.0, max(1, steps // 20), params.seed)
    training = Training(fabric, loss_of.teacher, optimiser, loss_of, recipe)
    with Keeper(folder / CHECKPOINT) as keeper:
        keeper.resume(training)
        loss_of.step = done = training.done
        data = itertools.islice(batches(*how, start=done * params.batch), steps - done)
        work = track(data, steps - done, "adapt", "steps")
        return training.run(work, steps, after=keeper)


def _tall(rasters: list[Layers], scenes: list[Scene]) -> float:
    """Return the 98th percentile of what stands above the ground, in metres."""
    samples = []
    for one in rasters:
        step = max(1, int(np.sqrt(np.prod(one.target.shape) / 1e6)))
        sample = one.target[::step, ::step]
        samples.append(sample[np.isfinite(sample)])
    heights = np.concatenate([np.empty(0, np.float32), *samples])
    standing = heights[heights > 0.5]
    if not standing.size:
        names = ", ".join(scene.name for scene in scenes) or "no scene"
        raise ValueError(f"elevation of {names}: nothing above 0.5 m found, expected heights")
    return float(np.percentile(standing, 98))


if __name__ == "__main__":
    cli.main(run)
