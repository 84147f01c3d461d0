"""Time tiling against plain copies: ``python -m tests.benchmarks.tile [--quick]``.

Each case is an orthophoto-like GeoTIFF of three 8-bit bands, 4096 or 16384 pixels on a side, in
one codec. Three ways bring it into a new file or store of that codec, each in its own process:

- ``tile``: ``pipeline_steps.tile.run`` of a ``predict`` scene without labels: pixels, validity,
  the SHA-256 of all that is read and made, on all cores;
- ``copy``: rasterio, window after window along the blocks, on one thread;
- ``gdal``: GDAL's own copy, which is what ``gdal_translate`` does, on one thread.

The copies deflate at GDAL's default level, 6, and use zstd 1; ``tile`` has the levels of
``rasters.store``, and ``packed`` says how many times smaller than the pixels each result is.
``MB/s`` are pixels as they lie in memory; time runs from before the source is opened until all is
closed, imports left out, the source in the page cache, nothing synced to disk. ``process s`` has
the imports too, ``cpu_s`` what all threads took. Peak memory is that of the whole process.

``speed_to_copy`` is the worst case of (speed of ``tile``) / (speed of ``copy``): 1 is as fast as
the plain copy; ``speed_by_size`` is the worst of each size, of which the small one shows what a
scene costs however small it is. Ratios are taken within a repeat, and their median is reported; the
order of the ways alternates. On a shared machine that holds better than seconds. ``peak_rss_gb`` is
the most that ``tile`` took, in 10⁹ bytes. ``--quick`` leaves out the large raster.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import rasterio.shutil
from rasterio.windows import Window as RasterioWindow
from scipy.ndimage import zoom

from pipeline_steps import tile
from pipeline_steps.rasters.windows import blocks
from pipeline_steps.study.classes import ClassCode
from tests.benchmarks.machine import machine
from tests.data.studies import ROOT

SIZES = {4096: 7, 16384: 3}
"""Pixels on a side, and how often each way runs: short runs are the noisier ones."""

CODECS = {
    "none": {"compress": "NONE"},
    "deflate": {"compress": "DEFLATE", "zlevel": 6},
    "zstd": {"compress": "ZSTD", "zstd_level": 1},
}
BLOCK = 512
WINDOW = 2048


def main(quick: bool) -> None:
    """Run all cases, print a table to stderr, and the figures as one JSON object."""
    cases = []
    for size in sorted(SIZES)[:1] if quick else SIZES:
        for codec in CODECS:
            with tempfile.TemporaryDirectory() as work:
                cases.append(_case(Path(work), size, codec))
    print(_table(cases), file=sys.stderr)
    by_size = {
        size: min(case["speed_to_copy"] for case in cases if case["size"] == size)
        for size in sorted({case["size"] for case in cases})
    }
    found = {
        "benchmark": "tile",
        "quick": quick,
        "speed_to_copy": min(by_size.values()),
        "speed_by_size": by_size,
        "peak_rss_gb": max(case["tile"]["peak_rss_gb"] for case in cases),
        "cases": cases,
    }
    print(json.dumps(found | machine()))


def _case(work: Path, size: int, codec: str) -> dict[str, Any]:
    source = work / "image.tif"
    _run("make", codec, source, work, size)
    os.sync()
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for repeat in range(SIZES[size]):
        for way in sorted(WAYS, reverse=bool(repeat % 2)):
            read_once(source)
            with tempfile.TemporaryDirectory(dir=work) as folder:
                run = _run(way, codec, source, Path(folder))
                runs[way].append(run | {"mb": _megabytes(Path(folder))})
    megabytes = 3 * size**2 / 1e6
    return {
        "size": size,
        "codec": codec,
        "speed_to_copy": _speed(runs["tile"], runs["copy"]),
        "speed_to_gdal": _speed(runs["tile"], runs["gdal"]),
    } | {way: _figures(runs[way], megabytes) for way in WAYS}


def _speed(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return round(statistics.median(b["seconds"] / a["seconds"] for a, b in pairs), 3)


def _figures(runs: list[dict[str, float]], megabytes: float) -> dict[str, float]:
    seconds = statistics.median(run["seconds"] for run in runs)
    return {
        "mb_per_s": round(megabytes / seconds, 1),
        "seconds": round(seconds, 3),
        "process_s": round(statistics.median(run["process_s"] for run in runs), 3),
        "cpu_s": round(statistics.median(run["cpu_s"] for run in runs), 3),
        "peak_rss_gb": round(max(run["peak_rss_gb"] for run in runs), 3),
        "packed": round(megabytes / runs[0]["mb"], 3),
    }


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _table(cases: list[dict[str, Any]]) -> str:
    units = {"MB/s": "mb_per_s", "process s": "process_s", "GB": "peak_rss_gb", "packed": "packed"}
    rows = []
    for case in cases:
        row = {key: case[key] for key in ("size", "codec", "speed_to_copy", "speed_to_gdal")}
        for unit, key in units.items():
            row[f"{unit}: {', '.join(WAYS)}"] = ", ".join(str(case[way][key]) for way in WAYS)
        rows.append(row)
    return pd.DataFrame(rows).to_markdown(index=False)


def _run(way: str, codec: str, source: Path, folder: Path, size: int = 0) -> dict[str, float]:
    """Do one job in a process of its own; its seconds, with and without imports, and its memory."""
    command = [sys.executable, "-m", "tests.benchmarks.tile", "--job", way, codec]
    command += [str(source), str(folder), str(size)]
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read()
        # unlike wait(), this says what the process and its threads have used
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{way} of {source} ended with {process.returncode}, expected 0")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": float(said.splitlines()[-1]),
        "process_s": time.perf_counter() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_rss_gb": usage.ru_maxrss * unit / 1e9,
    }


def read_once(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(2**24):
            pass


def _job(way: str, codec: str, source: str, folder: str, size: str) -> None:
    start = time.perf_counter()
    if way == "make":
        make_orthophoto(Path(source), codec, int(size))
    else:
        WAYS[way](Path(source), Path(folder), codec)
    print(time.perf_counter() - start)


def make_orthophoto(path: Path, codec: str, size: int, gsd: float = 0.2) -> None:
    """Draw what compresses like an orthophoto: broad shapes, fine texture, sensor noise."""
    rng = np.random.default_rng(0)
    profile = {"count": 3, "dtype": "uint8", "crs": "EPSG:32632"}
    profile |= {"transform": rasterio.Affine(gsd, 0, 5e5, 0, -gsd, 5e6)}
    with (
        rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"),
        _created(path, codec, size, **profile) as target,
    ):
        for window in blocks(size, size, WINDOW):
            grey = sum(_noise(rng, scale, depth) for scale, depth in ((256, 25), (32, 12), (4, 5)))
            for band, (mean, spread) in enumerate(((105, 1.0), (110, 0.9), (95, 0.7)), start=1):
                noise = rng.standard_normal(grey.shape, np.float32) * 2.5
                pixels = np.clip(mean + spread * grey + noise, 1, 255).astype(np.uint8)
                place = RasterioWindow(window.x, window.y, window.width, window.height)
                target.write(pixels[: window.height, : window.width], band, window=place)


def _noise(rng: np.random.Generator, scale: int, depth: float) -> np.ndarray:
    coarse = rng.standard_normal((WINDOW // scale, WINDOW // scale), np.float32)
    return zoom(coarse * depth, scale, order=1)


def _created(path: Path, codec: str, size: int, **profile: Any) -> rasterio.io.DatasetWriter:
    tiled = _options(codec)
    return rasterio.open(path, "w", driver="GTiff", height=size, width=size, **profile, **tiled)


def _options(codec: str) -> dict[str, Any]:
    return {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK} | CODECS[codec]


def _copy(source: Path, folder: Path, codec: str) -> None:
    with rasterio.open(source) as read:
        keys = ("count", "dtype", "crs", "transform")
        profile = {key: read.profile[key] for key in keys}
        with _created(folder / "copy.tif", codec, read.height, **profile) as target:
            for y, x, height, width in blocks(read.height, read.width, WINDOW):
                window = RasterioWindow(x, y, width, height)
                target.write(read.read(window=window), window=window)


def _gdal(source: Path, folder: Path, codec: str) -> None:
    rasterio.shutil.copy(source, folder / "copy.tif", driver="GTiff", **_options(codec))


def _tile(source: Path, folder: Path, codec: str) -> None:
    table = folder / "scenes.tsv"
    table.write_text(f"scene\timage\tsplit\nsquare\t{source}\tpredict\n")
    stores = {name: folder / f"{name}.zarr" for name in ("image", "labels", "valid", "elevation")}
    tile.run(
        scene="square",
        table=table,
        root=str(folder),
        **stores,
        manifest=folder / "manifest.json",
        classes=[ClassCode(name="ground", value=0)],
        params=tile.Params(compression=codec),
    )


WAYS = {"copy": _copy, "gdal": _gdal, "tile": _tile}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the small raster only")
    parser.add_argument("--job", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        _job(*options.job)
    else:
        main(options.quick)
