"""The ground under a surface, where nobody measured it.

A progressive morphological filter (Zhang et al., "A progressive morphological filter for removing
nonground measurements from airborne LIDAR data", TGRS 2003): what rises above the opening of the
surface by more than a slope explains is no ground, for windows that grow. Cells of the lowest
heights keep the whole scene in memory.
"""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, grey_opening, map_coordinates

from pipeline_steps.rasters.windows import Window, blocks

CELL_M = 1.0
MOST_CELLS = 16_000_000
STEP_M = 0.5
"""Rise that is still ground, whatever the slope."""

MOST_RISE_M = 3.0
"""Rise that is no ground, whatever the slope and the windows."""

GROWTH_M, GROWTH = 4.0, 0.15


class Ground:
    """The ground of one raster, from ``surface``: a window's heights in metres, NaN where unknown.

    ``widest`` is the largest window in metres, ``slope`` the steepest ground in metres per metre.
    """

    def __init__(
        self,
        surface: Callable[[Window], np.ndarray],
        height: int,
        width: int,
        gsd: float,
        widest: float,
        slope: float,
    ) -> None:
        least = np.ceil(np.sqrt(height * width / MOST_CELLS))
        self.cell = int(max(1, round(CELL_M / gsd), least))
        cells = _lowest(surface, height, width, self.cell)
        self.cell_m = self.cell * gsd
        self.cells = _ground(cells, self.cell_m, widest, slope)

    def heights(self, window: Window) -> np.ndarray:
        """Return the ground's height float32 [height, width] on a window of the raster."""
        rows, columns = (
            (np.arange(start, start + length, dtype=np.float32) + 0.5) / self.cell - 0.5
            for start, length in ((window.y, window.height), (window.x, window.width))
        )
        places = np.meshgrid(rows, columns, indexing="ij")
        return map_coordinates(self.cells, places, order=1, mode="nearest")


def _lowest(
    surface: Callable[[Window], np.ndarray], height: int, width: int, cell: int
) -> np.ndarray:
    """Return the lowest height of every cell, NaN where none is known."""
    found = np.full((-(-height // cell), -(-width // cell)), np.inf, np.float32)
    for window in blocks(height, width, cell * max(1, 2048 // cell)):
        heights = np.nan_to_num(surface(window), nan=np.inf)
        pads = [(0, -length % cell) for length in heights.shape]
        heights = np.pad(heights, pads, constant_values=np.inf)
        rows, columns = heights.shape[0] // cell, heights.shape[1] // cell
        least = heights.reshape(rows, cell, columns, cell).min(axis=(1, 3))
        y, x = window.y // cell, window.x // cell
        found[y : y + rows, x : x + columns] = least
    found[np.isinf(found)] = np.nan
    return found


def _ground(lowest: np.ndarray, cell_m: float, widest: float, slope: float) -> np.ndarray:
    is_known = np.isfinite(lowest)
    if not is_known.any():
        return np.zeros_like(lowest)
    surface = opened = _filled(lowest, is_known)
    is_ground, before = is_known, 1
    for size in _sizes(cell_m, widest):
        lower = grey_opening(opened, size=(size, size), mode="nearest")
        rise = min(STEP_M + slope * (size - before) * cell_m, MOST_RISE_M)
        is_ground = is_ground & (opened - lower <= rise)
        opened, before = lower, size
    ground = _filled(surface, is_ground)
    smooth = gaussian_filter(ground, sigma=max(1.0, widest / cell_m / 8), mode="nearest")
    return np.where(is_ground, surface, smooth).astype(np.float32)


def _sizes(cell_m: float, widest: float) -> list[int]:
    """Return odd window sizes in cells: by few metres at first, by a share of their size later."""
    sizes, size, most = [], 1, int(widest / cell_m) // 2 * 2 + 1
    while size < most:
        growth = max(GROWTH_M / cell_m, GROWTH * size) / 2
        size = min(most, size + 2 * max(1, round(growth)))
        sizes.append(size)
    return sizes


def _filled(values: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    """Return ``values`` with the nearest known one where it is not known."""
    if not is_known.any():
        return values
    nearest = distance_transform_edt(~is_known, return_distances=False, return_indices=True)
    return values[tuple(nearest)]
