"""What a scene has beside its image, read as it lies on the image's grid."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.labels import NOT_A_LABEL, Codebook
from pipeline_steps.rasters.place import gsd_m
from pipeline_steps.rasters.raster import DatasetReader, Grid
from pipeline_steps.rasters.terrain import Ground
from pipeline_steps.rasters.vector import Polygons, is_vector
from pipeline_steps.rasters.windows import Window

DTYPES = ("uint8", "uint16", "int16", "float32")


def check_image(path: Path, source: DatasetReader, bands: Sequence[int]) -> str:
    """Return the type of an open image's ``bands``; raises ValueError where they do not fit."""
    if source.count < max(bands):
        raise ValueError(f"{path}: has {source.count} bands, expected {max(bands)} (tile.bands)")
    if source.transform.is_degenerate:
        raise ValueError(f"{path}: has transform {tuple(source.transform)[:6]}, which maps no area")
    found = sorted({source.dtypes[band - 1] for band in bands})
    if len(found) > 1 or found[0] not in DTYPES:
        raise ValueError(f"{path}: is {', '.join(found)}, expected one of {', '.join(DTYPES)}")
    return found[0]


class VectorOptions(Protocol):
    """How polygons are drawn: ``tile.vectors``."""

    layer: str | None
    attribute: str | None
    value: int | str
    background: int | str | None
    all_touched: bool


class ElevationOptions(Protocol):
    """What elevation files hold: ``tile.elevation``."""

    kind: str
    band: int
    unit: float
    nodata: float | None
    ground_window: float
    ground_slope: float


class Options(Protocol):
    """What is asked of the section ``tile``."""

    crs: str | None
    vectors: VectorOptions
    elevation: ElevationOptions


class Labels:
    """A label file, raster or vector, as class indices on ``grid``; a context manager.

    ``how`` says what was done to bring it there.
    """

    def __init__(self, path: Path, grid: Grid, book: Codebook, options: Options) -> None:
        self.path, self.grid, self.book, self.crs = path, grid, book, options.crs
        self.options = options.vectors
        self._open, self.how = contextlib.ExitStack(), "on the image's grid"

    def __enter__(self) -> "Labels":
        if is_vector(self.path):
            self._enter_vector()
            return self
        opened = raster.opened_on(self.path, self.grid, "nearest", self.crs)
        self._source = self._open.enter_context(opened)
        self._is_warped = raster.is_warped(self._source)
        if self._is_warped:
            self.how = "warped, nearest"
        self._nodata = raster.file_of(self._source).nodata
        return self

    def __exit__(self, *trouble: Any) -> bool | None:
        return self._open.__exit__(*trouble)

    def read(self, window: Window) -> np.ndarray:
        """Return class indices uint8 [height, width], "ignore" where the file says nothing."""
        if is_vector(self.path):
            codes = self._polygons.draw(
                self.grid, window, self.book, self._outside, self.options.all_touched
            )
            return self.book.encode(codes)
        labels = raster.read_labels(self._source, window, self.book.as_rgb)
        if not self._is_warped:
            return self.book.encode(labels, self._nodata)
        is_there = raster.read_extent(self._source, window)
        indices = np.full(is_there.shape, self.book.ignore, np.uint8)
        indices[is_there] = self.book.encode(labels[..., is_there][..., None], self._nodata)[:, 0]
        return indices

    def _enter_vector(self) -> None:
        options, path = self.options, self.path
        if self.book.as_rgb:
            raise ValueError(f"{path}: holds polygons, expected classes given by value, not by rgb")
        if self.grid.crs is None:
            raise ValueError(f"{path}: holds polygons, expected an image with a CRS to draw on")
        self._polygons = Polygons(path, options.layer, options.attribute, options.value)
        self._outside = (
            NOT_A_LABEL if options.background is None else self.book.code(options.background)
        )
        self.how = "drawn, all touched" if options.all_touched else "drawn, pixel centres"


class Heights:
    """Height above ground in metres on ``grid``, from what a scene has; a context manager.

    A dsm without ``terrain`` stands on an estimate of the ground, for which the grid must have
    a CRS. ``how`` says what was done.
    """

    def __init__(self, path: Path, terrain: Path | None, grid: Grid, options: Options) -> None:
        self.path, self.terrain, self.grid, self.crs = path, terrain, grid, options.crs
        self.options = options.elevation

    def __enter__(self) -> "Heights":
        with contextlib.ExitStack() as stack:
            self._surface = self._opened(stack, self.path, self.options.band)
            self._ground: Any = None
            self.how: dict[str, Any] = {"warped": raster.is_warped(self._surface), "ground": None}
            if self.terrain is not None:
                self._ground = self._opened(stack, self.terrain, 1)
                self.how["ground"] = "terrain file"
            elif self.options.kind == "dsm":
                self._estimate()
            self._open = stack.pop_all()
        return self

    def __exit__(self, *trouble: Any) -> bool | None:
        return self._open.__exit__(*trouble)

    def read(self, window: Window) -> np.ndarray:
        """Return heights above ground float32 [height, width], NaN where unknown."""
        heights = self._metres(self._surface, window)
        if self.terrain is not None:
            return heights - self._metres(self._ground, window)
        if self._ground is not None:
            return np.maximum(heights - self._ground.heights(window), 0)
        return heights

    def _opened(self, stack: contextlib.ExitStack, path: Path, band: int) -> DatasetReader:
        opened = raster.opened_on(path, self.grid, "bilinear", self.crs, self.options.nodata)
        source = stack.enter_context(opened)
        raster.require_band(source, band, "tile.elevation.band")
        return source

    def _metres(self, source: DatasetReader, window: Window) -> np.ndarray:
        # of a terrain file beside it the first band; of a picture that holds heights too, its own
        bands = [self.options.band] if source is self._surface else [1]
        heights, is_known = raster.read_image(source, window, bands, self.options.nodata)
        heights = heights[0].astype(np.float32) * np.float32(self.options.unit)
        heights[~is_known] = np.nan
        return heights

    def _estimate(self) -> None:
        options, gsd = self.options, gsd_m(self.grid)
        if gsd is None:
            raise ValueError(
                f"{self.path}: is a dsm whose image has no CRS, expected one, or terrain beside it,"
                " since the ground's window is in metres"
            )
        self._ground = Ground(
            lambda window: self._metres(self._surface, window),
            self.grid.height,
            self.grid.width,
            gsd,
            options.ground_window,
            options.ground_slope,
        )
        self.how["ground"] = "progressive morphological filter"
        self.how |= {"ground_window_m": options.ground_window, "cell_m": self._ground.cell_m}
