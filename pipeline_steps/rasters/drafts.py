"""Rows of maps on disk as they are finished, so that a killed run goes on where it was.

A file for each layer, plain rows from the top, and a ledger that says how many rows stand and what
they sum to. Rows that the ledger does not vouch for, in all layers, are forgotten.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """Planes of one map: their type, how many there are, and what stands where there is none."""

    dtype: str
    nodata: float
    planes: int = 1


class Drafts:
    """Layers [planes, H, W] of one raster, each a file ``<name>.raw`` of rows [planes, W]."""

    def __init__(self, folder: Path, height: int, width: int, layers: Mapping[str, Layer]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.height, self.width, self.layers = height, width, dict(layers)
        self.files = {name: folder / f"{name}.raw" for name in layers}
        self._ledger = folder / "rows.jsonl"
        self._open = {name: file.open("a+b") for name, file in self.files.items()}
        self._said = self._ledger.open("a+b")
        self.rows = self._whole()

    def __enter__(self) -> "Drafts":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (*self._open.values(), self._said):
            file.close()

    @property
    def is_complete(self) -> bool:
        """Return whether all rows stand."""
        return self.rows == self.height

    def append(self, rows: Mapping[str, np.ndarray]) -> None:
        """Write the next rows of every layer, [planes, n, W] or for one plane [n, W]."""
        (count,) = {values.shape[-2] for values in rows.values()}
        sums = {}
        for name, layer in self.layers.items():
            values = rows[name].reshape(layer.planes, count, self.width).astype(layer.dtype)
            data = np.ascontiguousarray(values.swapaxes(0, 1))
            self._open[name].write(data)
            self._open[name].flush()
            sums[name] = zlib.crc32(data)
        self.rows += count
        said = json.dumps({"rows": count, "sums": sums})
        self._said.write(f"{said}\n".encode())
        self._said.flush()

    def read(self, name: str, rows: int) -> Iterator[np.ndarray]:
        """Yield a layer from the top, so many rows at a time, as [planes, n, W]."""
        layer = self.layers[name]
        size = self._row(layer)
        with self.files[name].open("rb") as file:
            for top in range(0, self.height, rows):
                data = file.read(min(rows, self.height - top) * size)
                found = np.frombuffer(data, layer.dtype).reshape(-1, layer.planes, self.width)
                yield found.swapaxes(0, 1)

    def remove(self) -> None:
        """Remove all that was written."""
        for file in (*self.files.values(), self._ledger):
            file.unlink()
        self._ledger.parent.rmdir()

    def _row(self, layer: Layer) -> int:
        return layer.planes * self.width * np.dtype(layer.dtype).itemsize

    def _whole(self) -> int:
        """Return how many rows stand in all layers; cut off what lies beyond."""
        rows = length = 0
        self._said.seek(0)
        for line in self._said:
            try:
                said = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or any(
                self._sum(name, rows, said["rows"]) != said["sums"].get(name)
                for name in self.layers
            ):
                break
            rows, length = rows + said["rows"], length + len(line)
        self._said.truncate(length)
        for name, layer in self.layers.items():
            self._open[name].truncate(rows * self._row(layer))
        return rows

    def _sum(self, name: str, top: int, rows: int) -> int | None:
        file, size = self._open[name], self._row(self.layers[name])
        file.seek(top * size)
        data = file.read(rows * size)
        return zlib.crc32(data) if len(data) == rows * size else None
