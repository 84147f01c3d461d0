"""A map with what lies over and under it, read window by window."""

from typing import Any, NamedTuple

import numpy as np

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.near import near_boundary
from pipeline_steps.rasters.store import read
from pipeline_steps.rasters.windows import Window, grown


class Layers(NamedTuple):
    """What is read: stores of labels and of kinds of ground, open files of map and confidence.

    All are of one size [H, W]; ``confidence`` may be None.
    """

    labels: Any
    kinds: Any
    classes: Any
    confidence: Any | None


class Stack(NamedTuple):
    """A window of all layers, uint8 [h, w]; the map with its surroundings.

    ``inner`` is where in ``around`` the window lies.
    """

    window: Window
    labels: np.ndarray
    kinds: np.ndarray
    confidence: np.ndarray | None
    around: np.ndarray
    inner: Window

    def piece(self, part: Window, reach: int) -> tuple[np.ndarray | None, ...]:
        """Return labels, map, kinds, rims of the map, and confidence of a ``part`` of the window.

        Rims are where another class is within ``reach`` pixels, None where that is 0; a part is
        small, so that they are told in a cache.
        """
        y, x = self.inner.y + part.y, self.inner.x + part.x
        here = Window(y, x, part.height, part.width)
        seen, inner = grown(here, reach, *self.around.shape)
        near = near_boundary(self.around[seen.slices], reach)[inner] if reach else None
        sure = None if self.confidence is None else self.confidence[part.slices]
        place = part.slices
        return self.labels[place], self.around[here.slices], self.kinds[place], near, sure


def stacked(layers: Layers, window: Window, reach: int) -> Stack:
    """Read a window of all layers; the map with ``reach`` pixels around it."""
    around, (rows, columns) = grown(window, reach, *layers.labels.shape)
    sure = None if layers.confidence is None else raster.read(layers.confidence, window, 1)
    return Stack(
        window,
        read(layers.labels, window),
        read(layers.kinds, window),
        sure,
        raster.read(layers.classes, around, 1),
        Window(rows.start, columns.start, window.height, window.width),
    )
