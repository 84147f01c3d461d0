"""Windows over rasters, and the blend of what a network says in them.

The bands below keep ``channels × window × width`` numbers whatever the raster's height.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Literal, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")

CROPS_OVERLAP = 0.25
"""Share by which crops overlap that a training takes from a grid."""


class Window(NamedTuple):
    """A rectangle of pixels: rows ``y`` to ``y + height``, columns ``x`` to ``x + width``."""

    y: int
    x: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the window as an index into the last two axes of an array."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


Network = Callable[[list[Window]], np.ndarray]
"""Takes n windows of one size, gives float32 [n, channels, size, size]."""

Weighting = Literal["hann", "none"]
"""How windows share a pixel: smoothly, or not at all, each pixel from the window nearest to it."""


def starts(length: int, size: int, overlap: float) -> list[int]:
    """Return where windows of ``size`` begin so that they cover ``length``.

    The stride is at most (1 − overlap) · size; the last window is clamped to the edge, never
    padded beyond it. A length below the size has one window, at 0.
    """
    if length <= size:
        return [0]
    stride = max(1, int(size * (1 - overlap)))
    return [*range(0, length - size, stride), length - size]


def grid(height: int, width: int, size: int, overlap: float) -> list[list[Window]]:
    """Return the rows of windows that cover a raster."""
    return [
        [Window(y, x, size, size) for x in starts(width, size, overlap)]
        for y in starts(height, size, overlap)
    ]


def blocks(height: int, width: int, size: int) -> Iterator[Window]:
    """Yield the tiles of a raster, cut off at its edges."""
    for y in range(0, height, size):
        for x in range(0, width, size):
            yield Window(y, x, min(size, height - y), min(size, width - x))


def hann(size: int) -> np.ndarray:
    """Return a Hann window, float32 [size, size], positive at its very edge too."""
    line = np.hanning(size + 2)[1:-1].astype(np.float32)
    return np.outer(line, line)


def cuts(begins: Sequence[int], size: int) -> list[int]:
    """Return where the nearest of the windows that begin at ``begins`` changes: mid-overlap."""
    return [(a + size + b) // 2 for a, b in pairwise(begins)]


def lines(begins: Sequence[int], size: int, weighting: Weighting) -> list[int]:
    """Return where a seam could be seen: at the edges of windows, or where they are cut."""
    if weighting == "none":
        return cuts(begins, size)
    return sorted({edge for begin in begins for edge in (begin, begin + size)})


def padded(array: np.ndarray, size: int) -> np.ndarray:
    """Reflect the last two axes of ``array`` on their far side until both are ``size`` at least."""
    missing = [max(0, size - length) for length in array.shape[-2:]]
    if not any(missing):
        return array
    pads = [(0, 0)] * (array.ndim - 2) + [(0, missing[0]), (0, missing[1])]
    return np.pad(array, pads, mode="reflect")


def ahead(items: Iterable[T], count: int = 2) -> Iterator[T]:
    """Yield ``items``, the next ``count`` of which a thread makes ready in the meantime."""
    end, iterator = object(), iter(items)
    with ThreadPoolExecutor(max_workers=1) as worker:
        waiting = deque(worker.submit(next, iterator, end) for _ in range(count))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(worker.submit(next, iterator, end))
            yield item


def blend(
    height: int,
    width: int,
    channels: int,
    size: int,
    overlap: float,
    batch: int,
    network: Network,
    worth: Callable[[Window], bool] = lambda _: True,
    weighting: Weighting = "hann",
) -> Iterator[tuple[int, np.ndarray]]:
    """Slide a window over a raster and yield finished rows, top to bottom.

    Yields (first row, float32 [channels, rows, width]): the mean of all windows at a pixel,
    weighted by a Hann window, or for ``weighting`` none what the nearest window says. Windows for
    which ``worth`` is false are not computed; pixels in no computed window are 0. A raster smaller
    than the window is the network's to pad (``padded``); what it says outside is cropped here.
    """
    rows = grid(height, width, size, overlap)
    weigh = _weights(height, width, size, overlap, weighting)
    total = np.zeros((channels, size, max(width, size)), np.float32)
    weight = np.zeros(total.shape[1:], np.float32)
    for number, row in enumerate(rows):
        wanted = [window for window in row if worth(window)]
        for first in range(0, len(wanted), batch):
            windows = wanted[first : first + batch]
            for window, values in zip(windows, network(windows), strict=True):
                columns, weights = slice(window.x, window.x + size), weigh(window)
                total[:, :, columns] += values * weights
                weight[:, columns] += weights
        top = row[0].y
        done = (rows[number + 1][0].y if number + 1 < len(rows) else height) - top
        seen = np.maximum(weight[:done, :width], np.finfo(np.float32).tiny)
        yield top, total[:, :done, :width] / seen
        for band in (total, weight):
            band[..., : size - done, :] = band[..., done:, :].copy()
            band[..., size - done :, :] = 0


def _weights(
    height: int, width: int, size: int, overlap: float, weighting: Weighting
) -> Callable[[Window], np.ndarray]:
    if weighting == "hann":
        smooth = hann(size)
        return lambda _: smooth
    rows, columns = (_cores(starts(length, size, overlap), size) for length in (height, width))
    return lambda window: np.outer(rows[window.y], columns[window.x])


def _cores(begins: list[int], size: int) -> dict[int, np.ndarray]:
    """Return for each window 1 where it is the nearest and 0 elsewhere, float32 [size]."""
    places, between = np.arange(size), [0, *cuts(begins, size), begins[-1] + size]
    return {
        begin: ((places + begin >= low) & (places + begin < high)).astype(np.float32)
        for begin, (low, high) in zip(begins, pairwise(between), strict=True)
    }
