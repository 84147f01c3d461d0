"""What is taken off a raw field of relative depth, so that height above ground is left.

All is learned in a first look at the field, row by row, and taken off in a second. Memory is that
of a sample and of coarse cells.
"""

from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter, grey_opening, map_coordinates

Kind = Literal["none", "plane", "morphological"]

CELLS_PER_WINDOW = 8
"""Cells along the window of the opening: so much coarser is the ground than the field."""

MOST_CELLS = 16_000_000
"""Cells of a scene, whatever its size: where a pixel is many metres wide they are larger."""

ROUNDS = 10


class Ground:
    """The ground under a field [H, W] that is shown to it row by row; NaN is unknown.

    ``plane`` is fitted robustly; ``morphological`` the opening of the field by a square of
    ``window`` pixels, smoothed (the top-hat of mathematical morphology is what is left).
    """

    def __init__(self, kind: Kind, height: int, width: int, window: float) -> None:
        self.kind, self.width, self.window = kind, width, window
        least = int(np.ceil(np.sqrt(height * width / MOST_CELLS)))
        self.cell = max(1, least, round(window / CELLS_PER_WINDOW))
        self._lowest: list[np.ndarray] = []
        self._cells: np.ndarray | None = None
        self._plane = np.zeros(3)

    def look(self, top: int, rows: np.ndarray) -> None:
        """Take rows float32 [rows, W] into account that begin at row ``top``, in order."""
        if self.kind != "morphological":
            return
        columns = np.arange(0, self.width, self.cell)
        for start in range(-(top % self.cell), len(rows), self.cell):
            part = rows[max(0, start) : start + self.cell]
            # unknown pixels are no ground, and an opening knows no NaN
            part = np.where(np.isnan(part), np.inf, part)
            lowest = np.minimum.reduceat(part.min(axis=0), columns)
            if start < 0:
                np.minimum(self._lowest[-1], lowest, out=self._lowest[-1])
            else:
                self._lowest.append(lowest)

    def settle(self, y: np.ndarray, x: np.ndarray, values: np.ndarray) -> None:
        """Decide what the ground is; ``values`` is a sample, 1-D, at ``y``, ``x``."""
        if self.kind == "plane" and values.size >= 3:
            self._plane = _plane(y, x, values)
        if self.kind == "morphological" and values.size:
            self._cells = _opened(np.array(self._lowest), max(1, round(self.window / self.cell)))

    def at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray | float:
        """Return the ground's height at pixels ``y`` and ``x``, which broadcast."""
        if self.kind == "plane":
            offset, down, right = self._plane
            return offset + down * y + right * x
        if self._cells is None:
            return 0.0
        places = np.broadcast_arrays(*((p + 0.5) / self.cell - 0.5 for p in (y, x)))
        return map_coordinates(self._cells, places, order=1, mode="nearest")


def _opened(cells: np.ndarray, side: int) -> np.ndarray:
    """Return the smoothed opening of ``cells`` by a square; what is not finite is unknown."""
    known = np.isfinite(cells)
    # so high that it lowers nothing; nor may it raise its neighbours when all is smoothed
    opened = grey_opening(np.where(known, cells, cells[known].max()), side, mode="nearest")
    total, share = (
        gaussian_filter(part.astype(np.float32), side / 2, mode="nearest")
        for part in (np.where(known, opened, 0), known)
    )
    return total / np.maximum(share, np.finfo(np.float32).tiny)


def _plane(y: np.ndarray, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return offset and slopes down and right, by Tukey's weights: roofs are no ground.

    They begin at the plane of least absolute errors: from that of least squares, which lies
    between ground and roofs, they would not come down.
    """
    terms = np.stack([np.ones(values.size), y, x], axis=1).astype(np.float64)
    weights = np.ones(values.size)
    for number in range(2 * ROUNDS):
        root = np.sqrt(weights)
        plane = np.linalg.lstsq(terms * root[:, None], values * root, rcond=None)[0]
        left = np.abs(values - terms @ plane)
        spread = max(1.4826 * np.median(left), 1e-9)
        if number < ROUNDS:
            weights = 1 / np.maximum(left, 1e-3 * spread)
        else:
            weights = (1 - np.minimum(1, left / (4.685 * spread)) ** 2) ** 2
    return plane
