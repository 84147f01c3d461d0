"""The blend of what a network says in overlapping windows.

The bands below keep ``channels × window × width`` numbers whatever the raster's height.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from pipeline_steps.rasters.windows import Window, grid, starts

Weighting = Literal["hann", "gaussian", "mean", "nearest"]
"""How windows share a pixel: those in whose middle it lies count most, all count the same, or it is
the nearest window's alone."""

SIGMA = 1 / 8
"""Standard deviation of the Gaussian weights, as a share of the window."""


def blend(
    height: int,
    width: int,
    channels: int,
    size: int,
    overlap: float,
    said: Callable[[Window], np.ndarray],
    worth: Callable[[Window], bool] = lambda _: True,
    weighting: Weighting = "hann",
    halo: int = 0,
    first: int = 0,
) -> Iterator[tuple[int, np.ndarray]]:
    """Slide a window over a raster and yield finished rows, top to bottom.

    Yields (first row, float32 [channels, rows, width]): the weighted mean of what is ``said`` of
    all windows at a pixel, float32 [channels, size, size]. What was yielded is good until the next
    is asked for. Windows for which ``worth`` is false are not asked for; pixels in no other are 0.
    A raster smaller than the window is for ``said`` to pad (``padded``); what lies outside is
    cropped here.

    ``halo`` pixels along a window's edges are not looked at, but at the raster's own edge. With
    ``first``, only bands of windows from that number on are yielded, the same numbers as without.
    """
    rows = grid(height, width, size, overlap)
    weights = _Weights(height, width, size, overlap, weighting, halo)
    total = np.zeros((channels, size, max(width, size)), np.float32)
    lost = np.zeros(total.shape[1:], np.float32)
    scratch = np.empty((size, size), np.float32)
    for number in range(reaching(rows, size, first), len(rows)):
        for window in rows[number]:
            columns, share = slice(window.x, window.x + size), weights[window]
            if worth(window):
                _add(total[..., columns], said(window), share, scratch)
            else:
                lost[:, columns] += share
        top = rows[number][0].y
        done = (rows[number + 1][0].y if number + 1 < len(rows) else height) - top
        if number >= first:
            if lost[:done].any():
                left = np.maximum(1 - lost[:done, :width], np.finfo(np.float32).tiny)
                total[:, :done, :width] /= left
            yield top, total[:, :done, :width]
        for band in (*total, lost):
            band[: size - done] = band[done:]
            band[size - done :] = 0


def _add(total: np.ndarray, values: np.ndarray, share: np.ndarray, scratch: np.ndarray) -> None:
    """Add what a window says, weighted; channel by channel, so that a cache holds what is done."""
    for sums, channel in zip(total, values, strict=True):
        np.multiply(channel, share, out=scratch)
        sums += scratch


def reaching(rows: Sequence[Sequence[Window]], size: int, band: int) -> int:
    """Return the first of the ``rows`` of windows that reach into a band."""
    top = rows[band][0].y
    return next(number for number, row in enumerate(rows) if row[0].y + size > top)


def hann(size: int) -> np.ndarray:
    """Return a Hann window, float32 [size, size], positive at its very edge too."""
    line = _hann(size)
    return np.outer(line, line)


def cuts(begins: Sequence[int], size: int) -> list[int]:
    """Return where the nearest of the windows that begin at ``begins`` changes: mid-overlap."""
    return [(a + size + b) // 2 for a, b in pairwise(begins)]


def lines(begins: Sequence[int], size: int, weighting: Weighting, halo: int = 0) -> list[int]:
    """Return where a seam could be seen: where windows begin and end to count, or are cut."""
    if weighting == "nearest":
        return cuts(begins, size)
    inner = {edge for begin in begins for edge in (begin + halo, begin + size - halo)}
    return sorted(inner - {begins[0] + halo, begins[-1] + size - halo} | {0, begins[-1] + size})


class _Weights:
    """What every window counts at its pixels, float32 [size, size]; of all windows together 1."""

    def __init__(
        self, height: int, width: int, size: int, overlap: float, weighting: Weighting, halo: int
    ) -> None:
        self._rows, self._columns = (
            _shares(_along(starts(length, size, overlap), size, weighting, halo), size)
            for length in (height, width)
        )
        self._last: tuple[np.ndarray, np.ndarray] | None = None
        self._found = np.empty(0)

    def __getitem__(self, window: Window) -> np.ndarray:
        lines = self._rows[window.y], self._columns[window.x]
        # but at a raster's edges all are the same
        if self._last is None or any(a is not b for a, b in zip(lines, self._last, strict=True)):
            self._last, self._found = lines, np.outer(*lines)
        return self._found


def _shares(lines: dict[int, np.ndarray], size: int) -> dict[int, np.ndarray]:
    """Return lines that add up to 1 at every pixel; equal ones are one array."""
    total = np.zeros(max(lines) + size, np.float32)
    for begin, line in lines.items():
        total[begin : begin + size] += line
    found: dict[bytes, np.ndarray] = {}
    shares = {begin: line / total[begin : begin + size] for begin, line in lines.items()}
    return {begin: found.setdefault(one.tobytes(), one) for begin, one in shares.items()}


def _along(begins: list[int], size: int, weighting: Weighting, halo: int) -> dict[int, np.ndarray]:
    """Return what windows count along one axis, by where they begin, float32 [size]."""
    if weighting == "nearest":
        return _cores(begins, size)
    line = {"hann": _hann, "gaussian": _gaussian, "mean": _ones}[weighting](size)
    if not halo:
        return dict.fromkeys(begins, line)
    inner = line.copy()
    inner[:halo] = inner[size - halo :] = 0
    found = dict.fromkeys(begins, inner)
    found[begins[0]] = np.concatenate([line[: size - halo], inner[size - halo :]])
    last = found[begins[-1]].copy()
    last[size - halo :] = line[size - halo :]
    return found | {begins[-1]: last}


def _hann(size: int) -> np.ndarray:
    return np.hanning(size + 2)[1:-1].astype(np.float32)


def _gaussian(size: int) -> np.ndarray:
    places = (np.arange(size) - (size - 1) / 2) / (SIGMA * size)
    return np.exp(-(places**2) / 2).astype(np.float32)


def _ones(size: int) -> np.ndarray:
    return np.ones(size, np.float32)


def _cores(begins: list[int], size: int) -> dict[int, np.ndarray]:
    """Return for each window 1 where it is the nearest and 0 elsewhere, float32 [size]."""
    places, between = np.arange(size), [0, *cuts(begins, size), begins[-1] + size]
    return {
        begin: ((places + begin >= low) & (places + begin < high)).astype(np.float32)
        for begin, (low, high) in zip(begins, pairwise(between), strict=True)
    }
