"""Compare one predicted scene with its labels, as confusion counts.

Only counts leave this step: they add up over scenes, so accuracy, kappa and mean IoU of any
group of scenes follow in ``tabulate`` without opening an image.
"""

import json
import math
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline_steps.metrics.counting import Counts, Seen, rims
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.sampled import sampled, sampled_of, step_for
from pipeline_steps.rasters.stack import Layers, stacked
from pipeline_steps.rasters.store import Scene, open_array, tiled
from pipeline_steps.rasters.strata import Kinds
from pipeline_steps.rasters.windows import Window, ahead, blocks
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE
from pipeline_steps.study.manifest import read_manifest, write_manifest, write_text
from pipeline_steps.study.params.score import Params

AT_ONCE = 2048
"""Height and width in pixels of what is read at a time."""

PIECE = 512
"""Height and width of what is counted at a time, at most, so that it stays in a cache."""

MOST_BLOCKS = 400
"""Blocks of a raster."""


class Maps(NamedTuple):
    """What is read of one raster: windows of its map, and of its confidence or None."""

    path: Path
    classes: Any
    confidence: Any


def run(
    tile: Path,
    splits: list[Path],
    strata: Path,
    classes: Path,
    confidence: Path | None,
    depth: Path | None,
    teacher: Path | None,
    counts: Path,
    experiment: str,
    seed: int | None,
    fold: int | None,
    params: Params,
) -> None:
    """Write the confusion counts of ``classes`` against the labels of ``tile``; truth by row.

    ``classes``, ``confidence`` and ``depth``, as the network predicts it, are GeoTIFFs, or for a
    scene of many images folders of them; ``strata`` is the manifest of the scene's kinds of ground,
    ``teacher`` that of the depth it learned from. Of a scene that is divided (its
    manifest is in ``splits``) only the test part counts. Raises ValueError naming the map where
    it has another size than its labels or nothing on a labelled pixel.
    """
    (scene,) = tiled([tile], splits, read_manifest)
    names, kinds = scene.facts["classes"], Kinds.of(read_manifest(strata)["kinds"])
    found, areas = Counts(kinds.count, len(names)), []
    for index in range(len(scene.rasters)):
        codes = open_array(strata.parent / "strata.zarr", index)
        files = [path and _file(scene, index, path) for path in (classes, confidence)]
        areas += _count(scene, index, codes, files, found, fold, params)
    facts = {
        "experiment": experiment,
        "seed": seed,
        "fold": fold,
        "scene": scene.name,
        "classes": names,
        "strata": {k: matrix.tolist() for k, matrix in kinds.strata(found.joint.sum(axis=1))},
        "blocks": areas,
        "rims": _rims(found, kinds, params.boundary_iou_px),
        "confidence": None if confidence is None else found.levels.tolist(),
        "depth": _depth(scene, depth, teacher, fold) if depth and teacher else None,
    }
    write_text(counts, json.dumps(facts) + "\n")
    read = (tile, *splits, strata, classes, confidence, depth, teacher)
    told = {"params": params, "made_from": filter(None, read), "made": [counts]}
    # others' counts lie beside these
    write_manifest(counts.with_suffix("") / "manifest.json", "pipeline_steps.score", **told)


def _file(scene: Scene, index: int, path: Path) -> Path:
    return path / f"{scene.rasters[index]}.tif" if scene.is_folder else path


def _depth(scene: Scene, path: Path, teacher: Path, fold: int | None) -> list[dict[str, Any]]:
    """Measure the depth that was predicted for every raster, on a sample of its pixels."""
    # scipy's statistics take longer to import than a small scene to count
    from pipeline_steps.metrics.predicted import predicted_quality

    found = []
    for index in range(len(scene.rasters)):
        grid, file = scene.grid(index), _file(scene, index, path)
        with raster.opened(file) as source:
            _check(file, source, grid)
        step = step_for(grid.height, grid.width)
        taught = open_array(teacher.parent / "depth.zarr", index)
        parts = [scene.within(taught, index, "test", fold, np.nan)]
        if scene.facts["has_elevation"]:
            parts.append(scene.within(scene.array("elevation", index), index, "test", fold, np.nan))
        known, *height = (sampled_of(part, step) for part in parts)
        height = height[0] if height else np.full(known.shape, np.nan)
        guess = sampled(file, step)
        labels = sampled_of(scene.array("labels", index), step)
        found.append(predicted_quality(guess, known, height, labels, scene.facts["classes"]))
    return found


def _rims(found: Counts, kinds: Kinds, reach: int) -> dict[str, Any] | None:
    if not reach:
        return None
    bands = np.unravel_index(np.arange(kinds.count), kinds.shape)[2]
    return {"px": reach} | rims(found.joint, bands <= kinds.reaches.index(reach))


def _count(
    scene: Scene,
    index: int,
    codes: Any,
    files: list[Path | None],
    found: Counts,
    fold: int | None,
    params: Params,
) -> list[dict[str, Any]]:
    """Count a raster; return place and confusion matrix of each of its blocks that has a label."""
    grid, blocks_of = scene.grid(index), {}
    reach = params.boundary_iou_px
    piece, block = _sides(grid.height, grid.width, params.block_px)
    block = max(grid.height, grid.width) if scene.is_folder else block
    tested = scene.within(scene.array("labels", index), index, "test", fold, IGNORE)
    with (
        raster.opened(files[0], is_beside=True) as classes,
        raster.opened(files[1] or files[0], is_beside=True) as confidence,
    ):
        for path, source in zip(files, (classes, confidence), strict=True):
            if path:
                _check(path, source, grid)
        layers = Layers(tested, codes, classes, confidence if files[1] else None)
        windows = blocks(grid.height, grid.width, piece * max(1, AT_ONCE // piece))
        with closing(ahead(stacked(layers, window, reach) for window in windows)) as ready:
            for stack in ready:
                for part in blocks(stack.window.height, stack.window.width, piece):
                    y, x = stack.window.y + part.y, stack.window.x + part.x
                    place = _block_at(y, x, block, grid)
                    matrix = _added(found, Seen(*stack.piece(part, reach)), files[0])
                    blocks_of[place] = blocks_of.get(place, 0) + matrix
    return [
        {"raster": index} | place._asdict() | {"counts": matrix.tolist()}
        for place, matrix in blocks_of.items()
        if matrix.any()
    ]


def _sides(height: int, width: int, asked: int) -> tuple[int, int]:
    """Return the sides of a piece and of a block, which is so many pieces."""
    piece = min(asked, PIECE)
    least = max(asked, math.ceil(math.sqrt(height * width / MOST_BLOCKS)))
    return piece, piece * math.ceil(least / piece)


def _block_at(y: int, x: int, side: int, grid: Any) -> Window:
    top, left = y // side * side, x // side * side
    return Window(top, left, min(side, grid.height - top), min(side, grid.width - left))


def _check(path: Path, source: Any, grid: Any) -> None:
    if (source.height, source.width) != (grid.height, grid.width):
        raise ValueError(
            f"{path}: is {source.width}x{source.height} pixels, expected"
            f" {grid.width}x{grid.height} like its labels"
        )


def _added(found: Counts, seen: Seen, path: Path) -> np.ndarray:
    try:
        return found.add(seen)
    except ValueError as error:
        raise ValueError(f"{path}: {error} on labelled pixels") from error


if __name__ == "__main__":
    cli.main(run)
