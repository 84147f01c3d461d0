"""Make overlapping windows of relative depth agree: a scale and a shift for each of them.

A teacher's relative depth is known up to scale and shift, and each window picks its own. Both
follow from the overlaps by two sparse least-squares problems over the same graph: first the
logarithms of the scales, from the ratio of standard deviations in each overlap (so no scale can
collapse to zero or turn negative, as it would if scales and shifts were fitted to noisy pixels at
once), then the shifts, from the difference of means.

One more window may see the whole scene at once, coarsely: it keeps errors from adding up along
the way. Equations are robust (Huber's weights), and those of the coarse window count by how much
noisier they are than the rest, so where overlaps agree they have their way.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from pipeline_steps.rasters.blending import hann
from pipeline_steps.rasters.windows import Window

PULL = 1e-9
"""How strongly a window is drawn to scale 1 and shift 0, against one sound overlap."""

TOLERANCE = 1e-3
"""Errors, as a share of a scale or of a standard deviation, below which none is called an outlier:
where most overlaps agree exactly, the rest would all be."""

ROUNDS = 12
"""Times that the equations are weighted anew."""

COARSE = 0.01
"""Weight of a coarse view's equations beside what their noise alone would give them: what it gets
wrong it gets wrong in whole quarters, which comparing neighbours does not show."""

SMOOTHNESS = 0.25
"""Standard deviation of an overlap's error beside that of its pixels' errors, at least: these are
smooth, so that all of them tell as much as 16 that are independent."""

PIXELS = 16_384
"""Pixels of an overlap that are compared, at most: depth is smooth, so that more tell no more."""

HUBER = 1.345
"""Standard deviations from which an error counts linearly: 95 % efficient on normal errors."""


@dataclasses.dataclass(frozen=True)
class Overlaps:
    """What m pairs of windows say of the ground they share.

    ``pairs`` int [m, 2], ``size`` [m], the weight of their pixels, ``mean`` and ``sd`` [m, 2],
    ``correlation`` [m].
    """

    pairs: np.ndarray
    size: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    correlation: np.ndarray

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]], facts: Sequence[np.ndarray]) -> "Overlaps":
        """Gather what ``statistics`` gave for each pair; those that share no pixel are left out."""
        table = np.array(facts, np.float64).reshape(-1, 6)
        some = table[:, 0] > 0
        table, pairs = table[some], np.array(pairs, int).reshape(-1, 2)[some]
        return cls(pairs, table[:, 0], table[:, 1:3], table[:, 3:5], table[:, 5])

    def __add__(self, other: "Overlaps") -> "Overlaps":
        both = ((getattr(o, f.name) for o in (self, other)) for f in dataclasses.fields(self))
        return Overlaps(*(np.concatenate(list(parts)) for parts in both))

    def disagreement(self, fit: np.ndarray) -> float:
        """Return the root mean square difference of pairs under ``fit`` [n, 2], 0 if none.

        In units of the standard deviation that the windows have there.
        """
        scale, shift = fit[self.pairs].transpose(2, 0, 1)
        (sd_a, sd_b), (a, b) = (scale * self.sd).T, (scale * self.mean + shift).T
        square = (a - b) ** 2 + sd_a**2 + sd_b**2 - 2 * self.correlation * sd_a * sd_b
        spread = self.size @ (sd_a**2 + sd_b**2) / 2
        # rounding may take a perfect agreement below zero
        return float(np.sqrt(max(0.0, self.size @ square) / spread)) if spread > 0 else 0.0


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


def common(a: Window, b: Window) -> Window:
    """Return the ground that two windows share."""
    y, x = max(a.y, b.y), max(a.x, b.x)
    bottom, right = min(a.y + a.height, b.y + b.height), min(a.x + a.width, b.x + b.width)
    return Window(y, x, bottom - y, right - x)


def overlaps(
    windows: Sequence[Window],
    depths: Sequence[np.ndarray],
    is_valid: Callable[[Window], np.ndarray | None] = lambda _: None,
) -> Overlaps:
    """Compare all windows that share pixels; ``depths`` are [height, width] each.

    ``is_valid`` gives bool [height, width] of any window, or None where every pixel counts. Of
    large overlaps `PIXELS`, evenly spread, are compared. The middle of an overlap counts most:
    near their edges networks see less, and blends forget it. Of ``depths``, the rows of windows
    that share pixels with one are held at a time.
    """
    across = Counter(window.y for window in windows)
    height = windows[0].height if windows else 0
    rows = max((sum(top <= y < top + height for y in across) for top in across), default=0)
    held = max(2, rows) * max(across.values(), default=0) + 4
    depth = lru_cache(maxsize=held)(lambda number: depths[number])
    weight = lru_cache(maxsize=64)(lambda size, a, b: hann(size)[a.slices] * hann(size)[b.slices])
    pairs, facts = list(overlapping(windows)), []
    for i, j in pairs:
        ground = common(windows[i], windows[j])
        step = math.ceil(math.sqrt(ground.height * ground.width / PIXELS))
        some = slice(None, None, step), slice(None, None, step)
        seen = [moved(ground, windows[k]) for k in (i, j)]
        a, b = (depth(k)[window.slices][some] for k, window in zip((i, j), seen, strict=True))
        valid, weights = is_valid(ground), weight(windows[i].height, *seen)[some]
        facts.append(statistics(a, b, weights if valid is None else weights * valid[some]))
    return Overlaps.of(pairs, facts)


def moved(window: Window, origin: Window) -> Window:
    """Return a window as seen from the corner of another."""
    return window._replace(y=window.y - origin.y, x=window.x - origin.x)


def statistics(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sum of weights, both means and standard deviations, the correlation: float64 [6].

    All arguments are of one shape.
    """
    total = weights.sum(dtype=np.float64)
    if total == 0:
        return np.zeros(6)
    share = (weights / total).ravel().astype(np.float64)
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    mean_a, mean_b = share @ a, share @ b
    a, b = a - mean_a, b - mean_b
    sd_a, sd_b = _spread(share @ a**2, mean_a), _spread(share @ b**2, mean_b)
    correlation = share @ (a * b) / (sd_a * sd_b) if sd_a > 0 and sd_b > 0 else 0.0
    return np.array([total, mean_a, mean_b, sd_a, sd_b, correlation])


