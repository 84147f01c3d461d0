"""A predicted map, read in bands: the class of each pixel, and how sure the network was."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.ground_area import Ground
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.windows import Window

NOTHING = 255
"""The class of pixels that have none."""

ROWS = 256
"""Rows of a band: half a block of the maps, which GDAL decodes once for both its halves."""


class Band(NamedTuple):
    """Rows of a map from ``top`` on: class and confidence in per cent, uint8 [rows, W]."""

    top: int
    classes: np.ndarray
    confidence: np.ndarray


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """An open pair of rasters of one size."""

    grid: Grid
    _sources: tuple[Any, Any]
    _count: int

    def bands(self, rows: int = ROWS) -> Iterator[Band]:
        """Yield the map from top to bottom.

        Raises ValueError naming the file where a pixel has a class that there is not, or no
        confidence in per cent.
        """
        for top in range(0, self.grid.height, rows):
            height = min(rows, self.grid.height - top)
            window = Window(top, 0, height, self.grid.width)
            classes, confidence = (raster.read(source, window, 1) for source in self._sources)
            has_class = classes != NOTHING
            highest = int(classes.max(where=has_class, initial=0))
            if highest >= self._count:
                raise ValueError(
                    f"{self._sources[0].name}: has class {highest}, expected 0 to"
                    f" {self._count - 1}, or {NOTHING} where there is none"
                )
            surest = int(confidence.max(where=has_class, initial=0))
            if surest > 100:
                raise ValueError(
                    f"{self._sources[1].name}: has {surest} where the map has a class, expected"
                    " per cent"
                )
            yield Band(top, classes, confidence)


@contextlib.contextmanager
def opened(classes: Path, confidence: Path, count: int) -> Iterator[ClassMap]:
    """Open a map of so many classes; raises ValueError naming what is not one band of 8 bits."""
    with raster.opened(classes) as one, raster.opened(confidence) as other:
        for path, source in ((classes, one), (confidence, other)):
            if (found := set(source.dtypes)) != {"uint8"}:
                raise ValueError(f"{path}: is {', '.join(sorted(found))}, expected uint8")
        if one.shape != other.shape:
            found, expected = (f"{s.width}x{s.height}" for s in (other, one))
            raise ValueError(f"{confidence}: is {found} pixels, expected {expected} like {classes}")
        yield ClassMap(Grid.of(one), (one, other), count)


def totals(bands: Iterable[Band], ground: Ground, count: int) -> np.ndarray:
    """Return pixels, units of ``ground`` and per cent of all pixels of each class, int64 [n, 3]."""
    sums = np.zeros((256, 3), np.int64)
    for band in bands:
        numbers = band.classes.ravel()
        sums[:, 0] += np.bincount(numbers, minlength=256)
        sums[:, 1] += ground.sums(band.classes, band.top, 256)
        # sums of whole numbers, which doubles hold exactly
        sums[:, 2] += np.bincount(numbers, band.confidence.ravel(), 256).astype(np.int64)
    return sums[:count]
