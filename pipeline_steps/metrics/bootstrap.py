"""How sure a difference between two systems is: both seen on the same resampled ground."""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95
FEWEST = 10
"""Units of which draws tell something: of fewer there are too few to be unlike one another."""


class Difference(NamedTuple):
    """A difference, its 95 % interval, and how likely chance alone gives one as large."""

    value: float
    low: float
    high: float
    p: float


def miou(matrices: np.ndarray) -> np.ndarray:
    """Return the mean IoU of confusion matrices [..., classes, classes], float64 [...].

    A class that is neither in the truth nor predicted is left out of the mean; NaN where all are.
    """
    hit = np.diagonal(matrices, axis1=-2, axis2=-1)
    whole = matrices.sum(axis=-1) + matrices.sum(axis=-2) - hit
    is_there = whole > 0
    shares = np.divide(hit, whole, out=np.zeros(hit.shape), where=is_there)
    return _ratio(shares.sum(axis=-1), is_there.sum(axis=-1))


def kappa(matrices: np.ndarray) -> np.ndarray:
    """Return Cohen's kappa of confusion matrices [..., classes, classes]; NaN of one class."""
    total = matrices.sum(axis=(-2, -1))
    # shares, for products of counts would be too large to be exact
    shares = matrices / np.maximum(total, 1)[..., None, None]
    chance = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
    agreed = np.trace(shares, axis1=-2, axis2=-1)
    return np.where(total > 0, _ratio(agreed - chance, 1 - chance), np.nan)


def oa(matrices: np.ndarray) -> np.ndarray:
    """Return the overall accuracy of confusion matrices [..., classes, classes]."""
    agreed = np.trace(matrices, axis1=-2, axis2=-1)
    return _ratio(agreed, matrices.sum(axis=(-2, -1)))


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"miou": miou, "kappa": kappa, "oa": oa}


def difference(ours: np.ndarray, theirs: np.ndarray, score: str) -> Difference:
    """Compare two systems on the same units of ground, scenes or blocks, by a paired bootstrap.

    Both are confusion matrices int64 [seeds, units, classes, classes]; the number of seeds may
    differ. Units are drawn with replacement, the same for both; the score of a draw is that of
    summed matrices, averaged over seeds. The interval is bias-corrected and accelerated (Efron
    1987), of percentiles where that is not defined; p is two-sided, of the bootstrap's
    distribution. Draws in which the score is not defined do not count. Interval and p are NaN where
    there are fewer than ``FEWEST`` units, or the score is not defined.
    """
    systems = [np.moveaxis(np.asarray(one, np.float64), 1, 0) for one in (ours, theirs)]
    units, draw = len(systems[0]), SCORES[score]

    def gap(drawn: np.ndarray, axis: int) -> np.ndarray:
        drawn = np.moveaxis(drawn, axis, -1).astype(np.intp)
        rows = drawn.reshape(-1, drawn.shape[-1])
        weights = np.zeros((len(rows), units))
        np.add.at(weights, (np.arange(len(rows))[:, None], rows), 1)
        first, second = (draw(np.tensordot(weights, one, axes=1)).mean(axis=1) for one in systems)
        return (first - second).reshape(drawn.shape[:-1])

    value = float(gap(np.arange(units)[None], -1)[0])
    if units < FEWEST or np.isnan(value):
        return Difference(value, np.nan, np.nan, np.nan)
    return Difference(value, *_interval(gap, units, value))


def _interval(
    gap: Callable[[np.ndarray, int], np.ndarray], units: int, value: float
) -> tuple[float, float, float]:
    settings = {"n_resamples": RESAMPLES, "confidence_level": LEVEL, "vectorized": True}
    data = (np.arange(units),)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(data, gap, method="BCa", batch=256, rng=SEED, **settings)
    drawn = found.bootstrap_distribution
    drawn = drawn[~np.isnan(drawn)]
    if not drawn.size:
        return np.nan, np.nan, np.nan
    low, high = found.confidence_interval
    if not np.isfinite([low, high]).all():
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
    beyond = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return float(low), float(high), float(min(1.0, 2 * (beyond + 1) / (len(drawn) + 1)))


def holm(values: Sequence[float]) -> np.ndarray:
    """Return p-values corrected for being many (Holm 1979); NaN stays, and counts for nothing."""
    p = np.asarray(values, np.float64)
    corrected, known = np.full(p.shape, np.nan), np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return corrected


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    nothing = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.divide(part, whole, out=nothing, where=np.asarray(whole) != 0)