def _spread(variance: float, mean: float) -> float:
    """Return the standard deviation, 0 where it is no more than what rounding to float32 makes."""
    sd = float(np.sqrt(variance))
    return sd if sd > 1e-6 * abs(mean) else 0.0


def align(count: int, found: Overlaps, coarse: Overlaps | None = None) -> np.ndarray:
    """Return float64 [count, 2], the scale and shift of each window, so that ``found`` agree.

    ``coarse`` pairs windows with one that sees the whole scene, whose number is ``count``. Flat
    overlaps say nothing about scales; windows that nothing ties down stay at scale 1 and shift 0.
    The scales' geometric mean is 1, the shifts' mean 0.
    """
    every = found if coarse is None else found + coarse
    group = np.arange(len(every.size)) >= len(found.size)
    nodes = count + (coarse is not None)
    # the two kinds count their pixels differently: against the largest of their own
    most = [one.size.max(initial=1e-9) for one in (found, coarse or found)]
    size = every.size / np.where(group, most[1], most[0])
    # the coarse view's own scale may be anything
    sd = np.where(group[:, None], every.sd[:, :1], every.sd)
    # beside most overlaps: beside the largest, one window of garbage would make all others flat
    relief = sd.min(axis=1) / (np.median(sd[sd > 0]) if sd.any() else np.inf)
    sound = (relief > 1e-3) & (every.sd > 0).all(axis=1)
    # what rises little is told apart from errors badly
    trust = size * every.correlation.clip(0) ** 2 * relief**2 / (1 + relief**2) * sound
    sd = np.where(sound[:, None], every.sd, 1)
    ratio, unlike = np.log(sd[:, 1] / sd[:, 0]), 1 - every.correlation**2
    floor = _least_error(unlike[~group & (trust > 0)])
    logs = _solve_robustly(nodes, every.pairs, ratio, trust, group, floor)
    scales = np.exp(_centred(logs, count, every.pairs[trust > 0]))
    mean, sd = scales[every.pairs] * every.mean, scales[every.pairs] * every.sd
    difference = mean[:, 1] - mean[:, 0]
    unit = np.median(sd[sound]) if sound.any() else np.abs(difference).max(initial=1e-12)
    unlike = ((sd**2).sum(axis=1) - 2 * every.correlation * sd.prod(axis=1)) / unit**2
    floor = unit * _least_error(unlike[~group])
    # where two views of the ground contradict each other, they tell no height either
    size = np.where(group, trust, size / (1 + unlike))
    shifts = _solve_robustly(nodes, every.pairs, difference, size, group, floor)
    shifts = _centred(shifts, count, every.pairs[size > 0])
    return np.stack([scales, shifts], axis=1)[:count]


