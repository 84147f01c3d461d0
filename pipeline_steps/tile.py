"""Bring one scene onto its image's grid, as chunked stores that every later stage reads."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.labels import Codebook
from pipeline_steps.rasters.raster import DatasetReader, Grid
from pipeline_steps.rasters.store import new_array, shard_size
from pipeline_steps.rasters.windows import blocks
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE, ClassCode
from pipeline_steps.study.manifest import write_manifest
from pipeline_steps.study.params.tile import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import publishing

log = logging.getLogger(__name__)


def run(
    scene: str,
    folder: int,
    images: list[Path],
    label_files: list[Path],
    elevation_files: list[Path],
    image: Path,
    labels: Path,
    valid: Path,
    elevation: Path,
    manifest: Path,
    classes: list[ClassCode],
    params: Params,
) -> None:
    """Write the four stores of a scene, one array per image, and their manifest.

    ``label_files`` and ``elevation_files`` are empty or match ``images`` one to one; ``folder``
    is 1 for a scene of many images. Labels that are not there are all "ignore", elevation NaN:
    constant chunks take no room. Raises ValueError naming the file that does not fit.
    """
    with publishing(image, labels, valid, elevation) as partials:
        tiler = _Tiler(*partials, classes, params)
        rasters = []
        for index, path in enumerate(track(images, len(images), scene, "images")):
            facts, grid = tiler.image(index, path)
            tiler.labels(index, label_files[index] if label_files else None, grid)
            tiler.elevation(index, elevation_files[index] if elevation_files else None, grid)
            rasters.append({"name": path.stem} | dataclasses.asdict(grid) | facts)
    write_manifest(
        manifest,
        "pipeline_steps.tile",
        params=params,
        made_from={str(i): p for i, p in enumerate([*images, *label_files, *elevation_files])},
        made={"image": image, "labels": labels, "valid": valid, "elevation": elevation},
        scene=scene,
        is_folder=bool(folder),
        has_labels=bool(label_files),
        has_elevation=bool(elevation_files),
        classes=[c.name for c in classes],
        label_counts=tiler.counts[: len(classes)].tolist(),
        unlisted={str(key): count for key, count in sorted(tiler.book.unlisted.items())},
        rasters=rasters,
    )
    log.info("%s: %d images tiled into %s", scene, len(images), manifest.parent)


class _Tiler:
    """Writes the arrays of one raster after the other, block by block."""

    def __init__(
        self,
        image: Path,
        labels: Path,
        valid: Path,
        elevation: Path,
        classes: list[ClassCode],
        params: Params,
    ) -> None:
        self.stores = {"image": image, "labels": labels, "valid": valid, "elevation": elevation}
        self.params = params
        self.book = Codebook([c.keys for c in classes], params.ignore_labels, IGNORE)
        self.counts = np.zeros(256, np.int64)
        self._valid: Any = None

    def image(self, index: int, path: Path) -> tuple[dict[str, Any], Grid]:
        """Copy the image and note where it has data; return its facts and its grid."""
        with raster.opened(path) as source:
            self._check_image(path, source)
            grid = Grid.of(source)
            image = self._new("image", index, grid, "uint8", 0, bands=(3,))
            self._valid = self._new("valid", index, grid, "uint8", 0)
            valid_pixels = 0
            for window in blocks(grid.height, grid.width, shard_size(self.params.chunk)):
                pixels = raster.read(source, window, list(self.params.bands))
                is_valid = raster.read_valid(source, window)
                if self.params.nodata is not None:
                    is_valid &= (pixels != self.params.nodata).any(axis=0)
                image[(slice(None), *window.slices)] = pixels
                self._valid[window.slices] = is_valid.astype(np.uint8)
                valid_pixels += int(is_valid.sum())
        return {"valid_pixels": valid_pixels}, grid

    def labels(self, index: int, path: Path | None, grid: Grid) -> None:
        """Write class indices, and "ignore" where the image has no data."""
        target = self._new("labels", index, grid, "uint8", IGNORE)
        if path is None:
            return
        before = self.book.unlisted.copy()
        with raster.opened(path) as source:
            check_grid(path, source, grid)
            for window in blocks(grid.height, grid.width, shard_size(self.params.chunk)):
                indices = self.book.encode(raster.read_labels(source, window, self.book.as_rgb))
                indices[self._valid[window.slices] == 0] = IGNORE
                target[window.slices] = indices
                self.counts += np.bincount(indices.ravel(), minlength=256)
        self._report_unlisted(path, self.book.unlisted - before)

    def elevation(self, index: int, path: Path | None, grid: Grid) -> None:
        """Write heights, and NaN where the file has none or the image has no data."""
        target = self._new("elevation", index, grid, "float32", np.nan)
        if path is None:
            return
        with raster.opened(path) as source:
            check_grid(path, source, grid)
            for window in blocks(grid.height, grid.width, shard_size(self.params.chunk)):
                height = raster.read(source, window, 1).astype(np.float32)
                is_known = raster.read_valid(source, window) & (self._valid[window.slices] > 0)
                height[~is_known] = np.nan
                target[window.slices] = height

    def _new(
        self, store: str, index: int, grid: Grid, dtype: str, fill: float, bands: tuple = ()
    ) -> Any:
        shape = (*bands, grid.height, grid.width)
        return new_array(self.stores[store], index, shape, dtype, fill, self.params.chunk)

    def _check_image(self, path: Path, source: DatasetReader) -> None:
        bands = self.params.bands
        if source.count < max(bands):
            raise ValueError(f"{path}: has {source.count} bands, expected {max(bands)}")
        dtypes = {source.dtypes[band - 1] for band in bands}
        if dtypes != {"uint8"}:
            raise ValueError(f"{path}: is {', '.join(sorted(dtypes))}, expected uint8")

    def _report_unlisted(self, path: Path, found: Any) -> None:
        if not found:
            return
        text = f"{path}: {self.book.describe(found)}, expected those of classes"
        if self.params.unlisted_labels == "error":
            raise ValueError(
                f"{text} and tile.ignore_labels; `tile.unlisted_labels: ignore` lets them pass"
            )
        log.warning("%s; not labelled", text)


def check_grid(path: Path, source: DatasetReader, grid: Grid) -> None:
    """Raise ValueError where an open raster does not lie on its image's grid."""
    trouble = grid.disagreement(Grid.of(source))
    if trouble:
        raise ValueError(f"{path}: {trouble}, like its image")


if __name__ == "__main__":
    cli.main(run)
