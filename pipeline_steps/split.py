"""Divide one scene into blocks for training, validation and test, and draw where they lie."""

import itertools
import logging
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from pipeline_steps.presentation.division import division_figure
from pipeline_steps.rasters.place import pixel_m
from pipeline_steps.rasters.splits import PARTS, Division, assign, block_counts, name_of
from pipeline_steps.rasters.store import Scene, read, shard_size
from pipeline_steps.rasters.windows import blocks
from pipeline_steps.study import cli
from pipeline_steps.study.manifest import read_manifest, write_manifest
from pipeline_steps.study.params.split import Params
from pipeline_steps.study.publish import publishing

matplotlib.use("Agg")
log = logging.getLogger(__name__)


def run(tile: Path, picture: Path, manifest: Path, params: Params) -> None:
    """Write which block of the tiled scene belongs to what, and a ``picture`` of it.

    Raises ValueError where blocks in metres are asked for of a raster without a CRS, or where a
    part would have no labelled pixel.
    """
    scene = Scene(tile, read_manifest(tile))
    plans = [_plan(scene, index, params) for index in range(len(scene.rasters))]
    shares = _shares(params)
    codes = assign(
        np.concatenate([_block_labels(scene, i, plan["shape"]) for i, plan in enumerate(plans)]),
        shares,
        params.stratify,
        params.seed,
    )
    ends = np.cumsum([plan["shape"][0] * plan["shape"][1] for plan in plans])
    for plan, some in zip(plans, np.split(codes, ends[:-1]), strict=True):
        plan["codes"] = some.reshape(plan.pop("shape")).tolist()
    divisions = [
        Division(scene.grid(i).height, scene.grid(i).width, p["codes"], p["reach"], params.folds)
        for i, p in enumerate(plans)
    ]
    counts = _counts(scene, divisions, params)
    empty = [part for part, found in counts.items() if not sum(found)]
    if empty:
        raise ValueError(
            f"{tile}: {', '.join(empty)} gets no labelled pixel of {codes.size} blocks, expected"
            " some; a smaller split.size or split.buffer leaves more"
        )
    with publishing(picture) as (partial,):
        division_figure(scene, divisions).savefig(partial, dpi=110, format="png")
    write_manifest(
        manifest,
        "pipeline_steps.split",
        params=params,
        made_from=[tile],
        made=[picture],
        scene=scene.name,
        folds=params.folds,
        label_counts=counts,
        nearest_m=_nearest([p["reach"] for p in plans], scene),
        rasters=[{"name": n} | p for n, p in zip(scene.rasters, plans, strict=True)],
    )
    said = ", ".join(f"{part} {sum(found)}" for part, found in counts.items())
    log.info("%s: %d blocks; labelled pixels: %s", scene.name, codes.size, said)


def _plan(scene: Scene, index: int, params: Params) -> dict[str, Any]:
    """Return rows and columns of blocks, and the reach, which is half the buffer, in pixels."""
    grid, pixel = scene.grid(index), (1.0, 1.0)
    if params.unit == "metres":
        pixel = pixel_m(grid)
    if pixel is None:
        raise ValueError(
            f"{scene.folder / 'manifest.json'}: {scene.rasters[index]} has no CRS, expected one"
            " since split.unit is metres; `split.unit: pixels` needs none"
        )
    rows, columns = (
        block_counts(grid.height, grid.width, params.size / side)[axis]
        for axis, side in enumerate(pixel)
    )
    reach = [int(np.ceil(params.buffer / side / 2)) for side in pixel]
    return {"shape": (rows, columns), "reach": reach}


def _shares(params: Params) -> list[float]:
    if params.folds is not None:
        return [1 / params.folds] * params.folds
    return [getattr(params.shares, part) for part in PARTS]


def _block_labels(scene: Scene, index: int, shape: tuple[int, int]) -> np.ndarray:
    """Return labelled pixels of every block and class, int64 [blocks, classes]."""
    grid, classes = scene.grid(index), len(scene.facts["classes"])
    division = Division(grid.height, grid.width, np.zeros(shape), 0, None)
    counts = np.zeros((*shape, classes), np.int64)
    rows, columns = (itertools.pairwise(ends) for ends in division.edges)
    for (i, (top, bottom)), (j, (left, right)) in itertools.product(
        enumerate(rows), enumerate(columns)
    ):
        labels = np.asarray(scene.array("labels", index)[top:bottom, left:right])
        counts[i, j] = np.bincount(labels.ravel(), minlength=256)[:classes]
    return counts.reshape(-1, classes)


def _counts(scene: Scene, divisions: list[Division], params: Params) -> dict[str, list[int]]:
    """Return labelled pixels of every class in every part, by "train" or "train-<fold>"."""
    folds = [None] if params.folds is None else range(params.folds)
    parts = [p for p in PARTS if params.folds is None and getattr(params.shares, p)]
    parts = parts or ["train", "test"]
    counts = {name_of(part, fold): np.zeros(256, np.int64) for fold in folds for part in parts}
    for index, division in enumerate(divisions):
        labels = scene.array("labels", index)
        for window in blocks(*division.shape, shard_size(256)):
            found = read(labels, window)
            for fold, part in itertools.product(folds, parts):
                inside = found[division.mask(window, part, fold)]
                counts[name_of(part, fold)] += np.bincount(inside, minlength=256)
    classes = len(scene.facts["classes"])
    return {name: found[:classes].tolist() for name, found in counts.items()}


def _nearest(reaches: list[list[int]], scene: Scene) -> float | None:
    """Return the least distance between parts of a raster in metres; None without a CRS."""
    sizes = [pixel_m(scene.grid(index)) for index in range(len(reaches))]
    if None in sizes:
        return None
    return min(2 * float(np.multiply(*pair).min()) for pair in zip(reaches, sizes, strict=True))


if __name__ == "__main__":
    cli.main(run)
