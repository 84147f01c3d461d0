"""Map a tiled scene with trained networks, by blended windows."""

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_steps.models.mapper import Mapper, load_mapped
from pipeline_steps.models.runner import arithmetic
from pipeline_steps.rasters.mapmaker import MapMaker, Network, Windows
from pipeline_steps.rasters.maps import SUFFIXES
from pipeline_steps.rasters.store import Scene, open_array
from pipeline_steps.rasters.walk import Sight
from pipeline_steps.rasters.watch import watched
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.manifest import intact, read_manifest
from pipeline_steps.study.params.predict import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import begun

log = logging.getLogger(__name__)


class Trained(NamedTuple):
    """A trained network: the file that tells of it, its weights, and what it knows.

    ``network`` are the settings that it is built from, ``kind`` says in words what images it is
    for, ``stretch`` what becomes 0 and 1 in each band.
    """

    told: Path
    weights: Path
    network: Mapping[str, Any]
    depth_control: str
    classes: Sequence[str]
    kind: str
    stretch: Sequence[Sequence[float]]

    @property
    def module(self) -> str:
        """Return where the network comes from."""
        return f"pipeline_steps.models.{self.network['model']}"

    @property
    def is_fed(self) -> bool:
        """Return whether depth is fed to it."""
        is_prompted = self.network.get("prompter", False)
        return is_prompted and self.network.get("depth") in ("fed", "both")


def trained(manifest: Path) -> Trained:
    """Return what a training left, by its manifest."""
    facts = read_manifest(manifest)
    return Trained(
        manifest,
        manifest.with_name("model.safetensors"),
        facts["network"],
        facts["params"]["depth_control"],
        facts["classes"],
        kind_of(facts["bands"], facts["dtype"]),
        facts["stretch"],
    )


def kind_of(bands: Sequence[int], dtype: str) -> str:
    """Return in words what images are."""
    return f"{len(bands)} bands of {dtype}"


def check_that_they_fit(
    models: Sequence[Trained], scene: Scene, looks: Sequence[ClassLook]
) -> None:
    """Raise ValueError where a model does not fit the classes, the scene or the first model."""
    for model in models:
        if list(model.classes) != [look.name for look in looks]:
            raise ValueError(
                f"{model.told}: classes are {list(model.classes)}, expected those of the study"
            )
        found = kind_of(scene.facts["bands"], scene.facts["dtype"])
        if found != model.kind:
            tile = scene.folder / "manifest.json"
            raise ValueError(f"{tile}: image is {found}, expected {model.kind}, as trained on")
        found, expected = (
            [[list(pair) for pair in one.stretch], one.network["encoder"]["bands"]]
            for one in (model, models[0])
        )
        if found != expected:
            raise ValueError(
                f"{model.told}: sees bands and limits {found}, expected {expected}, as the"
                " ensemble's first"
            )


def begun_work(
    step: str,
    models: Sequence[Trained],
    sources: Iterable[Path],
    maps: Sequence[Path],
    looks: Sequence[ClassLook],
    params: Params,
) -> Path:
    """Return the folder beside ``maps`` that they are made in; what depends on else is removed."""
    code = fingerprint(step, *(model.module for model in models))
    digests = intact(sources)
    looked = [look.model_dump(mode="json") for look in looks]
    how = arithmetic(params.precision, params.backend)
    names = [one.stem for one in maps]
    key = [code, digests, names, looked, params.model_dump(mode="json"), how]
    return begun(maps[0].with_name("work.partial"), key)


def make_maps(
    models: Sequence[Trained],
    scene: Scene,
    depths: Sequence[Path],
    names: Sequence[str],
    looks: Sequence[ClassLook],
    params: Params,
    work: Path,
    mapper: Mapper | None = None,
) -> None:
    """Write the maps that are asked for into ``work``, and go on with what is there of them.

    ``depths`` are the manifests of the depths of those models that are fed, in their order.
    ``mapper`` is that of ``mapper_of``, where several scenes are mapped with one.
    """
    p = params
    # before anything is read of them
    stores = [scene.folder / f"{store}.zarr" for store in ("image", "valid")]
    intact = watched([*stores, *(one.with_name("depth.zarr") for one in depths)])
    mapper = mapper or mapper_of(models, len(looks), names, params)
    windows = Windows(p.window, p.overlap, p.batch, p.blend, p.halo)
    grids = [scene.grid(index) for index in range(len(scene.rasters))]
    colours = [(look.name, look.rgb) for look in looks]
    sights = _sights(scene, models, depths, params)
    maker = MapMaker(sights, grids, windows, names, colours, work)
    paths, shown = (
        functools.partial(_paths, scene, names, work),
        functools.partial(track, what=scene.name, unit="batches"),
    )
    network = Network(mapper, mapper.channels, mapper.device.type == "cuda")
    maker.make(network, paths, shown, intact)


def mapper_of(
    models: Sequence[Trained], classes: int, names: Sequence[str], params: Params
) -> Mapper:
    """Return the networks, loaded, that make maps called ``names``."""
    p, spread, depth = params, "disagreement" in names, "depth" in names
    networks = [
        load_mapped(one.weights, one.network, classes, one.depth_control, depth) for one in models
    ]
    if depth and not any(one.gives_depth for one in networks):
        log.warning("no network here predicts a depth: that map is without data")
    views = (p.turns, p.scales, spread, depth)
    return Mapper(networks, classes, p.precision, p.batch, p.backend, p.compile, *views)


def _sights(
    scene: Scene, models: Sequence[Trained], depths: Sequence[Path], params: Params
) -> list[Sight]:
    """Return what the networks see of every raster of a scene."""
    first, sights = models[0], []
    bands = first.network["encoder"]["bands"]
    for index in range(len(scene.rasters)):
        picture, valid = scene.in_strips(index, first.stretch, params.window, bands)
        left = iter(depths)
        fed = [
            open_array(next(left).parent / "depth.zarr", index) if one.is_fed else None
            for one in models
        ]
        sights.append(Sight(picture, valid, fed, f"{scene.name}: raster {scene.rasters[index]}"))
    return sights


def _paths(scene: Scene, names: Sequence[str], folder: Path, index: int) -> dict[str, Path]:
    ends = {name: SUFFIXES.get(name, ".tif") for name in names}
    if not scene.is_folder:
        return {name: folder / f"{name}{end}" for name, end in ends.items()}
    raster = scene.rasters[index]
    return {name: folder / name / f"{raster}{end}" for name, end in ends.items()}
