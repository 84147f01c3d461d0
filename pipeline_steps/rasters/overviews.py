"""Overviews of plain rows, each half as large as the last.

GDAL makes the same ones in three times as long: of a class map that took most of its writing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

Resampling = Literal["mode", "average"]
"""The most frequent of four pixels of 8 bits, the first of equals; or their mean, rounded. Nodata
has no vote."""

AT_ONCE = 2**20
"""Pixels that are halved at a time, so that a cache holds them."""


class Level(NamedTuple):
    """Rows [H, W] in a file, without anything between them."""

    file: Path
    height: int
    width: int


def write_overviews(
    full: Level, dtype: str, nodata: float, resampling: Resampling, least: int
) -> list[Level]:
    """Write overviews beside the file of ``full`` until one fits into ``least`` pixels.

    Returns them, the largest first.
    """
    levels, last = [], full
    while max(last.height, last.width) > least:
        number = len(levels) + 1
        file = full.file.with_suffix(f".{number}{full.file.suffix}")
        level = Level(file, -(-last.height // 2), -(-last.width // 2))
        with file.open("wb") as target:
            for rows in _rows(last, dtype):
                target.write(np.ascontiguousarray(halved(rows, nodata, resampling)))
        levels.append(level)
        last = level
    return levels


def halved(rows: np.ndarray, nodata: float, resampling: Resampling) -> np.ndarray:
    """Return [⌈n / 2⌉, ⌈W / 2⌉] of rows [n, W]: a pixel of two by two, fewer at an odd edge."""
    odd = [(0, length % 2) for length in rows.shape]
    if any(right for _, right in odd):
        rows = np.pad(rows, odd, mode="edge")
    corners = [np.ascontiguousarray(rows[y::2, x::2]) for y in (0, 1) for x in (0, 1)]
    known = [~np.isnan(one) if np.isnan(nodata) else one != nodata for one in corners]
    return (_mode if resampling == "mode" else _mean)(corners, known, nodata)


def _rows(level: Level, dtype: str) -> Iterator[np.ndarray]:
    """Yield the rows of a level from the top, an even number of them at a time."""
    count = max(2, AT_ONCE // level.width // 2 * 2)
    size = np.dtype(dtype).itemsize * level.width
    with level.file.open("rb") as file:
        while data := file.read(count * size):
            yield np.frombuffer(data, dtype).reshape(-1, level.width)


def _mode(corners: list[np.ndarray], known: list[np.ndarray], nodata: float) -> np.ndarray:
    votes = [is_known.astype(np.uint8) for is_known in known]
    for a in range(4):
        for b in range(a + 1, 4):
            alike = corners[a] == corners[b]
            alike &= known[a]
            votes[a] += alike
            votes[b] += alike
    chosen, most = corners[0].copy(), votes[0]
    for value, count in zip(corners[1:], votes[1:], strict=True):
        # without a branch a pixel: integers wrap around
        chosen += (value - chosen) * (count > most)
        np.maximum(most, count, out=most)
    return chosen


def _mean(corners: list[np.ndarray], known: list[np.ndarray], nodata: float) -> np.ndarray:
    dtype = corners[0].dtype
    is_whole = dtype.kind in "ui"
    if is_whole and dtype.itemsize == 1 and all(map(np.all, known)):
        return ((np.add.reduce(corners, dtype=np.uint16) + np.uint16(2)) >> 2).astype(dtype)
    count = np.add.reduce(known, dtype=np.float32)
    pairs = zip(corners, known, strict=True)
    total = np.add.reduce([np.where(k, v, 0).astype(np.float32) for v, k in pairs])
    mean = total / np.maximum(count, 1)
    mean = np.floor(mean + 0.5) if is_whole else mean
    return np.where(count > 0, mean, nodata).astype(dtype)
