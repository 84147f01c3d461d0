"""The windows of a scene's rasters, in the order in which a network sees them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline_steps.rasters.blending import reaching
from pipeline_steps.rasters.store import read
from pipeline_steps.rasters.views import Picture
from pipeline_steps.rasters.windows import Window, grid, padded


class Sight(NamedTuple):
    """What is seen of one raster: a picture [bands, H, W] in [0, 1], and where it has data.

    ``valid`` [H, W] is None where all of it has. ``fed`` is for each network the depth [H, W] that
    it is fed, or None; NaN where it is not known. ``name`` is what errors call the raster.
    """

    picture: Any
    valid: Any | None
    fed: Sequence[Any | None] = (None,)
    name: str = "raster"


class Walk:
    """All windows that have data, raster by raster and from the top; small rasters share batches.

    Batches are the same wherever one begins: a network says a little otherwise in others.
    """

    def __init__(self, sights: Sequence[Sight], size: int, overlap: float, batch: int) -> None:
        self.sights, self.size, self.batch = sights, size, batch
        self.rows = [grid(*sight.picture.shape[1:], size, overlap) for sight in sights]
        self._wanted = [
            [[w for w in row if _has_data(sight, w)] for row in rows]
            for sight, rows in zip(sights, self.rows, strict=True)
        ]

    def has_data(self, index: int) -> Callable[[Window], bool]:
        """Return what says whether a window of raster ``index`` has data."""
        return {window for row in self._wanted[index] for window in row}.__contains__

    def band_at(self, index: int, row: int) -> int:
        """Return which band of windows pixel row ``row`` is finished with."""
        tops = [windows[0].y for windows in self.rows[index]]
        return int(np.searchsorted(tops, row, side="right")) - 1

    def place(self, index: int, band: int) -> int:
        """Return how many windows come before the first that reaches into a band of a raster."""
        before = sum(len(row) for rows in self._wanted[:index] for row in rows)
        begin = reaching(self.rows[index], self.size, band)
        return before + sum(map(len, self._wanted[index][:begin]))

    def batches(self, first: int) -> int:
        """Return how many batches there are from the one of window number ``first`` on."""
        count = sum(len(row) for rows in self._wanted for row in rows)
        return -(-count // self.batch) - first // self.batch

    def inputs(self, first: int) -> Iterator[list[np.ndarray]]:
        """Yield what each network sees, float32 [n, bands (+ 1), size, size], batch by batch.

        Begins with the batch in which window number ``first`` is.
        """
        windows = [
            (index, window)
            for index, rows in enumerate(self._wanted)
            for row in rows
            for window in row
        ]
        for start in range(first // self.batch * self.batch, len(windows), self.batch):
            some = windows[start : start + self.batch]
            image = self._images(some)
            yield [image if fed is None else self._with(image, fed, some) for fed in self._feds()]

    def _images(self, some: Sequence[tuple[int, Window]]) -> np.ndarray:
        bands = self.sights[0].picture.shape[0]
        images = np.empty((len(some), bands, self.size, self.size), np.float32)
        for image, (index, window) in zip(images, some, strict=True):
            picture = self.sights[index].picture
            is_whole = min(picture.shape[-2:]) >= self.size
            if is_whole and isinstance(picture, Picture):
                picture.read_into(window.slices, image)
            else:
                image[:] = self._seen(picture, window)
        return images

    def _feds(self) -> Iterator[int | None]:
        """Yield for each network which of a sight's ``fed`` it gets, if any."""
        for number, fed in enumerate(self.sights[0].fed):
            yield None if fed is None else number

    def _with(
        self, image: np.ndarray, number: int, some: Sequence[tuple[int, Window]]
    ) -> np.ndarray:
        depth = np.stack([self._seen(self.sights[i].fed[number], w) for i, w in some])
        return np.concatenate([image, depth[:, None].astype(np.float32)], axis=1)

    def _seen(self, array: Any, window: Window) -> np.ndarray:
        return padded(read(array, window), self.size)


def _has_data(sight: Sight, window: Window) -> bool:
    return sight.valid is None or bool(read(sight.valid, window).any())
