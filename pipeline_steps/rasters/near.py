"""Where another class is near."""

from collections.abc import Sequence

import numpy as np

IGNORE = 255
"""A label that says nothing: it is at no boundary, and makes none."""


def near_boundary(labels: np.ndarray, reach: int) -> np.ndarray:
    """Return where another class lies within ``reach`` pixels (a square), bool [H, W].

    ``labels`` are uint8 [H, W], 255 where there is none.
    """
    if not reach:
        return np.zeros(labels.shape, bool)
    padded, is_known = np.pad(labels, reach, mode="edge"), labels != IGNORE
    if is_known.all():
        # a square is of one class where all of its squares of 2 by 2 are
        return _spread(_changes(padded), 2 * reach, np.logical_or)
    # times 0 or 1 is far quicker than to choose
    highest = _spread(padded * (padded != IGNORE), 2 * reach + 1, np.maximum)
    return is_known & (highest != _spread(padded, 2 * reach + 1, np.minimum))


def bands(labels: np.ndarray, reaches: Sequence[int]) -> np.ndarray:
    """Return for every pixel how many of the ascending ``reaches`` see no other class, uint8."""
    found = np.zeros(labels.shape, np.uint8)
    for reach in reaches:
        found += ~near_boundary(labels, reach)
    return found


def _changes(labels: np.ndarray) -> np.ndarray:
    """Return which squares of 2 by 2 are of more than one class, bool [H - 1, W - 1]."""
    across = labels[:, :-1] != labels[:, 1:]
    down = labels[:-1, :-1] != labels[1:, :-1]
    return across[:-1] | across[1:] | down


def _spread(values: np.ndarray, side: int, of: np.ufunc) -> np.ndarray:
    """Return ``of`` all values of every whole square of ``side`` pixels.

    Spans double, so a square costs a few passes over bytes whatever its size.
    """
    for _ in range(2):
        span = 1
        while span < side:
            step = min(span, side - span)
            values = of(values[:-step], values[step:])
            span += step
        values = values.T
    return values
