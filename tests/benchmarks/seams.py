"""How much the grid of windows shows in the maps that a contestant has delivered."""

from pathlib import Path

import numpy as np
import rasterio

from pipeline_steps.rasters.blending import lines
from pipeline_steps.rasters.windows import starts


def seams(folder: Path, window: int, overlap: int) -> dict[str, float | None]:
    """Return how far maps change across lines of the grid, over how far they do elsewhere.

    ``seam`` is of confidence, ``label_seam`` of the class map, whose change is 0 or 1. A seamless
    map has 1 in both; None where nothing changes off the lines.
    """
    confidence, classes = (_read(folder / f"{name}.tif") for name in ("confidence", "classes"))
    begins = [starts(length, window, overlap / window) for length in classes.shape]
    edges = [lines(one, window, "hann") for one in begins]
    return {
        "seam": seam(confidence, edges, lambda a, b: np.abs(a.astype(np.int16) - b)),
        "label_seam": seam(classes, edges, np.not_equal),
    }


def seam(values: np.ndarray, edges: list[list[int]], difference: np.ufunc) -> float | None:
    """Return the mean ``difference`` of neighbours across lines over that of all others.

    ``edges`` are, for rows and for columns, the first pixels behind a line; those at the raster's
    own edge count for nothing.
    """
    across, elsewhere = np.zeros(2), np.zeros(2)
    for one, behind in zip((values, values.T), edges, strict=True):
        steps = difference(one[1:], one[:-1])
        is_line = np.zeros(len(steps), bool)
        is_line[[line - 1 for line in behind if 0 < line < len(one)]] = True
        across += steps[is_line].sum(dtype=np.float64), steps[is_line].size
        elsewhere += steps[~is_line].sum(dtype=np.float64), steps[~is_line].size
    usual = elsewhere[0] / elsewhere[1]
    return float(across[0] / across[1] / usual) if usual and across[1] else None


def agreement(folder: Path, other: Path) -> float:
    """Return the share of pixels whose class is the same in two contestants' maps."""
    return float((_read(folder / "classes.tif") == _read(other / "classes.tif")).mean())


def _read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)
