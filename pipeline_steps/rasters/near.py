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
    is_known = labels != IGNORE
    highest = _extreme(np.where(is_known, labels, 0), reach, np.maximum)
    return is_known & (highest != _extreme(labels, reach, np.minimum))


def bands(labels: np.ndarray, reaches: Sequence[int]) -> np.ndarray:
    """Return for every pixel how many of the ascending ``reaches`` see no other class, uint8."""
    found = np.zeros(labels.shape, np.uint8)
    for reach in reaches:
        found += ~near_boundary(labels, reach)
    return found


def _extreme(values: np.ndarray, reach: int, of: np.ufunc) -> np.ndarray:
    """Return the largest or least value of the square around every pixel, cut off at the edge.

    Spans double, so a square costs a few passes over bytes whatever its size.
    """
    for axis in (0, 1):
        pads = [(reach, reach) if one == axis else (0, 0) for one in (0, 1)]
        moved = np.moveaxis(np.pad(values, pads, mode="edge"), axis, 0)
        span, wanted = 1, 2 * reach + 1
        while span < wanted:
            step = min(span, wanted - span)
            moved = of(moved[:-step], moved[step:])
            span += step
        values = np.moveaxis(moved, 0, axis)
    return values