def _centred(x: np.ndarray, count: int, pairs: np.ndarray) -> np.ndarray:
    """Return x so that the mean of the windows in ``pairs``, without the coarse one, is 0."""
    tied = np.unique(pairs)
    x[tied] -= x[tied[tied < count]].mean() if tied.size else 0
    return x


def _least_error(unlike: np.ndarray) -> float:
    """Return the standard deviation that errors have at least, told by variances of pixels.

    A chain of windows has no loop whose errors could be seen.
    """
    seen = float(np.median(unlike)) if unlike.size else 0.0
    return max(TOLERANCE, SMOOTHNESS * max(0.0, seen) ** 0.5)


def _solve_robustly(
    count: int,
    pairs: np.ndarray,
    differences: np.ndarray,
    weights: np.ndarray,
    group: np.ndarray,
    floor: float,
) -> np.ndarray:
    """Return x that makes x_i − x_j the ``differences``, as iteratively reweighted least squares.

    Equations of the second ``group`` (True) come in once the others tell how well they fit.
    ``floor`` is the least standard deviation that errors are said to have.
    """
    judged = ~group & (weights > 0)
    current, noise = np.where(group, 0, weights), np.ones(len(pairs))
    for number in range(2 * ROUNDS):
        x = _solve(count, pairs, differences, current)
        left = np.abs(x[pairs[:, 0]] - x[pairs[:, 1]] - differences)
        if number < ROUNDS:
            noise[judged] = max(floor, _deviation(left[judged]))
            current = np.where(group, 0, weights) / np.maximum(1, left / (HUBER * noise))
            continue
        # the overlaps' noise is known by now: with the second kind it would seem larger
        noise[group] = max(floor, _noise(count, pairs, differences, group & (weights > 0), judged))
        ratio = (noise[judged].max(initial=0) or noise.max(initial=1)) / noise
        share = np.where(group, COARSE, 1) * ratio**2
        current = weights * share / np.maximum(1, left / (HUBER * noise))
    return x


def _deviation(errors: np.ndarray) -> float:
    """Return the standard deviation that absolute errors would have if they were normal."""
    return float(1.4826 * np.median(errors)) if errors.size else 1.0


def _noise(
    count: int, pairs: np.ndarray, differences: np.ndarray, group: np.ndarray, judged: np.ndarray
) -> float:
    """Return the standard deviation of the equations of ``group``, which tie nodes to one other.

    Told by the ``judged``, which tie neighbours: what adds up along many overlaps is no error of
    the coarse view.
    """
    said = np.full(count, np.nan)
    said[pairs[group, 0]] = differences[group]
    errors = said[pairs[judged, 0]] - said[pairs[judged, 1]] - differences[judged]
    errors = np.abs(errors[np.isfinite(errors)])
    return _deviation(errors) / np.sqrt(2)


def _solve(
    count: int, pairs: np.ndarray, differences: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return x that minimises Σ w (x_i − x_j − d)² + PULL · Σ x²."""
    if not len(pairs):
        return np.zeros(count)
    rows = np.arange(len(pairs))
    ones = np.ones(len(pairs))
    incidence = sparse.csr_array(
        (np.r_[ones, -ones], (np.r_[rows, rows], pairs.T.ravel())), shape=(len(pairs), count)
    )
    weighted = incidence.T @ sparse.diags_array(weights)
    normal = (weighted @ incidence + PULL * sparse.eye_array(count)).tocsc()
    return spsolve(normal, weighted @ differences)
