"""One field out of what a network says in overlapping windows, each in a scale of its own.

Windows go to a ledger as the network says them; then their scales and shifts are fitted, and the
blend is made of what the ledger holds, row by row, as often as it is asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np

from pipeline_steps.rasters.align import Overlaps, align, moved, overlaps, statistics
from pipeline_steps.rasters.blending import Weighting, blend, lines
from pipeline_steps.rasters.ledger import Ledger
from pipeline_steps.rasters.store import read
from pipeline_steps.rasters.windows import Window, ahead, blocks, grid, heard, padded, starts

Running = Callable[[np.ndarray], Callable[[], np.ndarray]]
"""Starts on float32 images [n, 3, s, s] in [0, 1], returns what waits for float32 [n, s, s]."""

Shown = Callable[[Iterable[np.ndarray], int], Iterable[np.ndarray]]
"""Passes on work of so many steps, and shows how far it is."""


class Field:
    """The windows over one raster [H, W], and the one field that they make.

    ``picture`` is [3, H, W] in [0, 1], ``valid`` [H, W] 1 where it has data, or None where all of
    it has; ``size`` a window's height and width in its pixels. A ``ledger`` that holds windows
    of an earlier run, by the same network, is gone on with.
    """

    def __init__(
        self,
        picture: Any,
        valid: Any | None,
        size: int,
        overlap: float,
        ledger: Ledger,
        is_anchored: bool = True,
    ) -> None:
        self.picture, self.valid, self.ledger = picture, valid, ledger
        self.size, self.overlap = size, overlap
        self.height, self.width = picture.shape[1:]
        rows = grid(self.height, self.width, size, overlap)
        self.windows = [w for row in rows for w in row if self._has_data(w)]
        self._number = {window: number for number, window in enumerate(self.windows)}
        self.cell = -(-max(self.height, self.width) // size)
        self.is_anchored = is_anchored and len(self.windows) > 1
        self.fit = np.tile([1.0, 0.0], (len(self.windows), 1))

    @property
    def is_complete(self) -> bool:
        """Return whether the ledger holds all windows, and the coarse one if there is one."""
        return len(self.ledger) == len(self.windows) + self.is_anchored

    def listen(
        self,
        running: Running,
        batch: int,
        shown: Shown,
        intact: Callable[[], None] = lambda: None,
    ) -> None:
        """Let the network say what it sees in all windows, ``batch`` at a time, into the ledger.

        A thread reads ahead and another writes behind, so that the network does not wait.
        ``intact`` is asked before anything is written; what it raises ends the run.
        """
        count = len(self.windows)
        done = count if len(self.ledger) >= count else len(self.ledger) // batch * batch
        self.ledger.keep(done)
        steps = -(-(count - done) // batch) + self.is_anchored
        with (
            ThreadPoolExecutor(max_workers=1) as writer,
            closing(ahead(self._pixels(done, batch))) as pixels,
        ):
            pending: Future[None] | None = None
            for said in heard(shown(pixels, steps), running):
                intact()
                # after a batch that failed the next would be written in its place
                if pending:
                    pending.result()
                pending = writer.submit(self.ledger.append, said)
            if pending:
                pending.result()

    def align(self) -> tuple[float, float]:
        """Fit scale and shift of every window; return the disagreement before and after."""
        found = overlaps(self.windows, self.ledger, self._is_valid)
        before = found.disagreement(self.fit)
        self.fit = align(len(self.windows), found, self._anchors() if self.is_anchored else None)
        return before, found.disagreement(self.fit)

    def disagreement(self) -> float:
        """Return by how much overlapping windows differ as they are."""
        return overlaps(self.windows, self.ledger, self._is_valid).disagreement(self.fit)

    def lines(self, weighting: Weighting) -> tuple[list[int], list[int]]:
        """Return the rows and columns where ``rows`` could show a seam."""
        rows, columns = (
            lines(starts(length, self.size, self.overlap), self.size, weighting)
            for length in (self.height, self.width)
        )
        return rows, columns

    def rows(self, weighting: Weighting) -> Iterator[np.ndarray]:
        """Yield float32 [rows, W] from top to bottom; 0 where no window has data."""

        def fitted(window: Window) -> np.ndarray:
            number = self._number[window]
            return self.ledger.fitted(number, *self.fit[number])[None]

        shape, known = (self.height, self.width), self._number.__contains__
        for _, rows in blend(*shape, 1, self.size, self.overlap, fitted, known, weighting):
            yield rows[0].copy()

    def _pixels(self, first: int, batch: int) -> Iterator[np.ndarray]:
        """Yield what the network is to see from window ``first`` on, and last the whole scene."""
        for start in range(first, len(self.windows), batch):
            some = self.windows[start : start + batch]
            yield np.stack([padded(read(self.picture, w), self.size) for w in some])
        if self.is_anchored:
            yield padded(self._whole_scene(), self.size)[None]

    def _whole_scene(self) -> np.ndarray:
        """Return means over square cells of the picture, float32 [3, rows, columns]."""
        cell, strips = self.cell, []
        for strip in blocks(self.height, self.width, max(1, self.size // cell) * cell):
            if strip.x == 0:
                strips.append([])
            pixels = read(self.picture, strip)
            firsts = (np.arange(0, length, cell) for length in pixels.shape[1:])
            rows, columns = firsts
            total = np.add.reduceat(np.add.reduceat(pixels, rows, axis=1), columns, axis=2)
            lengths = (
                np.diff([*starts, length])
                for starts, length in zip((rows, columns), pixels.shape[1:], strict=True)
            )
            strips[-1].append(total / np.multiply.outer(*lengths).astype(np.float32))
        return np.concatenate([np.concatenate(strip, axis=2) for strip in strips], axis=1)

    def _anchors(self) -> Overlaps:
        """Compare every window with the view of the whole scene, over cells that it covers."""
        whole, cell, facts = self.ledger[len(self.windows)], self.cell, []
        for number, window in enumerate(self.windows):
            top, left = -(-window.y // cell), -(-window.x // cell)
            bottom = min(window.y + window.height, self.height) // cell
            right = min(window.x + window.width, self.width) // cell
            cells = Window(top, left, max(0, bottom - top), max(0, right - left))
            ground = Window(*(cell * value for value in cells))
            shape = (cells.height, cell, cells.width, cell)
            seen = self.ledger[number][moved(ground, window).slices].reshape(shape).mean(1).mean(-1)
            valid = self._is_valid(ground)
            weights = np.ones(seen.shape) if valid is None else valid.reshape(shape).all((1, 3))
            facts.append(statistics(seen, whole[cells.slices], weights))
        return Overlaps.of([(n, len(self.windows)) for n in range(len(self.windows))], facts)

    def _has_data(self, window: Window) -> bool:
        return self.valid is None or bool(read(self.valid, window).any())

    def _is_valid(self, window: Window) -> np.ndarray | None:
        if self.valid is None:
            return None
        mask = np.zeros((window.height, window.width), bool)
        inside = read(self.valid, window) > 0
        mask[: inside.shape[0], : inside.shape[1]] = inside
        return mask
