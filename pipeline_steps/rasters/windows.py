"""Windows over rasters."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

T, R = TypeVar("T"), TypeVar("R")

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


def grown(
    window: Window, reach: int, height: int, width: int
) -> tuple[Window, tuple[slice, slice]]:
    """Return a window with ``reach`` pixels around it, cut off at the raster's edge, and where in
    it the window itself lies."""
    y, x = max(0, window.y - reach), max(0, window.x - reach)
    bottom = min(height, window.y + window.height + reach)
    right = min(width, window.x + window.width + reach)
    inner = Window(window.y - y, window.x - x, window.height, window.width)
    return Window(y, x, bottom - y, right - x), inner.slices


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


def heard(
    inputs: Iterable[T], start: Callable[[T], Callable[[], R]], waiting: int = 1
) -> Iterator[R]:
    """Yield what a network says of each of ``inputs``, in order.

    ``start`` returns what waits for the answer. As many are started as may be ``waiting`` before
    one is waited for, so that a GPU is at work while its last answer is looked at.
    """
    started: deque[Callable[[], R]] = deque()
    for one in inputs:
        started.append(start(one))
        if len(started) > waiting:
            yield started.popleft()()
    while started:
        yield started.popleft()()
