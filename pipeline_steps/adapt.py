"""Teach a teacher what is tall in this imagery, from the training scenes' elevation."""

import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from pipeline_steps.models.device import autocast, make_repeatable, pick_device
from pipeline_steps.models.teacher import Teacher, load_teacher, save_teacher
from pipeline_steps.rasters.store import Scene, tiled
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE
from pipeline_steps.study.manifest import read_manifest, write_manifest
from pipeline_steps.study.params.adapt import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import publishing
from pipeline_steps.training.crops import Augmentation, Crops, Layers, batches, layers_of
from pipeline_steps.training.loop import Losses, adamw, cosine, fit
from pipeline_steps.training.losses import relative_height_loss

log = logging.getLogger(__name__)

FLOOR = 0.3
"""What flat ground is to give: the network ends in a ReLU, and a target of zero stalls there."""


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
    that is divided (its manifest is among ``splits``) only the training part is used. Raises
    ValueError where no scene has any height.
    """
    scenes = tiled(tiles, splits, read_manifest)
    heights = [scene.folder / "elevation.zarr" for scene in scenes]
    limits = read_manifest(stretch)["limits"]
    rasters = layers_of(scenes, heights, limits, ("train", None), IGNORE)
    tall = _tall(rasters, scenes)
    device = pick_device()
    make_repeatable(device)
    torch.manual_seed(params.seed)
    teacher = _teacher(base.parent, params, device)
    history = _learn(teacher, rasters, tall, params, device)
    made = {path.name: path for path in (config, weights, preprocessor)}
    with publishing(*made.values()) as partials, tempfile.TemporaryDirectory() as work:
        save_teacher(teacher, Path(work))
        for name, partial in zip(made, partials, strict=True):
            shutil.copyfile(Path(work) / name, partial)
    write_manifest(
        manifest,
        "pipeline_steps.adapt",
        params=params,
        made_from={
            "base": base,
            "stretch": stretch,
            **{s.name: p for s, p in zip(scenes, tiles, strict=True)},
            **{f"split of {p.parent.name}": p for p in splits},
        },
        made=made,
        model=manifest.parent.name,
        tall_m=tall,
        loss=float(history["loss"].iloc[-1]),
    )
    log.info("teacher: %s", weights)


def _teacher(folder: Path, params: Params, device: torch.device) -> Teacher:
    # on a CPU the plain form trains half as fast again as the fused one, whose gradient is slow
    attention = "eager" if device.type == "cpu" else None
    teacher = load_teacher(folder, params.resample, attention)
    if isinstance(teacher.network.head.activation2, nn.ReLU):
        # a final ReLU that has once gone dark passes no gradient and stays so; it is back in use
        # when the teacher is loaded again
        teacher.network.head.activation2 = nn.Identity()
    return teacher.to(device, memory_format=torch.channels_last)


def _learn(
    teacher: Teacher, rasters: list[Layers], tall: float, params: Params, device: torch.device
) -> pd.DataFrame:
    data = batches(_crops(rasters, params), params.batch, 0, device.type == "cuda")

    def loss_of(batch: dict[str, torch.Tensor]) -> Losses:
        truth = FLOOR + (1 - FLOOR) * (batch["target"] / tall).clamp(0, 1)
        with autocast(device, params.precision):
            guess = teacher(batch["image"].to(memory_format=torch.channels_last))
        loss = relative_height_loss(guess, truth, batch["known"], params.gradient_weight)
        return {"loss": loss}

    optimiser, steps = adamw(teacher, params.lr, 0.01), params.steps
    work = track(data, steps, "adapt", "steps")
    every = max(1, steps // 20)
    return fit(teacher, optimiser, cosine(steps), loss_of, work, device, 1.0, every)


def _crops(rasters: list[Layers], params: Params) -> Crops:
    augmentation = Augmentation(turns=True, photometric=0.3)
    count = params.steps * params.batch
    return Crops(rasters, params.crop, count, params.seed, augmentation, IGNORE)


def _tall(rasters: list[Layers], scenes: list[Scene]) -> float:
    """Return the 98th percentile of what stands above the ground, in metres."""
    samples = []
    for one in rasters:
        step = max(1, int(np.sqrt(np.prod(one.target.shape) / 1e6)))
        sample = one.target[::step, ::step]
        samples.append(sample[np.isfinite(sample)])
    heights = np.concatenate(samples)
    standing = heights[heights > 0.5]
    if not standing.size:
        names = ", ".join(scene.name for scene in scenes) or "no scene"
        raise ValueError(f"elevation of {names}: nothing above 0.5 m found, expected heights")
    return float(np.percentile(standing, 98))


if __name__ == "__main__":
    cli.main(run)
