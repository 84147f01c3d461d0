"""What a network said in each window, on disk, so that a killed run goes on where it was.

One file a raster, one record a window, in the order of the windows. Plain reads and writes: pages
of a memory map would count as the process's own memory.
"""

import os
import zlib
from pathlib import Path

import numpy as np

LEVELS = 65535
"""Steps between the lowest and the highest value of a window: an error of 1 in 131 070 of it."""

WIDEST = float(np.finfo(np.float32).max)
NARROWEST = LEVELS * float(np.finfo(np.float32).tiny)
"""A window's range in float32; what is narrower is flat."""


class Ledger:
    """Windows float32 [size, size] by number; each is written once, in order.

    Opening an existing file keeps its records up to the first that is not whole.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.size, self._path = size, path
        self._record = np.dtype(
            [("number", "<u4"), ("check", "<u4"), ("range", "<f4", 2), ("steps", "<u2", (size**2,))]
        )
        self._file = path.open("a+b")
        self._count = self._whole()
        self.keep(self._count)

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, count: int) -> None:
        """Forget all but the first ``count`` windows."""
        self._file.truncate(count * self._record.itemsize)
        self._count = count

    def append(self, values: np.ndarray) -> None:
        """Write the next windows, [n, size, size]; raises ValueError where one is not finite."""
        for window in values:
            low, high = float(window.min()), float(window.max())
            # NaN is not below either
            if not high - low <= WIDEST:
                raise ValueError(
                    f"{self._path}: depth in window {self._count} is {low} to {high}, expected"
                    " numbers"
                )
            record = np.zeros((), self._record)
            record["number"], record["range"] = self._count, (low, high)
            scale = LEVELS / (high - low) if high - low > NARROWEST else 0.0
            record["steps"] = np.rint((window.ravel() - np.float32(low)) * np.float32(scale))
            record["check"] = _check(record)
            self._file.write(record.tobytes())
            self._count += 1
        self._file.flush()

    def __getitem__(self, number: int) -> np.ndarray:
        return self.fitted(number, 1.0, 0.0)

    def fitted(self, number: int, scale: float, shift: float) -> np.ndarray:
        """Return a window, times ``scale`` and plus ``shift``."""
        record = self._read(number)
        low, high = map(float, record["range"])
        step, begin = (high - low) / LEVELS * scale, low * scale + shift
        steps = record["steps"].reshape(self.size, self.size)
        return steps * np.float32(step) + np.float32(begin)

    def _read(self, number: int) -> np.ndarray:
        size = self._record.itemsize
        data = os.pread(self._file.fileno(), size, number * size)
        return np.frombuffer(data, self._record, 1)[0]

    def _whole(self) -> int:
        length = self._file.seek(0, 2) // self._record.itemsize
        for number in range(length):
            record = self._read(number)
            if record["number"] != number or record["check"] != _check(record):
                return number
        return length


def _check(record: np.ndarray) -> int:
    return zlib.crc32(record["steps"].tobytes(), zlib.crc32(record["range"].tobytes()))
