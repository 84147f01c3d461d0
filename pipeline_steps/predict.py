"""Predict a scene by blended windows, in bands, and write its maps."""

import functools
import logging
from pathlib import Path
from typing import Any

from pipeline_steps.models.mapper import Mapper, load_mapped
from pipeline_steps.models.runner import arithmetic
from pipeline_steps.rasters.mapmaker import MapMaker, Network, Windows
from pipeline_steps.rasters.maps import SUFFIXES
from pipeline_steps.rasters.store import Scene, open_array
from pipeline_steps.rasters.walk import Sight
from pipeline_steps.rasters.watch import watched
from pipeline_steps.study import cli
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.manifest import digest_of, numbered, read_manifest
from pipeline_steps.study.params.predict import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import begun, release

log = logging.getLogger(__name__)


def run(
    models: list[Path],
    tile: Path,
    depths: list[Path],
    maps: list[Path],
    looks: list[ClassLook],
    params: Params,
) -> None:
    """Write the class of every pixel, and what else is asked for; ``maps`` says where, by name.

    ``models``, ``tile`` and ``depths`` are manifests: several models are one ensemble; depths are
    those of the models that are fed, in their order. Maps are GeoTIFFs on the source's grid, but
    Zarr for probabilities, or for a scene of many images folders of one each. What a killed run
    has done is not done again. Raises ValueError where a model knows other classes or images.
    """
    facts = [read_manifest(model) for model in models]
    scene = Scene(tile, read_manifest(tile))
    for model, one in zip(models, facts, strict=True):
        _agree(model, one, facts[0], scene, looks)
    names = [one.stem for one in maps]
    kinds = [f"pipeline_steps.models.{one['network']['model']}" for one in facts]
    digests = {name: digest_of(path) for name, path in numbered([*models, tile, *depths]).items()}
    how = arithmetic(params.precision, params.backend)
    code = fingerprint("pipeline_steps.predict", *kinds)
    looked = [look.model_dump(mode="json") for look in looks]
    key = [code, digests, names, looked, params.model_dump(mode="json"), how]
    work = begun(maps[0].with_name("work.partial"), key)
    mapper, p = _mapper(models, facts, len(looks), names, params), params
    windows = Windows(p.window, p.overlap, p.batch, p.blend, p.halo)
    grids = [scene.grid(index) for index in range(len(scene.rasters))]
    colours = [(look.name, look.rgb) for look in looks]
    sights = _sights(scene, facts, depths, params)
    maker = MapMaker(sights, grids, windows, names, colours, work)
    paths, shown = (
        functools.partial(_paths, scene, names, work),
        functools.partial(track, what=scene.name, unit="batches"),
    )
    stores = [tile.with_name("image.zarr"), *(one.with_name("depth.zarr") for one in depths)]
    network = Network(mapper, mapper.channels, mapper.device.type == "cuda")
    maker.make(network, paths, shown, watched(stores))
    release(work, *maps)
    log.info("%s: %s", scene.name, maps[0])


def _agree(
    model: Path,
    facts: dict[str, Any],
    first: dict[str, Any],
    scene: Scene,
    looks: list[ClassLook],
) -> None:
    """Raise ValueError where a model does not fit the study, the scene or the first model."""
    if facts["classes"] != [look.name for look in looks]:
        raise ValueError(f"{model}: classes are {facts['classes']}, expected those of the study")
    found, expected = (
        f"{len(one['bands'])} bands of {one['dtype']}" for one in (scene.facts, facts)
    )
    if found != expected:
        tile = scene.folder / "manifest.json"
        raise ValueError(f"{tile}: image is {found}, expected {expected}, as trained on")
    found, expected = (
        [one["stretch"], one["network"]["encoder"]["bands"]] for one in (facts, first)
    )
    if found != expected:
        raise ValueError(
            f"{model}: sees bands and limits {found}, expected {expected}, as the ensemble's first"
        )


def _mapper(
    models: list[Path],
    facts: list[dict[str, Any]],
    classes: int,
    names: list[str],
    params: Params,
) -> Mapper:
    networks = []
    for model, one in zip(models, facts, strict=True):
        weights, control = model.with_name("model.safetensors"), one["params"]["depth_control"]
        networks.append(load_mapped(weights, one["network"], classes, control, "depth" in names))
    if "depth" in names and not any(one.gives_depth for one in networks):
        log.warning("no network here predicts a depth: that map is without data")
    p = params
    spread, depth = ("disagreement" in names), ("depth" in names)
    views = (p.turns, p.scales, spread, depth)
    return Mapper(networks, classes, p.precision, p.batch, p.backend, p.compile, *views)


def _sights(
    scene: Scene, facts: list[dict[str, Any]], depths: list[Path], params: Params
) -> list[Sight]:
    """Return what the networks see of every raster of a scene."""
    bands, stretch, sights = facts[0]["network"]["encoder"]["bands"], facts[0]["stretch"], []
    for index in range(len(scene.rasters)):
        picture, valid = scene.in_strips(index, stretch, params.window, bands)
        left = iter(depths)
        fed = [
            open_array(next(left).parent / "depth.zarr", index) if _is_fed(one) else None
            for one in facts
        ]
        sights.append(Sight(picture, valid, fed))
    return sights


def _is_fed(facts: dict[str, Any]) -> bool:
    network = facts["network"]
    return network.get("prompter", False) and network.get("depth") in ("fed", "both")


def _paths(scene: Scene, names: list[str], folder: Path, index: int) -> dict[str, Path]:
    ends = {name: SUFFIXES.get(name, ".tif") for name in names}
    if not scene.is_folder:
        return {name: folder / f"{name}{end}" for name, end in ends.items()}
    raster = scene.rasters[index]
    return {name: folder / name / f"{raster}{end}" for name, end in ends.items()}


if __name__ == "__main__":
    cli.main(run)
