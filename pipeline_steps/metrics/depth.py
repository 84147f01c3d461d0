"""How much of real height relative depth tells, and how well its windows hide."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

TALL = 1.0
"""Metres above ground from which something is called tall."""

CLOSE = 1.25
"""Ratio of guess and truth up to which δ1 calls them alike (Eigen et al., NeurIPS 2014)."""

UNDEFINED = dict.fromkeys(
    (
        "spearman",
        "auc_tall",
        "aligned_mae_m",
        "constant_mae_m",
        "aligned_rmse_m",
        "constant_rmse_m",
        "delta1",
        "least_mae_m",
        "median_mae_m",
    )
)


def height_quality(
    depth: np.ndarray, height: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Compare relative depth with height in metres, and class index, 1-D of the same pixels.

    Returns Spearman's ρ and the area under the ROC curve of "taller than 1 m", which no scale
    touches. Then, after the scale and shift of least squares, mean absolute error, root mean
    square error and δ1 (the share of what is taller than 1 m whose height is met within a factor
    of 1.25), the first two beside those of the constant of least squares, the mean. Then the
    least mean absolute error that any scale and shift gives, beside that of any constant, the
    median's: where most of the ground is flat, a harder test. ``classes`` holds for each class
    its pixels, ρ within it, and errors under the scale and shift of all. None where a measure
    is not defined.
    """
    if depth.size < 2 or np.ptp(depth) == 0:
        return UNDEFINED | {"classes": {}}
    depth, height = depth.astype(np.float64), height.astype(np.float64)
    tall, guess = height > TALL, _least_squares(depth, height)
    return {
        "spearman": spearman(depth, height),
        "auc_tall": _auc(depth, tall) if 0 < tall.sum() < tall.size else None,
        "aligned_mae_m": _mae(guess, height),
        "constant_mae_m": _mae(height.mean(), height),
        "aligned_rmse_m": _rmse(guess, height),
        "constant_rmse_m": float(height.std()),
        "delta1": _delta(guess[tall], height[tall]),
        "least_mae_m": _mae(_least_absolute(depth, height), height),
        "median_mae_m": _mae(np.median(height), height),
        "classes": {
            name: _of_class(depth[here], guess[here], height[here])
            for index, name in enumerate(classes)
            if (here := labels == index).any()
        },
    }


def _of_class(depth: np.ndarray, guess: np.ndarray, height: np.ndarray) -> dict[str, Any]:
    return {
        "pixels": depth.size,
        "mean_height_m": float(height.mean()),
        "spearman": spearman(depth, height),
        "aligned_mae_m": _mae(guess, height),
        "aligned_rmse_m": _rmse(guess, height),
    }


def _mae(guess: np.ndarray | float, height: np.ndarray) -> float:
    return float(np.abs(guess - height).mean())


def _rmse(guess: np.ndarray, height: np.ndarray) -> float:
    return float(np.sqrt(((guess - height) ** 2).mean()))


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return Spearman's rank correlation, ties sharing their rank; None if either is constant."""
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _least_squares(depth: np.ndarray, height: np.ndarray) -> np.ndarray:
    slope, shift = np.polyfit(depth, height, 1)
    return slope * depth + shift


def _least_absolute(depth: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Return depth scaled and shifted so that its mean absolute error is least.

    For a given slope the best shift is a median, and what is left is convex in the slope.
    """

    def error(slope: float) -> float:
        left = height - slope * depth
        return float(np.abs(left - np.median(left)).mean())

    # by least squares the slope is of the right order of magnitude
    start = np.polyfit(depth, height, 1)[0]
    slope = minimize_scalar(error, bracket=(0.0, start or 1.0)).x
    return slope * depth + np.median(height - slope * depth)


def _delta(guess: np.ndarray, truth: np.ndarray) -> float | None:
    alike = (guess < truth * CLOSE) & (guess > truth / CLOSE)
    return float(alike.mean()) if alike.size else None


def _auc(score: np.ndarray, positive: np.ndarray) -> float:
    ranks, hits = rankdata(score), int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(score) - hits)))


class Seam:
    """The mean step across lines of the window grid over that off them; 1 is seamless.

    ``rows`` and ``columns`` are where windows meet; the field [H, W] is shown from top to bottom.
    Steps from or to an unknown pixel (NaN) do not count.
    """

    def __init__(self, rows: Sequence[int], columns: Sequence[int]) -> None:
        self._lines = np.array(rows, int), np.array(columns, int)
        self._sums, self._counts = np.zeros(2), np.zeros(2, np.int64)
        self._last: np.ndarray | None = None

    def look(self, top: int, rows: np.ndarray) -> None:
        """Take rows float32 [rows, W] into account that begin at row ``top``, in order."""
        down = rows if self._last is None else np.concatenate([self._last, rows])
        first = top + len(rows) - len(down) + 1
        steps = np.abs(np.diff(down, axis=0))
        self._add(steps, np.isin(np.arange(first, first + len(steps)), self._lines[0]), 1)
        steps = np.abs(np.diff(rows, axis=1))
        self._add(steps, np.isin(np.arange(1, rows.shape[1]), self._lines[1]), 0)
        self._last = rows[-1:].copy()

    def value(self) -> float | None:
        """Return the ratio; None where there is no line, or no step at all off them."""
        if (self._counts == 0).any() or self._sums[1] == 0:
            return None
        across, beside = self._sums / self._counts
        return float(across / beside)

    def _add(self, steps: np.ndarray, is_line: np.ndarray, axis: int) -> None:
        sums, counts = steps.sum(axis), np.full(len(is_line), steps.shape[axis])
        if np.isnan(sums).any():
            sums, counts = np.nansum(steps, axis), counts - np.isnan(steps).sum(axis)
        for place, some in enumerate((is_line, ~is_line)):
            self._sums[place] += sums[some].sum(dtype=np.float64)
            self._counts[place] += counts[some].sum()


def seam(values: np.ndarray, rows: Sequence[int], columns: Sequence[int]) -> float | None:
    """Return the seam metric of a whole field [H, W]."""
    metric = Seam(rows, columns)
    metric.look(0, values)
    return metric.value()
