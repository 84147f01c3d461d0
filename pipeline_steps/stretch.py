"""Find which image values become 0 and 1, once for the whole study."""

import json
import logging
from pathlib import Path

import numpy as np

from pipeline_steps.rasters.store import Scene, read, shard_size, tiled
from pipeline_steps.rasters.windows import Window, blocks
from pipeline_steps.study import cli
from pipeline_steps.study.manifest import read_manifest, write_manifest, write_text
from pipeline_steps.study.params.stretch import Params
from pipeline_steps.study.progress import track

log = logging.getLogger(__name__)

SAMPLE = 8_000_000
"""Pixels, evenly spread over all training scenes, whose percentiles are taken."""


def run(tiles: list[Path], splits: list[Path], stretch: Path, params: Params) -> None:
    """Write the values of each band that become 0 and 1, or null for what 8-bit images have.

    ``tiles`` are the manifests of the training scenes, needed for percentiles alone, ``splits``
    those of scenes that are divided. Raises ValueError where no pixel has data.
    """
    limits = [list(pair) for pair in params.limits] if params.limits else None
    if params.percentiles is not None:
        limits = _percentiles(tiled(tiles, splits, read_manifest), params.percentiles)
    write_text(stretch, json.dumps({"limits": limits}) + "\n")
    write_manifest(
        stretch.with_name("manifest.json"),
        "pipeline_steps.stretch",
        params=params,
        made_from=(*tiles, *splits),
        made=[stretch],
    )
    log.info("limits: %s", limits or "those of 8 bits")


def _percentiles(scenes: list[Scene], percentiles: tuple[float, float]) -> list[list[float]]:
    total = sum(raster["valid_pixels"] for s in scenes for raster in s.facts["rasters"])
    step = max(1, -(-total // SAMPLE))
    where = [
        (scene, index, window)
        for scene in scenes
        for index in range(len(scene.rasters))
        for window in blocks(*scene.array("valid", index).shape, shard_size(256))
    ]
    work = track(where, len(where), "stretch", "windows")
    parts, seen = [], 0
    for place in work:
        pixels = _valid_pixels(*place)
        parts.append(pixels[:, -seen % step :: step])
        seen += pixels.shape[1]
    sample = np.concatenate(parts, axis=1)
    if not sample.size:
        raise ValueError(
            f"{scenes[0].folder / 'manifest.json'}: no pixel of the training scenes has data,"
            " expected some"
        )
    low, high = np.percentile(sample, percentiles, axis=1)
    flat = np.flatnonzero(high <= low)
    if flat.size:
        band = scenes[0].facts["bands"][flat[0]]
        raise ValueError(
            f"{scenes[0].folder}: band {band} is {low[flat[0]]:g} at both percentiles, expected"
            " two values; stretch.limits states them"
        )
    return np.stack([low, high], axis=1).tolist()


def _valid_pixels(scene: Scene, index: int, window: Window) -> np.ndarray:
    """Return the pixels of a window that have data and may be learned from, [bands, n]."""
    inside = read(scene.array("valid", index), window) > 0
    division = scene.division(index)
    if division is not None and division.folds is None:
        inside &= division.mask(window, "train")
    return read(scene.array("image", index), window)[:, inside]


if __name__ == "__main__":
    cli.main(run)
