"""Blocks of a raster for training, validation and test, with a buffer between them."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline_steps.rasters.windows import Window

PARTS = ("train", "val", "test")
UNUSED = 255
"""The code of a block without a labelled pixel."""

DRAWS = 2000
"""Random assignments from which the most even one is taken."""


def name_of(part: str, fold: int | None) -> str:
    """Return what manifests call a part where there may be folds."""
    return part if fold is None else f"{part}-{fold}"


class Division:
    """A raster in blocks, each with a code: the number of its part or, with folds, of its fold.

    ``codes`` is uint8 [rows, columns]; a pixel nearer than ``reach`` pixels to a block of another
    part belongs to none, so that parts are at least ``2 · reach`` pixels apart. Where pixels are
    not square, ``reach`` is a pair: down and to the right.
    """

    def __init__(
        self,
        height: int,
        width: int,
        codes: Any,
        reach: int | Sequence[int],
        folds: int | None,
    ) -> None:
        self.codes, self.reach, self.folds = np.asarray(codes, np.uint8), reach, folds
        self.shape = (height, width)
        self.edges = tuple(
            edges(length, count) for length, count in zip(self.shape, self.codes.shape, strict=True)
        )

    def wanted(self, part: str, fold: int | None = None) -> np.ndarray:
        """Return the blocks of a part, bool [rows, columns]: in a fold, its own are the test."""
        used = self.codes != UNUSED
        if self.folds is None:
            return self.codes == PARTS.index(part)
        if part == "val":
            return np.zeros_like(used)
        return used & ((self.codes == fold) == (part == "test"))

    def mask(self, window: Window, part: str, fold: int | None = None) -> np.ndarray:
        """Return which pixels of a window belong to a part, bool [height, width]."""
        wanted = self.wanted(part, fold)
        harmless = wanted | (self.codes == UNUSED)
        # rows that see the same blocks are alike, and so are columns: few are worked out
        rows, which_row = self._seen(0, window.y, window.height)
        columns, which_column = self._seen(1, window.x, window.width)
        inside = wanted[np.ix_(rows[0], columns[0])]
        for down, right in itertools.product((1, 2), repeat=2):
            inside &= harmless[np.ix_(rows[down], columns[0])]
            inside &= harmless[np.ix_(rows[0], columns[right])]
            below, beside = rows[down + 2], columns[right + 2]
            is_corner = (below != rows[0])[:, None] & (beside != columns[0])[None]
            inside &= harmless[np.ix_(below, beside)] | ~is_corner
        return inside[np.ix_(which_row, which_column)]

    def _seen(self, axis: int, start: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct sets of blocks that pixels along an axis see, and whose is which.

        A set [5] is the block of the pixel, those within reach on both sides, and those across a
        corner, where a part is nearer by the way around than each is to the corner.
        """
        reach = int(np.broadcast_to(self.reach, 2)[axis])
        across = int(np.ceil(np.sqrt(2) * reach))
        places = start + np.arange(length)
        offsets = (0, -reach, reach, -across, across)
        seen = np.stack([self._blocks(axis, places, offset) for offset in offsets])
        distinct, which = np.unique(seen, axis=1, return_inverse=True)
        return distinct, which.ravel()

    def _blocks(self, axis: int, places: np.ndarray, offset: int) -> np.ndarray:
        """Return the blocks in which pixels lie, moved by ``offset`` along an axis."""
        moved = (places + offset).clip(0, self.shape[axis] - 1)
        return np.searchsorted(self.edges[axis], moved, side="right") - 1


def edges(length: int, count: int) -> np.ndarray:
    """Return where ``count`` blocks of about the same size begin, and the end, int64."""
    return np.linspace(0, length, count + 1).round().astype(np.int64)


def block_counts(height: int, width: int, size: float) -> tuple[int, int]:
    """Return rows and columns of blocks whose side is about ``size`` pixels; one at least."""
    return max(1, round(height / size)), max(1, round(width / size))


def assign(counts: np.ndarray, shares: Sequence[float], stratify: bool, seed: int) -> np.ndarray:
    """Return the part of every block, uint8 [blocks], so that parts get their shares.

    ``counts`` are labelled pixels int64 [blocks, classes]. Of many seeded random assignments the
    one counts in which the classes (or with ``stratify`` false their sum) are spread most evenly.
    Blocks without a label are UNUSED.
    """
    labelled = np.flatnonzero(counts.sum(axis=1))
    weights = counts[labelled] if stratify else counts[labelled].sum(axis=1, keepdims=True)
    weights = weights[:, weights.sum(axis=0) > 0]
    codes = np.full(len(counts), UNUSED, np.uint8)
    if not labelled.size:
        return codes
    wanted, rng = np.array(shares, float), np.random.default_rng(seed)
    best, least = None, np.inf
    for drawn in _draws(weights.sum(axis=1), wanted, rng):
        deviation = _deviation(drawn, weights, wanted)
        if deviation < least:
            best, least = drawn, deviation
    codes[labelled] = best
    return codes


def _draws(sizes: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield random assignments: shuffled blocks, dealt out one part after the other."""
    ends = np.cumsum(wanted) / wanted.sum()
    parts = np.flatnonzero(wanted)
    for _ in range(DRAWS):
        order = rng.permutation(len(sizes))
        middles = (np.cumsum(sizes[order]) - sizes[order] / 2) / sizes.sum()
        drawn = np.empty(len(sizes), np.uint8)
        drawn[order] = np.searchsorted(ends, middles, side="right").clip(max=parts[-1])
        if len(sizes) >= len(parts) and len(np.unique(drawn)) < len(parts):
            drawn[order[: len(parts)]] = parts
        yield drawn


def _deviation(drawn: np.ndarray, weights: np.ndarray, wanted: np.ndarray) -> float:
    """Return how far a class is from its share, relative to it, where it is worst; the mean."""
    totals, used = weights.sum(axis=0), np.flatnonzero(wanted)
    found = np.array([weights[drawn == part].sum(axis=0) for part in used]) / totals
    return float(np.abs(found / wanted[used, None] - 1).max(axis=0).mean())
