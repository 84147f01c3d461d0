"""Train one experiment with one seed; the last checkpoint counts."""

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline_steps.models.device import autocast, make_repeatable, pick_device
from pipeline_steps.rasters.labels import class_counts
from pipeline_steps.rasters.store import Scene, tiled
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE
from pipeline_steps.study.manifest import numbered, read_manifest, write_manifest
from pipeline_steps.study.params.train import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import publishing
from pipeline_steps.training.crops import Augmentation, Crops, Layers, batches, layers_of
from pipeline_steps.training.loop import Losses, adamw, fit, polynomial
from pipeline_steps.training.losses import segmentation_loss, ssim_loss

log = logging.getLogger(__name__)

VALIDATION_BATCHES = 8
"""Fixed batches of the validation scenes that every row of the history is measured on."""


def run(
    tiles: list[Path],
    depths: list[Path],
    validation: list[Path],
    validation_depths: list[Path],
    splits: list[Path],
    stretch: Path,
    encoder: Path | None,
    model: Path,
    history: Path,
    manifest: Path,
    seed: int,
    fold: int | None,
    params: Params,
) -> None:
    """Write the trained network, its losses by step, and the manifest that says how to rebuild it.

    Most paths in are manifests: ``tiles`` of the training scenes, ``depths`` of their pseudo-depth
    in the same order (none for a network without depth), ``splits`` of those that are divided,
    ``encoder`` of fetched weights. Raises ValueError where a class has no pixel to learn from.
    """
    scenes = tiled(tiles, splits, read_manifest)
    frequencies, limits = _frequencies(scenes, fold), read_manifest(stretch)["limits"]
    torch.manual_seed(seed)
    device = pick_device()
    make_repeatable(device)
    network = _network(params, len(frequencies), encoder, device)
    objective = _Objective(network, params, frequencies, device)
    learned = layers_of(scenes, _stores(depths), limits, ("train", fold), IGNORE)
    held_out = tiled(validation, splits, read_manifest)
    watched = layers_of(held_out, _stores(validation_depths), limits, ("val", fold), IGNORE)
    crops = _crops(learned, params, seed, params.steps)
    losses = _learn(objective, crops, _validation(watched, objective, params))
    _publish(network, losses, model, history)
    write_manifest(
        manifest,
        "pipeline_steps.train",
        f"pipeline_steps.models.{params.network.model}",
        params=params,
        made_from=numbered([*tiles, *depths, *validation, *validation_depths, *splits, stretch])
        | ({"encoder": encoder} if encoder else {}),
        made={"model": model, "history": history},
        run={"seed": seed, "fold": fold},
        stretch=scenes[0].limits(limits),
        bands=scenes[0].facts["bands"],
        dtype=scenes[0].facts["dtype"],
        classes=scenes[0].facts["classes"],
        label_counts=frequencies.tolist(),
    )
    log.info("model: %s", model)


def _publish(network: nn.Module, losses: pd.DataFrame, model: Path, history: Path) -> None:
    with publishing(model, history) as partials:
        state = network.to("cpu", memory_format=torch.contiguous_format).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, partials[0])
        losses.to_csv(partials[1], index=False)


class _Objective:
    """The loss of a batch: cross-entropy, and λ times the SSIM depth loss."""

    def __init__(
        self, network: nn.Module, params: Params, counts: np.ndarray, device: torch.device
    ) -> None:
        self.network, self.params, self.device = network, params, device
        self.weights = None
        if params.class_weights == "sqrt":
            weights = 1 / np.sqrt(counts / counts.sum())
            self.weights = torch.tensor(weights / weights.mean(), dtype=torch.float32).to(device)

    def __call__(self, batch: dict[str, torch.Tensor]) -> Losses:
        params = self.params
        image = batch["image"].to(memory_format=torch.channels_last)
        with autocast(self.device, params.precision):
            said = self.network(image, batch.get("target"))
        classes = segmentation_loss(said.logits, batch["labels"], self.weights, IGNORE)
        if said.depth is None:
            return {"loss": classes, "cross_entropy": classes}
        depth = ssim_loss(said.depth, batch["target"], batch["known"])
        loss = classes + params.depth_weight * depth
        return {"loss": loss, "cross_entropy": classes, "ssim_loss": depth}


def _learn(
    objective: _Objective, crops: Crops, watch: Callable[[], dict[str, float]]
) -> pd.DataFrame:
    params, network, device = objective.params, objective.network, objective.device
    data = batches(crops, params.batch, params.workers, device.type == "cuda")
    return fit(
        network,
        adamw(network, params.lr, params.weight_decay),
        polynomial(params.steps, params.warmup, params.power),
        objective,
        track(data, params.steps, "train", "steps"),
        device,
        params.clip,
        params.report_every,
        watch,
    )


def _network(params: Params, classes: int, encoder: Path | None, device: torch.device) -> nn.Module:
    module = import_module(f"pipeline_steps.models.{params.network.model}")
    weights = encoder.parent / "model.safetensors" if encoder else None
    network = module.build(classes, weights, params.network.model_dump())
    for name, part in network.named_children():
        count = sum(p.numel() for p in part.parameters())
        trained = sum(p.numel() for p in part.parameters() if p.requires_grad)
        log.info("%s: %d parameters, %d trained", name, count, trained)
    return network.to(device, memory_format=torch.channels_last)


def _frequencies(scenes: list[Scene], fold: int | None) -> np.ndarray:
    counts = class_counts([scene.label_counts("train", fold) for scene in scenes])
    names = scenes[0].facts["classes"]
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    if missing:
        places = ", ".join(str(scene.folder / "manifest.json") for scene in scenes)
        raise ValueError(
            f"{places}: class {', '.join(map(repr, missing))} has 0 pixels in the training scenes,"
            " expected at least 1"
        )
    return counts


def _stores(depths: list[Path]) -> list[Path]:
    return [manifest.parent / "depth.zarr" for manifest in depths]


def _crops(rasters: list[Layers], params: Params, seed: int, steps: int) -> Crops:
    augmentation = Augmentation(params.scale, params.turns, params.photometric)
    count, hold = steps * params.batch, params.workers == 0
    return Crops(rasters, params.crop, count, seed, augmentation, IGNORE, hold)


def _validation(
    rasters: list[Layers], objective: _Objective, params: Params
) -> Callable[[], dict[str, float]]:
    """Return a function that gives the mean losses over fixed crops, or nothing without rasters."""
    if not rasters:
        return dict
    plain = params.model_copy(update={"scale": (1.0, 1.0), "turns": False, "photometric": 0.0})
    crops = _crops(rasters, plain, 0, VALIDATION_BATCHES)
    data = list(batches(crops, params.batch, 0, False))

    @torch.no_grad()
    def measure() -> dict[str, float]:
        objective.network.eval()
        found = [
            objective({key: value.to(objective.device) for key, value in batch.items()})
            for batch in data
        ]
        objective.network.train()
        means = {key: np.mean([float(losses[key]) for losses in found]) for key in found[0]}
        return {f"val_{key}": float(mean) for key, mean in means.items()}

    return measure


if __name__ == "__main__":
    cli.main(run)
