"""Raster files: the only place that knows rasterio."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.windows import Window as RasterioWindow

from pipeline_steps.rasters.windows import Window


@dataclasses.dataclass(frozen=True)
class Grid:
    """A raster's size and place: ``crs`` is WKT or None, ``transform`` six affine numbers."""

    height: int
    width: int
    crs: str | None
    transform: tuple[float, float, float, float, float, float]

    @classmethod
    def of(cls, source: DatasetReader) -> "Grid":
        """Return the grid of an open raster."""
        crs = source.crs.to_wkt() if source.crs else None
        return cls(source.height, source.width, crs, tuple(source.transform)[:6])

    def disagreement(self, other: "Grid") -> str | None:
        """Return how ``other`` differs, as "found, expected …", or None where both are the same.

        A grid without a CRS is compared by size alone. Origins may differ by a hundredth of a
        pixel, sizes of a pixel by a millionth.
        """
        if (self.height, self.width) != (other.height, other.width):
            found, expected = f"{other.width}x{other.height}", f"{self.width}x{self.height}"
            return f"is {found} pixels, expected {expected}"
        if self.crs is None or other.crs is None:
            return None
        if rasterio.CRS.from_wkt(self.crs) != rasterio.CRS.from_wkt(other.crs):
            return f"has CRS {crs_name(other.crs)}, expected {crs_name(self.crs)}"
        pixel = max(abs(self.transform[0]), abs(self.transform[1]))
        tolerance = pixel * np.array([1e-6, 1e-6, 1e-2, 1e-6, 1e-6, 1e-2])
        if np.any(np.abs(np.subtract(self.transform, other.transform)) > tolerance):
            return f"has transform {other.transform}, expected {self.transform}"
        return None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[DatasetReader]:
    """Open a raster; whatever GDAL cannot read ends as ValueError with the file's name.

    GDAL itself only warns of a truncated JPEG and fills it with grey, and decodes a whole PNG
    without looking at its checksums; here both are errors.
    """
    with (
        rasterio.Env(
            GDAL_ERROR_ON_LIBJPEG_WARNING="YES",
            GDAL_PNG_WHOLE_IMAGE_OPTIM="NO",
        ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as source:
                yield source
        except RasterioError as error:
            cause = str(error.__cause__ or error)
            raise ValueError(
                f"{path}: cannot be read ({cause}), expected a whole raster"
            ) from error


def read(source: DatasetReader, window: Window, bands: Sequence[int] | int) -> np.ndarray:
    """Read one window: [bands, height, width] for a list of bands, [height, width] for one."""
    return source.read(bands, window=_window(window))


def read_labels(source: DatasetReader, window: Window, as_rgb: bool) -> np.ndarray:
    """Read labels: values [height, width], or colours uint8 [3, height, width].

    A palette is looked up where colours are asked for. Raises ValueError where the file has
    neither three bands nor a palette.
    """
    if np.dtype(source.dtypes[0]).kind == "f":
        raise ValueError(f"{source.name}: is {source.dtypes[0]}, expected integer labels")
    if not as_rgb:
        return read(source, window, 1)
    if source.count >= 3:
        return read(source, window, [1, 2, 3])
    try:
        palette = source.colormap(1)
    except ValueError:
        raise ValueError(
            f"{source.name}: has {source.count} band and no palette, expected colours (3 bands),"
            " since the classes are given by rgb"
        ) from None
    table = np.zeros((256, 3), np.uint8)
    for index, colour in palette.items():
        table[index] = colour[:3]
    return np.moveaxis(table[read(source, window, 1)], -1, 0)


def read_valid(source: DatasetReader, window: Window) -> np.ndarray:
    """Return where the file has data, bool [height, width]: from nodata, mask band or alpha."""
    return source.dataset_mask(window=_window(window)) > 0


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


def _window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.x, window.y, window.width, window.height)


def crs_name(wkt: str) -> str:
    """Return how people call a CRS: EPSG code, or the name in its WKT."""
    crs = rasterio.CRS.from_wkt(wkt)
    return crs.to_string() if crs.to_epsg() else wkt.split('"')[1]
