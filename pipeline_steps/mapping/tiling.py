"""Bring a scene onto its image's grid, as chunked stores."""

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.labels import Codebook
from pipeline_steps.rasters.layers import Heights, Labels, check_image
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import new_array, seal, shard_size, written
from pipeline_steps.rasters.windows import Window, blocks
from pipeline_steps.study.classes import IGNORE, ClassCode
from pipeline_steps.study.params.tile import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.scenes import Scene

log = logging.getLogger(__name__)

STORES = ("image", "labels", "valid", "elevation")
"""What a tiled scene consists of."""


def carried(
    row: Scene, stores: Sequence[Path], classes: list[ClassCode], params: Params
) -> dict[str, Any]:
    """Write the ``stores`` of a scene, in the order of `STORES`; return the facts of its manifest.

    The image's pixels stay as they are; labels and elevation come onto its grid. Labels that are
    not there are all "ignore", elevation NaN: constant chunks take no room. Raises ValueError
    naming the file that does not fit.
    """
    for file in row.files:
        raster.refuse_strays(Path(file), row.root)
    tiler = _Tiler(row, stores, classes, params)
    count = len(row.images)
    each = track(range(count), count, row.name, "images") if count > 1 else [0]
    rasters = [tiler.raster(i) for i in each]
    return {
        "scene": row.name,
        "is_folder": row.is_folder,
        "has_labels": bool(row.labels),
        "has_elevation": bool(row.elevation),
        "bands": list(params.bands),
        "rgb": list(params.rgb_positions),
        "dtype": tiler.dtype,
        "classes": [c.name for c in classes],
        "labelled": [c.name for c in classes if c.keys],
        "label_counts": tiler.counts[: len(classes)].tolist(),
        "unlisted": {str(k): count for k, count in sorted(tiler.book.unlisted.items(), key=str)},
        "rasters": rasters,
    }


class _Tiler:
    """Writes the arrays of one raster after the other, block by block."""

    def __init__(
        self, row: Scene, stores: Sequence[Path], classes: list[ClassCode], params: Params
    ) -> None:
        self.row, self.params = row, params
        self.stores = dict(zip(STORES, stores, strict=True))
        self.book = Codebook(
            [c.keys for c in classes], params.ignore_labels, IGNORE, params.label_tolerance
        )
        self.counts = np.zeros(256, np.int64)
        self.dtype: str | None = None

    def raster(self, index: int) -> dict[str, Any]:
        """Write the arrays of one image and of what lies beside it; return the facts."""
        grid, facts = self._image(index)
        self._labels(index, grid, facts)
        self._elevation(index, grid, facts)
        return {"name": self.row.raster_names[index]} | dataclasses.asdict(grid) | facts

    def _image(self, index: int) -> tuple[Grid, dict[str, Any]]:
        """Copy the pixels, and note where they are data."""
        path, bands, count = Path(self.row.images[index]), self.params.bands, 0
        with raster.opened(path) as source:
            dtype = check_image(path, source, bands)
            if dtype != (self.dtype or dtype):
                raise ValueError(f"{path}: is {dtype}, expected {self.dtype} as before it")
            self.dtype, grid = dtype, Grid.of(source, self.params.crs)
            image = self._new("image", index, grid, dtype, 0, bands=(len(bands),))
            valid = self._new("valid", index, grid, "uint8", 1)
            with written(image, valid) as write:
                for window in self._windows(grid, "image"):
                    pixels, is_valid = raster.read_image(source, window, bands, self.params.nodata)
                    write(window, pixels, is_valid.astype(np.uint8))
                    count += int(np.count_nonzero(is_valid))
        self._valid = valid
        return grid, {"valid_pixels": count}

    def _labels(self, index: int, grid: Grid, facts: dict[str, Any]) -> None:
        """Write class indices, and "ignore" where the image has no data."""
        target = self._new("labels", index, grid, "uint8", IGNORE)
        if not self.row.labels:
            seal(target)
            return
        path, before = Path(self.row.labels[index]), self.book.unlisted.copy()
        with Labels(path, grid, self.book, self.params) as source, written(target) as write:
            for window in self._windows(grid, "labels"):
                indices = source.read(window)
                indices[self._valid[window.slices] == 0] = IGNORE
                write(window, indices)
                self.counts += np.bincount(indices.ravel(), minlength=256)
            facts["labels"] = source.how
        found = self.book.unlisted - before
        if found and self.params.unlisted_labels == "error":
            raise ValueError(
                f"{path}: {self.book.describe(found)}, expected those of classes and"
                " tile.ignore_labels; `tile.unlisted_labels: ignore` lets them pass"
            )
        if found:
            log.warning("%s: %s; not labelled", path, self.book.describe(found))

    def _elevation(self, index: int, grid: Grid, facts: dict[str, Any]) -> None:
        """Write heights above ground, and NaN where there is none or the image has no data."""
        target = self._new("elevation", index, grid, "float32", np.nan)
        if not self.row.elevation:
            seal(target)
            return
        path = Path(self.row.elevation[index])
        terrain = Path(self.row.terrain[index]) if self.row.terrain else None
        with (
            Heights(path, terrain, grid, self.params) as source,
            written(target) as write,
        ):
            for window in self._windows(grid, "elevation"):
                heights = source.read(window)
                heights[self._valid[window.slices] == 0] = np.nan
                write(window, heights)
            facts["elevation"] = source.how

    def _windows(self, grid: Grid, what: str) -> Iterable[Window]:
        """Return whole shards; of a lone image they are shown as progress, of many the images."""
        windows = list(blocks(grid.height, grid.width, shard_size(self.params.chunk)))
        if len(self.row.images) > 1:
            return windows
        return track(windows, len(windows), f"{self.row.name} {what}", "shards")

    def _new(
        self, store: str, index: int, grid: Grid, dtype: str, fill: float, bands: tuple = ()
    ) -> Any:
        shape = (*bands, grid.height, grid.width)
        chunk, compression = self.params.chunk, self.params.compression
        return new_array(self.stores[store], index, shape, dtype, fill, chunk, compression)
