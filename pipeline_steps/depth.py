"""One seamless field of relative height for a scene, larger is taller, in [0, 1]."""

import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.metrics.depth import height_quality, seam
from pipeline_steps.rasters.align import align, disagreement
from pipeline_steps.rasters.store import Limits, Scene, new_array, read, shard_size
from pipeline_steps.rasters.views import Picture
from pipeline_steps.rasters.windows import Window, blend, blocks, grid, padded
from pipeline_steps.study import cli
from pipeline_steps.study.manifest import read_manifest, write_manifest, write_text
from pipeline_steps.study.params.depth import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import publishing, remove

log = logging.getLogger(__name__)

SAMPLE = 2_000_000
"""Pixels, evenly spread, from which percentiles and quality are taken."""

Network = Callable[[np.ndarray], np.ndarray]

FLAT = 1e-6
"""A raster whose percentiles are no further apart has no relief."""


def run(
    teacher: Path | None,
    tile: Path,
    stretch: Path,
    store: Path,
    quality: Path,
    manifest: Path,
    params: Params,
) -> None:
    """Write pseudo-depth float16 in [0, 1] to ``store``, NaN where there is none, and its quality.

    ``teacher`` is the manifest of a fetched or adapted model; without one the scene's own
    elevation is the teacher. A raster without any relief becomes all NaN, and is said to be so.
    """
    scene = Scene(tile, read_manifest(tile))
    network = _network(teacher.parent, params) if teacher else None
    limits = read_manifest(stretch)["limits"]
    work, name = store.with_name("work.partial"), store.parent.parent.name
    remove(work)
    work.mkdir(parents=True)
    rasters = []
    with contextlib.ExitStack() as stack:
        stack.callback(remove, work)
        (partial,) = stack.enter_context(publishing(store))
        for index in range(len(scene.rasters)):
            raw, facts = _raw(scene, index, limits, network, work, params)
            facts |= _publish(scene, index, raw, partial, params)
            rasters.append({"name": scene.rasters[index]} | facts)
    found = {"teacher": name, "scene": scene.name, "rasters": rasters}
    write_text(quality, json.dumps(found, indent=1, allow_nan=False) + "\n")
    write_manifest(
        manifest,
        "pipeline_steps.depth",
        params=params,
        made_from={"tile": tile, "stretch": stretch} | ({"teacher": teacher} if teacher else {}),
        made={"depth": store, "quality": quality},
        scene=scene.name,
        teacher=name,
    )
    log.info("%s: %s", scene.name, store)


def _network(folder: Path, params: Params) -> Network:
    """Return a function from images [n, 3, H, W] in [0, 1] to relative height [n, H, W]."""
    # elevation as the teacher needs no torch, which takes seconds to import
    from pipeline_steps.models.teacher import TeacherOnDevice

    return TeacherOnDevice(folder, params.resample, params.precision)


def _raw(
    scene: Scene,
    index: int,
    limits: Limits | None,
    network: Network | None,
    work: Path,
    params: Params,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return relative height float32 [H, W] on disk, aligned and blended, and its agreement."""
    shape = (scene.grid(index).height, scene.grid(index).width)
    raw = np.memmap(work / "raw.f4", np.float32, "w+", shape=shape)
    if network is None:
        for window in blocks(*shape, shard_size(256)):
            raw[window.slices] = read(scene.array("elevation", index), window)
        return raw, {"disagreement_before": 0.0, "disagreement": 0.0}
    valid, size = scene.array("valid", index), params.window
    everywhere = [w for row in grid(*shape, size, params.overlap) for w in row]
    windows = [w for w in everywhere if read(valid, w).any()]
    place = {window: number for number, window in enumerate(windows)}
    depths = _windows(scene.picture(index, limits), windows, network, work, params)
    fit = np.tile([1.0, 0.0], (len(windows), 1))
    before = disagreement(windows, depths, fit)
    if params.align:
        fit = align(windows, depths)

    def fitted(some: list[Window]) -> np.ndarray:
        numbers = [place[window] for window in some]
        scale, shift = fit[numbers].astype(np.float32).T[:, :, None, None, None]
        return depths[numbers][:, None] * scale + shift

    bands = blend(*shape, 1, size, params.overlap, params.batch, fitted, place.__contains__)
    for top, rows in bands:
        raw[top : top + rows.shape[1]] = rows[0]
    after = disagreement(windows, depths, fit)
    return raw, {"disagreement_before": before, "disagreement": after}


def _windows(
    image: Picture, windows: list[Window], network: Network, work: Path, params: Params
) -> np.ndarray:
    """Return what the teacher says in each window, float32 [n, size, size], kept on disk."""
    shape = (max(1, len(windows)), params.window, params.window)
    depths = np.memmap(work / "windows.f4", np.float32, "w+", shape=shape)
    firsts = range(0, len(windows), params.batch)
    for first in track(firsts, len(firsts), "depth", "batches"):
        some = windows[first : first + params.batch]
        pixels = np.stack([padded(read(image, w), params.window) for w in some])
        depths[first : first + len(some)] = network(pixels)
    return depths


def _publish(
    scene: Scene, index: int, raw: np.ndarray, partial: Path, params: Params
) -> dict[str, Any]:
    """Write the normalised field, and return its quality."""
    valid, elevation = scene.array("valid", index), scene.array("elevation", index)
    step = max(1, int(np.sqrt(raw.size / SAMPLE)))
    is_valid = (valid[::step, ::step] > 0) & np.isfinite(raw[::step, ::step])
    sample = raw[::step, ::step][is_valid]
    low, high = np.percentile(sample, params.percentiles) if sample.size else (0.0, 0.0)
    has_relief = high - low > FLAT
    if not has_relief:
        log.warning("%s: raster %s has no relief; no depth there", scene.name, scene.rasters[index])
    target = new_array(partial, index, raw.shape, "float16", np.nan, 256)
    for window in blocks(*raw.shape, shard_size(256)) if has_relief else ():
        field = ((raw[window.slices] - low) / (high - low)).clip(0, 1)
        field[read(valid, window) == 0] = np.nan
        target[window.slices] = field.astype(np.float16)
    height = elevation[::step, ::step][is_valid]
    known = np.isfinite(height)
    lines = grid(*raw.shape, params.window, params.overlap)
    return {
        "low": float(low),
        "high": float(high),
        "seam": _seam(raw, lines) if is_valid.all() else None,
        **height_quality(sample[known], height[known]),
    }


def _seam(raw: np.ndarray, windows: list[list[Window]]) -> float | None:
    """Return the seam metric of the upper rows, as many as fit into memory without thought."""
    raw = raw[: max(2, 16 * SAMPLE // raw.shape[1])]
    rows = {edge for row in windows for edge in (row[0].y, row[0].y + row[0].height)}
    columns = {edge for w in windows[0] for edge in (w.x, w.x + w.width)}
    return seam(raw, sorted(rows), sorted(columns))


if __name__ == "__main__":
    cli.main(run)
