"""Polygons as labels: any file that GDAL reads through pyogrio, drawn window by window."""

from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FieldError

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.labels import NOT_A_LABEL, Codebook
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.windows import Window

UNREADABLE = (
    DataSourceError,
    DataLayerError,
    FieldError,
    shapely.GEOSException,
    UnicodeDecodeError,
)

SUFFIXES = (".gpkg", ".shp", ".geojson", ".json", ".fgb", ".gml", ".kml", ".sqlite", ".parquet")


def is_vector(path: Path) -> bool:
    """Return whether a file's name says that it holds polygons."""
    return path.suffix.lower() in SUFFIXES


class Polygons:
    """A layer of polygons whose ``attribute`` says the class, or which all mean ``value``.

    ``crs`` is its WKT, ``bounds`` left, bottom, right and top. Raises ValueError naming the file
    where it cannot be read, has no such layer or field, or no CRS.
    """

    def __init__(
        self, path: Path, layer: str | None, attribute: str | None, value: int | str
    ) -> None:
        self.path, self.layer, self.attribute, self.value = path, layer, attribute, value
        try:
            facts = pyogrio.read_info(path, layer=layer, force_total_bounds=True)
        except (DataSourceError, DataLayerError, UnicodeDecodeError) as error:
            raise self._trouble(error) from error
        if facts["crs"] is None:
            raise ValueError(f"{path}: has no CRS, expected one, to lay polygons on an image")
        self.crs = raster.wkt_of(facts["crs"])
        self.bounds: tuple[float, float, float, float] | None = facts["total_bounds"]
        if attribute is not None and attribute not in facts["fields"]:
            raise ValueError(
                f"{path}: has no field {attribute!r}, expected it (tile.vectors.attribute) among"
                f" {', '.join(facts['fields'])}"
            )

    def draw(
        self, grid: Grid, window: Window, book: Codebook, outside: int, all_touched: bool
    ) -> np.ndarray:
        """Return the codes of ``book`` on a window of ``grid``, int64 [height, width].

        ``outside`` is the code of ground without a polygon. Where polygons overlap the one that
        comes later in the file counts.
        """
        numbers, shapes, words = self._read(grid, window)
        order = np.argsort(numbers, kind="stable")
        codes = np.array([self._code(words[i], book) for i in order], np.int64)
        known, places = np.unique(np.append(codes, outside), return_inverse=True)
        drawn = raster.burn(
            shapes[order], places[:-1].tolist(), grid, window, int(places[-1]), all_touched
        )
        return known[drawn]

    def _read(self, grid: Grid, window: Window) -> tuple[np.ndarray, np.ndarray, Any]:
        """Return numbers, shapes in the grid's CRS and words of the polygons near a window."""
        fields = [] if self.attribute is None else [self.attribute]
        box = raster.bounds_in(grid, window, self.crs)
        try:
            _, numbers, shapes, columns = pyogrio.raw.read(
                self.path,
                layer=self.layer,
                columns=fields,
                bbox=box,
                force_2d=True,
                return_fids=True,
            )
            shapes = shapely.from_wkb(shapes)
        except UNREADABLE as error:
            raise self._trouble(error) from error
        words = columns[0] if columns else [self.value] * len(shapes)
        is_area = np.isin(shapely.get_type_id(shapes), (3, 6))
        if not is_area.all():
            kind = shapes[~is_area][0]
            kind = "nothing" if kind is None else kind.geom_type
            raise ValueError(f"{self.path}: has a {kind}, expected polygons only")
        if self.crs != grid.crs:
            shapes = self._moved(shapes, box, grid.crs)
        return numbers, shapes, words

    def _moved(
        self, shapes: np.ndarray, box: tuple[float, float, float, float], crs: str
    ) -> np.ndarray:
        """Return what lies in ``box`` in another CRS, its sides bent as they are there."""
        left, bottom, right, top = box
        reach = max(right - left, top - bottom)
        near = (left - reach / 8, bottom - reach / 8, right + reach / 8, top + reach / 8)
        try:
            shapes = shapely.clip_by_rect(shapes, *near)
        except shapely.GEOSException as error:
            raise self._trouble(error) from error
        shapes = shapely.segmentize(shapes, reach / 64)
        return shapely.transform(shapes, lambda xy: raster.moved(xy, self.crs, crs))

    def _code(self, word: Any, book: Codebook) -> int:
        if word is None or word != word:
            return NOT_A_LABEL
        if isinstance(word, str):
            return book.code(word)
        is_number = isinstance(word, (int, float, np.bool_, np.integer, np.floating))
        if not is_number or not np.isfinite(word) or word != int(word):
            raise ValueError(
                f"{self.path}: field {self.attribute!r} says {word}, expected words or integers"
            )
        return int(word)

    def _trouble(self, error: Exception) -> ValueError:
        return ValueError(
            f"{self.path}: cannot be read ({' '.join(str(error).split())}), expected polygons"
        )
