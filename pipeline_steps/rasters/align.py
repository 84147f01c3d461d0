"""Make overlapping windows of relative depth agree: a scale and a shift for each of them.

A teacher's relative depth is known up to scale and shift, and each window picks its own. Both
follow from the overlaps by two graph-Laplacian least-squares problems: first the logarithms of
the scales, from the ratio of standard deviations in each overlap (so no scale can collapse to
zero or turn negative), then the shifts, from the difference of means.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from pipeline_steps.rasters.windows import Window

PULL = 1e-3
"""How strongly a window is drawn to scale 1 and shift 0, against one sound overlap."""


def overlapping(windows: Sequence[Window]) -> Iterator[tuple[int, int]]:
    """Yield the index pairs of windows that share pixels.

    Windows are sorted by row, as ``grid`` gives them, so the search looks ahead one row only.
    """
    for i, a in enumerate(windows):
        for j in range(i + 1, len(windows)):
            b = windows[j]
            if b.y >= a.y + a.height:
                break
            if abs(a.x - b.x) < a.width:
                yield i, j


def shared(a: Window, b: Window) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the common ground of two windows as an index into each."""
    y, x = max(a.y, b.y), max(a.x, b.x)
    bottom, right = min(a.y + a.height, b.y + b.height), min(a.x + a.width, b.x + b.width)
    common = [(slice(y - w.y, bottom - w.y), slice(x - w.x, right - w.x)) for w in (a, b)]
    return common[0], common[1]


def align(windows: Sequence[Window], depths: Sequence[np.ndarray]) -> np.ndarray:
    """Return float64 [n, 2], the scale and shift of each window, so that ``overlaps`` agree.

    ``depths`` are [height, width] each. Flat overlaps say nothing about scales; windows that
    nothing ties down stay at scale 1 and shift 0.
    """
    pairs = list(overlapping(windows))
    stats = np.array([_statistics(windows, depths, i, j) for i, j in pairs]).reshape(-1, 6)
    pixels, mean_a, mean_b, sd_a, sd_b, correlation = stats.T
    size = pixels / max(pixels.max(initial=1), 1)
    spread = max(sd_a.max(initial=0), sd_b.max(initial=0))
    sound = (np.minimum(sd_a, sd_b) > 1e-3 * spread) & (spread > 0)
    trust = np.where(sound, size * correlation.clip(0) ** 2, 0)
    ratio = np.log(np.where(sound, sd_b, 1) / np.where(sound, sd_a, 1))
    scales = np.exp(_solve(len(windows), pairs, ratio, trust))
    i, j = np.array(pairs, int).reshape(-1, 2).T
    shifts = _solve(len(windows), pairs, scales[j] * mean_b - scales[i] * mean_a, size)
    return np.stack([scales, shifts], axis=1)


def disagreement(windows: Sequence[Window], depths: Sequence[np.ndarray], fit: np.ndarray) -> float:
    """Return the root mean square difference of overlapping windows under ``fit``; 0 if none."""
    squares, pixels = 0.0, 0
    for i, j in overlapping(windows):
        a, b = (
            depths[k][part].astype(np.float64) * fit[k, 0] + fit[k, 1]
            for k, part in zip((i, j), shared(windows[i], windows[j]), strict=True)
        )
        squares, pixels = squares + float(((a - b) ** 2).sum()), pixels + a.size
    return float(np.sqrt(squares / pixels)) if pixels else 0.0


def _statistics(
    windows: Sequence[Window], depths: Sequence[np.ndarray], i: int, j: int
) -> tuple[float, ...]:
    part_a, part_b = shared(windows[i], windows[j])
    a, b = depths[i][part_a].astype(np.float64), depths[j][part_b].astype(np.float64)
    sd_a, sd_b = a.std(), b.std()
    product = ((a - a.mean()) * (b - b.mean())).mean()
    correlation = product / (sd_a * sd_b) if sd_a > 0 and sd_b > 0 else 0.0
    return a.size, a.mean(), b.mean(), sd_a, sd_b, correlation


def _solve(
    count: int, pairs: list[tuple[int, int]], differences: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return x that minimises Σ w (x_i − x_j − d)² + PULL · Σ x²."""
    if not pairs:
        return np.zeros(count)
    rows = np.arange(len(pairs))
    i, j = np.array(pairs).T
    ones = np.ones(len(pairs))
    incidence = sparse.csr_array(
        (np.r_[ones, -ones], (np.r_[rows, rows], np.r_[i, j])), shape=(len(pairs), count)
    )
    weighted = incidence.T @ sparse.diags_array(weights)
    normal = (weighted @ incidence + PULL * sparse.eye_array(count)).tocsc()
    return spsolve(normal, weighted @ differences)
