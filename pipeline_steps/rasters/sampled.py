"""Large rasters at every n-th row and column, to be measured or looked at."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.windows import Window

SAMPLE = 2**18
"""Pixels of a sample that is measured, about."""

BAND = 64
"""Sampled rows that are read at a time."""


def step_for(height: int, width: int) -> int:
    """Return which rows and columns, every n-th, are a sample of a raster."""
    return math.ceil(math.sqrt(height * width / SAMPLE))


def sampled(file: Path, step: int) -> np.ndarray:
    """Return every ``step``-th row and column of the first band of a raster file, [H, W].

    Raises ValueError naming the file where it cannot be read.
    """
    with raster.opened(file) as source:
        height, width, band = source.height, source.width, BAND * step
        rows = [
            raster.read(source, Window(y, 0, min(band, height - y), width), 1)[::step, ::step]
            for y in range(0, height, band)
        ]
    return np.concatenate(rows)


def sampled_of(array: Any, step: int) -> np.ndarray:
    """Return the same of an array [H, W] in a store, or of a part of one."""
    height, _ = array.shape
    bands = range(0, height, BAND * step)
    return np.concatenate([array[y : y + BAND * step, :][::step, ::step] for y in bands])
