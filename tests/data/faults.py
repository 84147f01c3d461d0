"""A study of one scene of 64 pixels, stage by stage, for tests that disturb it."""

import contextlib
import ctypes
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline_steps import (
    bundle,
    check,
    corrupt,
    depth,
    fetch,
    gather,
    map,
    predict,
    score,
    strata,
    stretch,
    synthesize,
    tabulate,
    tile,
    train,
)
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.domains import Reading
from pipeline_steps.study.manifest import digest_of
from pipeline_steps.study.params.fetch import Params as Models
from pipeline_steps.study.params.split import Params as Split
from pipeline_steps.study.plan import Plan
from pipeline_steps.study.transfer import Transfer
from tests.steps.conftest import CODES, LOOKS, TEACHER, model_files, tile_arguments, training

SIZE = 64
HOW = {"window": 32, "batch": 2, "precision": "fp32"}
MAPS = ("classes.tif", "confidence.tif")
STORES = ("image", "labels", "valid", "elevation")


class Stage(NamedTuple):
    """How a stage is run in a study's folder, and what it makes there, its manifest last."""

    run: Callable[[Path], None]
    made: tuple[str, ...]


def _tile_arguments(root: Path) -> dict:
    data = [f"data/{name}.tif" for name in ("image", "labels", "elevation")]
    return tile_arguments(root / "tile" / "town", "town", *data)


def _tile(root: Path) -> None:
    tile.run(**_tile_arguments(root) | {"params": tile.Params(chunk=16)})


def _check(root: Path) -> None:
    _tile_arguments(root)
    readings = {"": Reading(classes=tuple(CODES), tile=tile.Params())}
    plan = Plan(jobs=1, fields=1, runs=1, classes=len(CODES), window=32, is_stretched=False)
    files = [root / "check" / name for name in ("findings.json", "record.json", "record.txt")]
    how = (readings, Models(), Split(), plan, check.Params(orientation="warning", leak="warning"))
    check.run(root / "tile" / "town.tsv", "", *files, *how)


def _train(root: Path) -> None:
    names = ("model.safetensors", "history.csv", "panels", "manifest.json")
    files = [root / "train" / "plain" / "seed-0" / name for name in names]
    scene = root / "tile" / "town" / "manifest.json"
    taught = root / "depth" / "tiny" / "town" / "manifest.json"
    limits = root / "stretch" / "stretch.json"
    params = training(teacher="tiny")
    train.run([scene], [taught], [], [], [], limits, None, None, *files, None, 0, None, params)


def _bundle(root: Path) -> None:
    folder, model = root / "bundle" / "plain", root / "train" / "plain" / "seed-0"
    files = folder / "model.safetensors", folder / "bundle.json"
    scene = root / "tile" / "town" / "manifest.json"
    rest = ([], *files, LOOKS, {}, predict.Params(**HOW), bundle.Params())
    bundle.run("plain/seed-0", model / "manifest.json", [scene], *rest)


def _map(root: Path) -> None:
    folder, model = root / "map" / "town", root / "bundle" / "plain" / "bundle.json"
    maps = [folder / name for name in MAPS]
    params = map.Params(**HOW, outputs=("confidence",))
    map.run("town", str(root / "data" / "image.tif"), [model], maps, folder / "map.json", params)


def _predict(root: Path) -> None:
    maps = [root / "predict" / "plain" / "seed-0" / "town" / name for name in MAPS]
    model = root / "train" / "plain" / "seed-0" / "manifest.json"
    params = predict.Params(**HOW, outputs=("confidence",))
    predict.run([model], root / "tile" / "town" / "manifest.json", [], maps, LOOKS, params)


def _score(root: Path) -> None:
    maps = [root / "predict" / "plain" / "seed-0" / "town" / name for name in MAPS]
    ground = root / "strata" / "town" / "manifest.json"
    counts = root / "score" / "plain" / "seed-0" / "town.json"
    inputs = (root / "tile" / "town" / "manifest.json", [], ground, *maps, None, None)
    score.run(*inputs, counts, "plain", 0, None, score.Params())


def _corrupt(root: Path) -> None:
    model = root / "train" / "plain" / "seed-0" / "manifest.json"
    counts = root / "corrupt" / "plain" / "seed-0" / "town.json"
    inputs = ([model], root / "tile" / "town" / "manifest.json", [], [], counts, "plain", 0, None)
    params = corrupt.Params(kinds=("haze", "jpeg"), severities=(1, 5))
    corrupt.run(*inputs, corrupt.Predict(**HOW), params)


def _gather(root: Path) -> None:
    counts = [root / "score" / "plain" / "seed-0" / "town.json"]
    corruptions = [root / "corrupt" / "plain" / "seed-0" / "town.json"]
    qualities = [root / "depth" / "tiny" / "town" / "quality.json"]
    gather.run(counts, corruptions, qualities, root / "gather")


