"""Train one experiment with one seed; the last checkpoint counts."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import nn

from pipeline_steps.models.drawing import drawn
from pipeline_steps.models.layers import parameters_of
from pipeline_steps.rasters.labels import class_counts
from pipeline_steps.rasters.store import Limits, Scene, tiled
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE
from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.manifest import intact, read_manifest, write_manifest
from pipeline_steps.study.params.network import DepthForge
from pipeline_steps.study.params.train import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import begun, release
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Drawing
from pipeline_steps.training.fabric import new_fabric
from pipeline_steps.training.layers import Layers, layers_of
from pipeline_steps.training.learning import Learning, Plan
from pipeline_steps.training.loop import Recipe
from pipeline_steps.training.objective import Objective, weights_of
from pipeline_steps.training.optimiser import adamw, polynomial

log = logging.getLogger(__name__)


def run(
    tiles: list[Path],
    depths: list[Path],
    validation: list[Path],
    validation_depths: list[Path],
    splits: list[Path],
    stretch: Path,
    encoder: Path | None,
    depth_encoder: Path | None,
    model: Path,
    history: Path,
    panels: Path,
    manifest: Path,
    events: Path | None,
    seed: int,
    fold: int | None,
    params: Params,
) -> None:
    """Write the trained network, its losses by step, pictures, and how to rebuild it.

    Most paths in are manifests: ``tiles`` of the training scenes, ``depths`` of their pseudo-depth
    in the same order (none for a network without depth), ``splits`` of those that are divided,
    ``encoder`` of fetched weights, or of the teacher whose encoder it is, ``depth_encoder`` of the
    teacher whose encoder sees depth. TensorBoard reads
    ``events``. What a killed run has learned is gone on with. Raises ValueError where a class has
    no pixel to learn from, or a loss is not a number.
    """
    scenes, held_out = (tiled(some, splits, read_manifest) for some in (tiles, validation))
    counts, limits = _frequencies(scenes, fold), read_manifest(stretch)["limits"]
    if params.patience and not validation:
        raise ValueError(f"patience is {params.patience}, expected a scene to watch (split val)")
    fabric = new_fabric(params.precision, params.devices)
    torch.manual_seed(seed)
    network, settings = drawn(
        params.network.model_dump(mode="json"), len(counts), encoder, depth_encoder, scenes[0].facts
    )
    sources = [*tiles, *depths, *validation, *validation_depths, *splits, stretch]
    sources += dict.fromkeys(filter(None, (encoder, depth_encoder)))
    work = _begun(fabric, model.with_name("work.partial"), sources, params, [seed, fold])
    how = (limits, params.network.encoder.bands)
    learned = _rasters(scenes, depths, ("train", fold), *how)
    watched = _rasters(held_out, validation_depths, ("val", fold), *how)
    learning = _learning(fabric, network, params, counts, seed, work)
    losses = learning.learn(learned, watched, work / panels.name, events, track)
    if fabric.global_rank == 0:
        facts = _facts(network, scenes[0], limits, counts) | {"run": {"seed": seed, "fold": fold}}
        facts |= {"params": params, "made_from": sources, "network": settings}
        finals = (model, history, panels, manifest)
        _publish(work, learning.training.result(), losses, *finals, _modules(params), facts)


def _publish(
    work: Path,
    state: dict[str, torch.Tensor],
    losses: pd.DataFrame,
    model: Path,
    history: Path,
    panels: Path,
    manifest: Path,
    modules: list[str],
    facts: dict[str, Any],
) -> None:
    save_file(state, work / model.name)
    losses.to_csv(work / history.name, index=False)
    write_manifest(manifest, *modules, made=(model, history, panels), work=work, **facts)
    release(work, model, history, manifest, panels)
    log.info("model: %s", model)


def _modules(params: Params) -> list[str]:
    return ["pipeline_steps.train", f"pipeline_steps.models.{params.network.model}"]


def _facts(
    network: nn.Module, scene: Scene, limits: Limits | None, counts: np.ndarray
) -> dict[str, Any]:
    """Return what a prediction must know of a training, and how large its network is."""
    facts = {key: scene.facts[key] for key in ("bands", "dtype", "classes")}
    facts |= {"stretch": scene.limits(limits), "label_counts": counts.tolist()}
    gpu_gb = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None
    return facts | {"parameters": parameters_of(network), "gpu_gb": gpu_gb}


def _begun(
    fabric: Fabric, folder: Path, sources: list[Path], params: Params, run: list[int | None]
) -> Path:
    """Return the folder that a training of the same inputs is kept in."""
    digests = intact(sources)
    if fabric.global_rank == 0:
        code = fingerprint(*_modules(params))
        begun(folder, [code, digests, params.model_dump(mode="json"), run])
    fabric.barrier()
    return folder


def _learning(
    fabric: Fabric, network: nn.Module, params: Params, counts: np.ndarray, seed: int, work: Path
) -> Learning:
    p, weights = params, weights_of(params.class_weights, counts)
    if weights is not None:
        weights = weights.to(fabric.device)
    terms = [p.label_smoothing, p.focal, p.dice, p.depth_weight, p.depth_loss.model_dump()]
    terms += [p.network.points] if isinstance(p.network, DepthForge) else []
    factor = polynomial(p.steps, p.warmup, p.power)
    recipe = Recipe(factor, p.clip, p.report_every, seed, p.accumulate, p.ema, p.patience)
    plan = Plan(
        p.steps,
        p.batch,
        p.crop,
        Augmentation(p.scale, p.turns, p.photometric),
        Drawing(p.positions, p.rare_classes, p.depth_control),
        IGNORE,
        seed,
        p.workers,
        p.panels,
        p.feature_cache,
    )
    network = network.to(memory_format=torch.channels_last)
    optimiser = adamw(network, p.lr, p.weight_decay)
    objective = Objective(IGNORE, weights, *terms)
    return Learning(fabric, network, optimiser, objective, recipe, plan, work)


def _frequencies(scenes: list[Scene], fold: int | None) -> np.ndarray:
    counts = class_counts([scene.label_counts("train", fold) for scene in scenes])
    names = scenes[0].facts["classes"]
    # what another domain alone labels is not missed here
    labelled = {name for scene in scenes for name in scene.facts["labelled"]}
    missing = [n for n, count in zip(names, counts, strict=True) if not count and n in labelled]
    if missing:
        places = ", ".join(str(scene.folder / "manifest.json") for scene in scenes)
        raise ValueError(
            f"{places}: class {', '.join(map(repr, missing))} has 0 pixels in the training scenes,"
            " expected at least 1"
        )
    return counts


def _rasters(
    scenes: list[Scene],
    depths: list[Path],
    part: tuple[str, int | None],
    limits: Limits | None,
    bands: str,
) -> list[Layers]:
    stores = [manifest.parent / "depth.zarr" for manifest in depths]
    return layers_of(scenes, stores, limits, part, IGNORE, bands)


if __name__ == "__main__":
    cli.main(run)
