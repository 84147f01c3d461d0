"""Arrays as networks see them: stretched to [0, 1], or cut off outside one part of a division.

A view is indexed like the array behind it, by the last two axes: ``view[..., rows, columns]``.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline_steps.rasters.splits import Division
from pipeline_steps.rasters.windows import Window

EIGHT_BIT = (0.0, 255.0)
"""What 8-bit images are stretched between where a study says nothing."""


class Picture:
    """Bands of an image, float32 [shown, H, W] in [0, 1], stretched as they are read.

    ``array`` is [bands, H, W], ``shown`` the places of what is seen among its bands (those of red,
    green and blue, or all), ``limits`` the values of every band that become 0 and 1. What lies
    beyond is cut off; no number becomes 0.
    """

    def __init__(self, array: Any, shown: Sequence[int], limits: Sequence[Sequence[float]]) -> None:
        self.array, self.shown, self.limits = array, list(shown), limits
        low, high = np.array(limits, np.float64)[self.shown].T[:, :, None, None]
        self._low, self._range = low.astype(np.float32), (high - low).astype(np.float32)
        self.shape: tuple[int, int, int] = (len(self.shown), *array.shape[1:])
        self.nbytes: int = int(np.prod(array.shape)) * array.dtype.itemsize

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        pixels = self._pixels(index)
        return self._stretched(pixels, np.empty((len(self.shown), *pixels.shape[1:]), np.float32))

    def read_into(self, index: tuple[Any, ...], target: np.ndarray) -> None:
        """Write what ``index`` gives into ``target``: clearing fresh memory takes longer."""
        self._stretched(self._pixels(index), target)

    def _pixels(self, index: tuple[Any, ...]) -> np.ndarray:
        return np.asarray(self.array[(slice(None), *index[-2:])])

    def _stretched(self, pixels: np.ndarray, target: np.ndarray) -> np.ndarray:
        for band, place in zip(target, self.shown, strict=True):
            band[:] = pixels[place]
        target -= self._low
        target /= self._range
        np.clip(target, 0, 1, out=target)
        return target if pixels.dtype.kind in "ui" else np.nan_to_num(target, copy=False)

    def held(self) -> "Picture":
        """Return the same picture with its pixels, as they are, in memory."""
        return Picture(np.asarray(self.array[:]), self.shown, self.limits)

    def in_strips(self, rows: int) -> "Picture":
        """Return the same picture, to be read from top to bottom in windows of so many rows."""
        return Picture(Strips(self.array, rows), self.shown, self.limits)


class Strips:
    """A chunked array, to be read from top to bottom in windows of at most ``rows`` rows.

    Windows overlap and cross chunks: each chunk would be unpacked for every window that touches
    it. Here whole rows of chunks stay unpacked, as many as such a window can touch.
    """

    def __init__(self, array: Any, rows: int) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self._chunk = array.chunks[-2]
        self._strip = lru_cache(maxsize=max(2, rows // self._chunk) + 2)(self._unpacked)

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        *others, rows, columns = index
        first, last, _ = rows.indices(self.shape[-2])
        strips = range(first // self._chunk, -(-last // self._chunk))
        parts = []
        for number in strips:
            top = number * self._chunk
            inside = slice(max(0, first - top), min(self._chunk, last - top))
            parts.append(self._strip(number)[(*others, inside, columns)])
        return np.concatenate(parts, axis=-2)

    def _unpacked(self, number: int) -> np.ndarray:
        top = number * self._chunk
        return np.asarray(self.array[..., top : top + self._chunk, :])


class Part:
    """An array [H, W] that is ``fill`` outside one part of a division."""

    def __init__(
        self, array: Any, division: Division, part: str, fold: int | None, fill: float
    ) -> None:
        self.array, self.fill = array, fill
        self.division, self.part, self.fold = division, part, fold
        self.shape, self.dtype, self.nbytes = array.shape, array.dtype, array.nbytes

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        values = np.array(self.array[index])
        rows, columns = (
            range(length)[one] for one, length in zip(index[-2:], self.shape, strict=True)
        )
        if not values.size:
            return values
        window = Window(rows[0], columns[0], rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0])
        inside = self.division.mask(window, self.part, self.fold)[:: rows.step, :: columns.step]
        values[~inside] = self.fill
        return values

    def held(self) -> np.ndarray:
        """Return the whole array in memory."""
        return self[:, :]
