"""Time scoring against plain reads and other libraries: ``python -m tests.benchmarks.score``.

A map and its labels, seven classes in patches of all sizes, 16384 pixels on a side (``--quick``:
4096): the map a cloud-optimised GeoTIFF as ``predict`` writes it, the labels a store as ``tile``
does, both in the page cache. Every way is a process of its own, imports left out of its seconds:

- ``read``: both rasters, in windows of 2048 pixels, and nothing else, by rasterio and zarr as they
  come;
- ``store``: the same, but labels by ``pipeline_steps.rasters.store``, which unpacks small chunks
  sooner than zarr;
- ``score``: ``pipeline_steps.score.run`` with the kinds of ground of a study's defaults but shadow
  and height, boundary IoU and blocks, from the same files and the store of kinds;
- ``sure``: the same with a map of confidence, against ``read_sure``, which reads that too;
- ``sklearn`` and ``torchmetrics``: their confusion matrix of 4096² pixels of the same arrays that
  lie in memory, without any reading.

``speed_to_read`` is (seconds of ``read``) / (seconds of ``score``), a ratio within a repeat, of
which the median is reported; the order alternates. ``speed_to_store`` is the like to ``store``,
and ``sure_to_read`` with confidence.
``peak_rss_gb`` is the most memory that the whole process of ``score`` took, in 10⁹ bytes.
``mpix_per_s`` has all ways.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline_steps import score
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import open_array, read
from pipeline_steps.rasters.windows import blocks
from tests.benchmarks.machine import machine

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 7
REPEATS = 5
WINDOW = 2048
ZARRS_OWN = "zarr.core.codec_pipeline.BatchedCodecPipeline"
"""How zarr unpacks chunks where nobody tells it otherwise."""

LESS = 4096
"""Side of what other libraries count: in one piece, and in eight bytes a pixel."""


def main(quick: bool) -> None:
    """Run all ways, and print the figures as one JSON object."""
    size = LESS if quick else 16384
    ways = ("read", "store", "score", "read_sure", "sure", "sklearn", "torchmetrics")
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run("make", folder, size)
        for repeat in range(REPEATS):
            for way in ways if repeat % 2 else ways[::-1]:
                runs[way].append(_run(way, folder, size))
                print(way, runs[way][-1], file=sys.stderr)
    found: dict[str, Any] = {
        "benchmark": "score",
        "size": size,
        "speed_to_read": _ratio(runs["read"], runs["score"]),
        "speed_to_store": _ratio(runs["store"], runs["score"]),
        "sure_to_read": _ratio(runs["read_sure"], runs["sure"]),
        "peak_rss_gb": max(run["peak_rss_gb"] for run in runs["score"]),
        "mpix_per_s": {way: _speed(way, size, some) for way, some in runs.items()},
        "runs": runs,
    }
    print(json.dumps(found | machine()))


def _ratio(theirs: list[dict[str, float]], ours: list[dict[str, float]]) -> float:
    pairs = zip(theirs, ours, strict=True)
    return round(statistics.median(a["seconds"] / b["seconds"] for a, b in pairs), 3)


def _speed(way: str, size: int, runs: list[dict[str, float]]) -> float:
    side = LESS if way in ("sklearn", "torchmetrics") else size
    return round(side**2 / 1e6 / statistics.median(run["seconds"] for run in runs), 1)


def _run(way: str, folder: Path, size: int) -> dict[str, float]:
    """Do one job in a process of its own; its seconds, processor and memory."""
    command = [sys.executable, "-m", "tests.benchmarks.score", "--job", way, str(folder), str(size)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{way} ended with {process.returncode}, expected 0")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": float(said.splitlines()[-1]),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_rss_gb": usage.ru_maxrss * unit / 1e9,
    }


def _make(folder: Path, size: int) -> None:
    """Draw labels, a map that is right on about nine in ten pixels, and its confidence."""
    # here, as what ``score`` does not import shall not count as its memory
    from pipeline_steps import strata
    from pipeline_steps.rasters.writing import write_map, write_raster
    from pipeline_steps.study.params.strata import Params as Strata

    rng, grid = (
        np.random.default_rng(0),
        Grid(size, size, "EPSG:32632", (0.2, 0, 5e5, 0, -0.2, 5e6)),
    )
    labels = np.empty((size, size), np.uint8)
    guess, sure = np.empty_like(labels), np.empty_like(labels)
    for window in blocks(size, size, WINDOW):
        place = window.slices
        labels[place] = _patches(rng, (256, 64))
        is_other = _patches(rng, (32, 8)) == 0
        guess[place] = np.where(is_other, (labels[place] + 1) % CLASSES, labels[place])
        sure[place] = np.where(is_other, 55, 90) + rng.integers(-8, 9, guess[place].shape)
    write_raster(folder / "labels.tif", labels[None], grid)
    write_raster(folder / "image.tif", np.ones((1, size, size), np.uint8), grid)
    for name, array, how in (("classes", guess, "mode"), ("confidence", sure, "average")):
        array.tofile(folder / f"{name}.raw")
        write_map(folder / f"{name}.raw", folder / f"{name}.tif", grid, "uint8", 255, how, name)
    _tile(folder)
    # only shadow needs limits, and colours
    (folder / "stretch.json").write_text('{"limits": null}')
    files = (folder / "strata" / name for name in ("strata.zarr", "strata.png", "manifest.json"))
    strata.run(_manifest(folder), folder / "stretch.json", *files, Strata(shadow=False))


def _patches(rng: np.random.Generator, sizes: tuple[int, ...]) -> np.ndarray:
    """Return classes [WINDOW, WINDOW] in squares of several sizes, the smaller on the larger."""
    found = np.zeros((WINDOW, WINDOW), np.uint8)
    for size in sizes:
        shape = (WINDOW // size, WINDOW // size)
        values = rng.integers(0, CLASSES, shape).astype(np.uint8)
        shown = rng.random(shape) < 0.5
        values, shown = (np.kron(one, np.ones((size, size), np.uint8)) for one in (values, shown))
        found = np.where(shown > 0, values, found)
    return found


def _tile(folder: Path) -> None:
    from pipeline_steps import tile
    from pipeline_steps.study.classes import ClassCode

    table = folder / "scenes.tsv"
    row = f"square\t{folder / 'image.tif'}\t{folder / 'labels.tif'}\ttest"
    table.write_text(f"scene\timage\tlabels\tsplit\n{row}\n")
    stores = {
        name: folder / "tiled" / f"{name}.zarr"
        for name in ("image", "labels", "valid", "elevation")
    }
    tile.run(
        scene="square",
        table=table,
        root=str(folder),
        **stores,
        manifest=_manifest(folder),
        classes=[ClassCode(name=str(value), value=value) for value in range(CLASSES)],
        params=tile.Params(bands=(1,), rgb=(1, 1, 1)),
    )


def _manifest(folder: Path) -> Path:
    return folder / "tiled" / "manifest.json"


def _read(folder: Path, *names: str) -> None:
    labels = open_array(folder / "tiled" / "labels.zarr", 0)
    with ExitStack() as stack:
        maps = [stack.enter_context(raster.opened(folder / f"{name}.tif")) for name in names]
        for window in blocks(*labels.shape, WINDOW):
            read(labels, window)
            for one in maps:
                raster.read(one, window, 1)


def _score(folder: Path, confidence: Path | None) -> None:
    ground, counts = folder / "strata" / "manifest.json", folder / "counts.json"
    inputs = (_manifest(folder), [], ground, folder / "classes.tif", confidence, None, None)
    score.run(*inputs, counts, "one", 0, None, score.Params())


def _pairs(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    files = (folder / "labels.tif", folder / "classes.tif")
    pair = []
    for file in files:
        with raster.opened(file) as source:
            window = next(iter(blocks(source.height, source.width, LESS)))
            pair.append(raster.read(source, window, 1).astype(np.int64))
    return pair[0], pair[1]


def _job(way: str, name: str, size: str) -> None:
    folder = Path(name)
    if way in ("sklearn", "torchmetrics"):
        seconds = _others(way, *_pairs(folder))
    else:
        start = time.perf_counter()
        if way == "make":
            _make(folder, int(size))
        elif way == "store":
            _read(folder, "classes")
        elif way.startswith("read"):
            with zarr.config.set({"codec_pipeline.path": ZARRS_OWN}):
                _read(folder, "classes", *(["confidence"] if way == "read_sure" else []))
        else:
            _score(folder, folder / "confidence.tif" if way == "sure" else None)
        seconds = time.perf_counter() - start
    print(seconds)


def _others(way: str, truth: np.ndarray, guess: np.ndarray) -> float:
    if way == "sklearn":
        from sklearn.metrics import confusion_matrix

        start = time.perf_counter()
        confusion_matrix(truth.ravel(), guess.ravel(), labels=range(CLASSES))
        return time.perf_counter() - start
    import torch
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    pair = torch.from_numpy(guess), torch.from_numpy(truth)
    start = time.perf_counter()
    multiclass_confusion_matrix(*pair, num_classes=CLASSES)
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller raster")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        _job(*options.job)
    else:
        main(options.quick)
