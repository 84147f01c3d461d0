"""Crops drawn by what they show, the rarer the likelier."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline_steps.rasters.store import read
from pipeline_steps.rasters.windows import Window, blocks
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.layers import Layers
from pipeline_steps.training.sampling import Place, Positions

CELL = 64
"""Pixels along a side of the cells in which classes are counted."""

BLOCK = 32 * CELL
"""Pixels along a side of what is read at a time to count them."""


class RareClasses(Positions):
    """Places that show a class, which is drawn first, the rarer the likelier.

    Hoyer et al., "DAFormer", CVPR 2022: P(c) ∝ exp((1 − f) / T), with the class's frequency f among
    all labels and the ``temperature`` T. Then a pixel of the class is drawn, then a crop around
    it. Raises ValueError where there is no label.
    """

    def __init__(
        self,
        rasters: Sequence[Layers],
        crop: int,
        augmentation: Augmentation,
        ignore: int,
        temperature: float,
    ) -> None:
        super().__init__(rasters, crop, augmentation)
        parts = [_counted(r.labels, i, ignore) for i, r in enumerate(rasters)]
        cells, classes, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
        if not counts.size:
            names = "; ".join(raster.name for raster in rasters)
            raise ValueError(f"labels of {names}: 0 pixels found, expected at least 1")
        self.classes = np.unique(classes)
        members = [np.flatnonzero(classes == one) for one in self.classes]
        self._cells = [cells[which] for which in members]
        self._sums = [np.cumsum(counts[which], dtype=np.int64) for which in members]
        totals = np.array([sums[-1] for sums in self._sums], float)
        # exp((1 − f) / T), in numbers that do not overflow
        rarity = np.exp((totals.min() - totals) / totals.sum() / temperature)
        self.chances = rarity / rarity.sum()

    def draw(self, rng: np.random.Generator) -> Iterator[Place]:
        """Yield one place that has a pixel of the class that was drawn."""
        index, *pixel = self._pixel(int(rng.choice(len(self.classes), p=self.chances)), rng)
        zoom = self.zoom(index, rng)
        size = self.size(zoom)
        y, x = (
            int(rng.integers(max(0, at - size + 1), max(0, min(at, length - size)) + 1))
            for at, length in zip(pixel, self.rasters[index].size, strict=True)
        )
        yield dataclasses.replace(self.place(index, y, x, zoom), turn=self.turn(rng))

    def _pixel(self, number: int, rng: np.random.Generator) -> tuple[int, int, int]:
        """Return raster, row and column of a pixel of a class, each as likely as any other."""
        sums = self._sums[number]
        which = np.searchsorted(sums, rng.integers(sums[-1]), side="right")
        index, y, x = map(int, self._cells[number][which])
        labels = read(self.rasters[index].labels, Window(y, x, CELL, CELL))
        rows, columns = np.nonzero(labels == self.classes[number])
        pixel = rng.integers(len(rows))
        return index, y + int(rows[pixel]), x + int(columns[pixel])


def _counted(labels: Any, index: int, ignore: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cells (raster, row, column) [n, 3], a class that each has [n], its pixels there [n].

    int32, uint8 and int32: a cell has a row for every class in it.
    """
    found = [(np.empty((0, 3), np.int32), np.empty(0, np.uint8), np.empty(0, np.int32))]
    for window in blocks(*labels.shape, BLOCK):
        block = read(labels, window)
        rows, columns = (np.arange(length) // CELL for length in block.shape)
        across = columns[-1] + 1
        codes = ((rows[:, None] * across + columns) * 256 + block)[block != ignore]
        counts = np.bincount(codes)
        codes = np.flatnonzero(counts)
        y, x = np.divmod(codes // 256, across)
        corners = [np.full_like(y, index), window.y + y * CELL, window.x + x * CELL]
        cells = np.stack(corners, axis=1).astype(np.int32)
        found.append((cells, (codes % 256).astype(np.uint8), counts[codes].astype(np.int32)))
    cells, classes, pixels = (np.concatenate(part) for part in zip(*found, strict=True))
    return cells, classes, pixels