def _tabulate(root: Path) -> None:
    models = [root / "train" / "plain" / "seed-0" / "manifest.json"]
    findings, nowhere = root / "check" / "findings.json", Transfer(targets=(), learners=())
    inputs = (*gather.places_in(root / "gather"), [], models, root / "benchmarks", findings)
    tabulate.run(*inputs, root / "tabulate", [], nowhere, tabulate.Params())


def _of_scene(root: Path) -> list[Path]:
    return [root / "tile" / "town" / "manifest.json", root / "stretch" / "stretch.json"]


STAGES = {
    "check": Stage(_check, ("check/findings.json", "check/manifest.json")),
    "tile": Stage(_tile, (*(f"tile/town/{s}.zarr" for s in STORES), "tile/town/manifest.json")),
    "stretch": Stage(
        lambda root: stretch.run([], [], root / "stretch" / "stretch.json", stretch.Params()),
        ("stretch/stretch.json", "stretch/manifest.json"),
    ),
    "fetch": Stage(
        lambda root: fetch.run("tiny", *model_files(root / "fetch" / "tiny"), TEACHER),
        tuple(str(file) for file in model_files(Path("fetch/tiny"))),
    ),
    "depth": Stage(
        lambda root: depth.run(
            root / "fetch" / "tiny" / "manifest.json",
            *_of_scene(root),
            *(root / "depth/tiny/town" / n for n in ("depth.zarr", "quality.json")),
            root / "depth/tiny/town/manifest.json",
            depth.Params(**HOW),
        ),
        tuple(f"depth/tiny/town/{n}" for n in ("depth.zarr", "quality.json", "manifest.json")),
    ),
    "train": Stage(
        _train,
        tuple(
            f"train/plain/seed-0/{name}"
            for name in ("model.safetensors", "history.csv", "panels", "manifest.json")
        ),
    ),
    "bundle": Stage(_bundle, ("bundle/plain/model.safetensors", "bundle/plain/bundle.json")),
    "map": Stage(_map, tuple(f"map/town/{name}" for name in (*MAPS, "map.json"))),
    "predict": Stage(
        _predict, tuple(f"predict/plain/seed-0/town/{n}" for n in (*MAPS, "manifest.json"))
    ),
    "strata": Stage(
        lambda root: strata.run(
            *_of_scene(root),
            *(root / "strata/town" / n for n in ("strata.zarr", "strata.png", "manifest.json")),
            strata.Params(),
        ),
        tuple(f"strata/town/{name}" for name in ("strata.zarr", "strata.png", "manifest.json")),
    ),
    "score": Stage(
        _score, ("score/plain/seed-0/town.json", "score/plain/seed-0/town/manifest.json")
    ),
    "corrupt": Stage(
        _corrupt, ("corrupt/plain/seed-0/town.json", "corrupt/plain/seed-0/town/manifest.json")
    ),
    "gather": Stage(
        _gather,
        (*(str(one) for one in gather.places_in(Path("gather"))), "gather/manifest.json"),
    ),
    "tabulate": Stage(
        _tabulate, ("tabulate/overall.csv", "tabulate/scenes.csv", "tabulate/manifest.json")
    ),
}


def write_data(root: Path) -> None:
    """Draw the scene, with labels of every class."""
    (root / "data").mkdir(parents=True)
    files = [root / "data" / f"{name}.tif" for name in ("image", "labels", "elevation")]
    synthesize.run("somewhere", *files, synthesize.Params(size=SIZE))
    rows = (np.arange(SIZE) // 10).astype(np.uint8)[:, None]
    labels = np.broadcast_to(rows, (1, SIZE, SIZE))
    write_raster(files[1], labels, Grid(SIZE, SIZE, None, (1, 0, 0, 0, 1, 0)))


def make(root: Path) -> None:
    """Run every stage, in order."""
    write_data(root)
    for stage in STAGES:
        run(root, stage)


def run(root: Path, stage: str) -> None:
    """Run a stage in a study's folder."""
    with contextlib.chdir(root):
        STAGES[stage].run(Path())


def digests(root: Path, stage: str) -> dict[str, str | None]:
    """Return the digests of what a stage made; None for what is not there."""
    files = {name: root / name for name in STAGES[stage].made}
    return {name: digest_of(file) if file.exists() else None for name, file in files.items()}


def forget(root: Path, stage: str) -> None:
    """Remove what a stage made, as Snakemake does before it runs one again."""
    for name in STAGES[stage].made:
        file = root / name
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def partials(root: Path) -> Iterator[Path]:
    """Yield what is half written, but for the folder that a killed run goes on with."""
    yield from (file for file in root.rglob("*.partial") if file.name != "work.partial")


def powerless() -> None:
    """Take from this process root's power to write where permissions say that nobody may."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(ctypes.byref(Header(0x20080522, 0)), nothing):
        raise OSError(ctypes.get_errno(), "capset")
