"""Counts of one map against its labels, piece by piece: what all scores are made from."""

from typing import NamedTuple

import numpy as np

LEVELS = 101
"""Confidence in whole per cent."""


class Seen(NamedTuple):
    """A piece of a scene: arrays of one shape.

    ``truth`` and ``guess`` are class indices, uint8, 255 where truth is not labelled; ``kinds``
    uint8 numbers of kinds of ground; ``near`` whether the guess has another class near, or None;
    ``confidence`` in per cent, uint8, or None.
    """

    truth: np.ndarray
    guess: np.ndarray
    kinds: np.ndarray
    near: np.ndarray | None
    confidence: np.ndarray | None


class Counts:
    """Sums over pieces, all int64.

    ``joint`` [kinds, 2, classes, classes] has pixels by kind of ground, by whether the guess has
    another class near, by true and by predicted class. ``levels`` [101, 2] has labelled pixels by
    confidence, in per cent, and by whether the class is right.
    """

    def __init__(self, kinds: int, classes: int) -> None:
        self.classes = classes
        self.joint = np.zeros((kinds, 2, classes, classes), np.int64)
        self.levels = np.zeros((LEVELS, 2), np.int64)

    def add(self, seen: Seen) -> np.ndarray:
        """Count a piece; return its confusion matrix, truth by row.

        Raises ValueError where a labelled pixel has no predicted class: that is no miss.
        """
        found = self._joint(seen)
        known = found[:, :, :-1, :-1]
        if found[:, :, :-1, -1].any():
            wrong = seen.guess[(seen.truth != 255) & (seen.guess >= self.classes)]
            last = self.classes - 1
            raise ValueError(f"prediction has class {wrong[0]}, expected 0 to {last}")
        self.joint += known
        if seen.confidence is not None:
            self._count_levels(seen)
        return known.sum(axis=(0, 1))

    def _joint(self, seen: Seen) -> np.ndarray:
        """Count with one more row and column: what is not labelled, and what is no class."""
        kinds, edge = len(self.joint), self.classes + 1
        size = kinds * 2 * edge**2
        # with an array of one number, as numpy is slow to compare bytes with a number alone
        most = np.full(seen.truth.shape, self.classes, np.uint8)
        truth, guess = np.minimum(seen.truth, most), np.minimum(seen.guess, most)
        near = np.zeros_like(most) if seen.near is None else seen.near.view(np.uint8)
        ground, pair = _numbered(seen.kinds, near, kinds, 2), _numbered(truth, guess, edge, edge)
        index = _numbered(ground, pair, 2 * kinds, edge**2)
        return np.bincount(index.ravel(), minlength=size).reshape(kinds, 2, edge, edge)

    def _count_levels(self, seen: Seen) -> None:
        most = np.full(seen.truth.shape, LEVELS, np.uint8)
        level = np.minimum(seen.confidence, most)
        # beyond the last level is what does not count
        np.maximum(level, most * (seen.truth == 255), out=level)
        is_right = (seen.truth == seen.guess).view(np.uint8)
        pairs = _numbered(level, is_right, LEVELS + 1, 2)
        found = np.bincount(pairs.ravel(), minlength=2 * LEVELS + 2)
        self.levels += found[: 2 * LEVELS].reshape(LEVELS, 2)


def rims(joint: np.ndarray, is_near: np.ndarray) -> dict[str, list[int]]:
    """Return what boundary IoU (Cheng et al., CVPR 2021) follows from, by class.

    ``joint`` is that of ``Counts``; ``is_near`` bool [kinds] tells kinds near a boundary of the
    labels. ``truth`` and ``guess`` have pixels in the rim of a class, ``both`` those in both rims.
    """
    near = joint[is_near]
    return {
        "truth": near.sum(axis=(0, 1, 3)).tolist(),
        "guess": joint[:, 1].sum(axis=(0, 1)).tolist(),
        "both": np.diagonal(near[:, 1].sum(axis=0)).tolist(),
    }


def _numbered(first: np.ndarray, second: np.ndarray, firsts: int, seconds: int) -> np.ndarray:
    """Return the number of each pair of numbers, of which there are so many, in few bytes."""
    index = first.astype(np.min_scalar_type(firsts * seconds - 1))
    index *= index.dtype.type(seconds)
    index += second
    return index
