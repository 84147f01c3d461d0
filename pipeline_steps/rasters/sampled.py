"""Large rasters at every n-th row and column, to be measured or looked at."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.windows import Window

SAMPLE = 2**18
"""Pixels of a sample that is measured, about."""

AT_ONCE = 2**24
"""Pixels that are read at a time, about: one row at least."""


def step_for(height: int, width: int) -> int:
    """Return which rows and columns, every n-th, are a sample of a raster."""
    return math.ceil(math.sqrt(height * width / SAMPLE))


def sampled(file: Path, step: int) -> np.ndarray:
    """Return every ``step``-th row and column of the first band of a raster file, [H, W].

    Raises ValueError naming the file where it cannot be read.
    """
    with raster.opened(file) as source:
        width, found = source.width, []
        for y, end in _bands(source.height, width, step):
            rows = raster.read(source, Window(y, 0, end - y, width), 1)
            # a view would keep all of them
            found.append(rows[::step, ::step].copy())
    return np.concatenate(found)


def sampled_of(array: Any, step: int) -> np.ndarray:
    """Return the same of an array [H, W] in a store, or of a part of one."""
    bands = _bands(*array.shape, step)
    return np.concatenate([array[y:end:step, ::step] for y, end in bands])


def _bands(height: int, width: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield first rows, and the rows behind the last, of what is read: of a step, its first row."""
    many = max(1, AT_ONCE // (width * step))
    for y in range(0, height, many * step):
        yield y, min(height, y + (many - 1) * step + 1)
