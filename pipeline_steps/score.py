"""Compare one predicted scene with its labels, as confusion counts.

Only counts leave this step: they add up over scenes, so accuracy, kappa and mean IoU of any
group of scenes follow in ``tabulate`` without opening an image.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from pipeline_steps.metrics.confusion import confusion_matrix
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.store import Scene, read, shard_size, tiled
from pipeline_steps.rasters.windows import Window, blocks
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE
from pipeline_steps.study.manifest import read_manifest, write_text
from pipeline_steps.study.params.score import Params


def run(
    tile: Path,
    splits: list[Path],
    classes: Path,
    counts: Path,
    experiment: str,
    seed: int | None,
    fold: int | None,
    params: Params,
) -> None:
    """Write the confusion counts of ``classes`` against the labels of ``tile``; truth by row.

    ``classes`` is a GeoTIFF, or for a scene of many images a folder of them; of a scene that is
    divided (its manifest is in ``splits``) only the test part counts. Raises ValueError
    naming the map where it has another size than its labels or nothing on a labelled pixel.
    """
    (scene,) = tiled([tile], splits, read_manifest)
    names = scene.facts["classes"]
    strata = {"all": np.zeros((len(names), len(names)), np.int64)}
    if params.boundary_px:
        strata["boundary"] = strata["all"].copy()
    for index, name in enumerate(scene.rasters):
        path = classes / f"{name}.tif" if scene.is_folder else classes
        for truth, guess, near in _pairs(scene, index, path, params.boundary_px, fold):
            _add(strata, truth, guess, near, path)
    found = {
        "experiment": experiment,
        "seed": seed,
        "fold": fold,
        "scene": scene.name,
        "classes": names,
        "strata": {name: matrix.tolist() for name, matrix in strata.items()},
    }
    write_text(counts, json.dumps(found) + "\n")


def _pairs(
    scene: Scene, index: int, path: Path, reach: int, fold: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield labels, map and nearness to a boundary, block by block; none but tested labels."""
    labels, grid = scene.array("labels", index), scene.grid(index)
    tested = scene.within(labels, index, "test", fold, IGNORE)
    with raster.opened(path) as source:
        if (source.height, source.width) != (grid.height, grid.width):
            raise ValueError(
                f"{path}: is {source.width}x{source.height} pixels, expected"
                f" {grid.width}x{grid.height} like its labels"
            )
        for window in blocks(grid.height, grid.width, shard_size(256)):
            around = _grown(window, reach, grid.height, grid.width)
            inner = (
                slice(window.y - around.y, window.y - around.y + window.height),
                slice(window.x - around.x, window.x - around.x + window.width),
            )
            truth = read(labels, around)
            near = near_boundary(truth, reach)[inner]
            yield read(tested, window), raster.read(source, window, 1), near


def near_boundary(labels: np.ndarray, reach: int) -> np.ndarray:
    """Return where another class lies within ``reach`` pixels (a square), bool [H, W].

    ``labels`` are uint8 [H, W]; ignored pixels make no boundary.
    """
    if not reach:
        return np.zeros(labels.shape, bool)
    size = 2 * reach + 1
    is_known = labels != IGNORE
    highest = maximum_filter(np.where(is_known, labels, 0), size, mode="nearest")
    lowest = minimum_filter(labels, size, mode="nearest")
    return is_known & (highest != lowest)


def _grown(window: Window, reach: int, height: int, width: int) -> Window:
    y, x = max(0, window.y - reach), max(0, window.x - reach)
    bottom = min(height, window.y + window.height + reach)
    right = min(width, window.x + window.width + reach)
    return Window(y, x, bottom - y, right - x)


def _add(
    strata: dict[str, np.ndarray],
    truth: np.ndarray,
    guess: np.ndarray,
    near: np.ndarray,
    path: Path,
) -> None:
    labelled = truth != IGNORE
    classes = len(strata["all"])
    try:
        strata["all"] += confusion_matrix(truth[labelled], guess[labelled], classes)
        if "boundary" in strata:
            near = near & labelled
            strata["boundary"] += confusion_matrix(truth[near], guess[near], classes)
    except ValueError as error:
        raise ValueError(f"{path}: {error} on labelled pixels") from error


if __name__ == "__main__":
    cli.main(run)
