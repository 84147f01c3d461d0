"""Raster files: writing them."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter
from rasterio.windows import Window as RasterioWindow

from pipeline_steps.rasters.raster import Grid


def write_raster(path: Path, array: np.ndarray, grid: Grid, **profile: Any) -> None:
    """Write [bands, height, width] as a tiled, deflated GeoTIFF."""
    with _created(path, grid, len(array), array.dtype, **profile) as target:
        target.write(array)


class MapWriter:
    """Writes a one-band map row by row, and ends it as a cloud-optimised GeoTIFF.

    GDAL's COG driver copies from a finished raster, so rows go to an uncompressed one first. As
    a context manager it leaves no such draft behind, however the block ends.
    """

    def __init__(self, path: Path, grid: Grid, dtype: str, nodata: float) -> None:
        self.path, self._draft = path, path.with_name(path.name + ".draft.tif")
        self._target = _created(self._draft, grid, 1, dtype, nodata=nodata, compress="NONE")

    def __enter__(self) -> "MapWriter":
        return self

    def __exit__(self, *trouble: object) -> None:
        self._target.close()
        self._draft.unlink(missing_ok=True)

    def write(self, top: int, rows: np.ndarray) -> None:
        """Write ``rows`` [height, width] beginning at row ``top``."""
        height, width = rows.shape
        self._target.write(rows, 1, window=RasterioWindow(0, top, width, height))

    def describe(self, names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> None:
        """Give the map a colour table and the classes' names."""
        self._target.write_colormap(1, dict(enumerate(colours)))
        self._target.update_tags(1, **{f"class_{i}": name for i, name in enumerate(names)})
        self._target.set_band_description(1, "land cover")

    def close(self, resampling: str) -> None:
        """End the map: overviews by ``resampling``, deflate, 512-pixel blocks."""
        self._target.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            rasterio.shutil.copy(
                self._draft,
                self.path,
                driver="COG",
                compress="DEFLATE",
                blocksize=512,
                overview_resampling=resampling,
            )
        self._draft.unlink()


def _created(path: Path, grid: Grid, count: int, dtype: Any, **profile: Any) -> DatasetWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "DEFLATE"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=grid.height,
            width=grid.width,
            count=count,
            dtype=dtype,
            crs=grid.crs,
            transform=rasterio.Affine(*grid.transform),
            BIGTIFF="IF_SAFER",
            **(settings | profile),
        )
