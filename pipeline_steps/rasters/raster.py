"""Raster files: reading them, window by window."""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from affine import TransformNotInvertibleError
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.features import rasterize
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window as RasterioWindow

from pipeline_steps.rasters.labels import NOT_A_LABEL
from pipeline_steps.rasters.windows import Window

ELSEWHERE = (
    *("WMS", "WMTS", "WCS", "HTTP", "OGCAPI", "STACIT", "STACTA", "PLMOSAIC", "EEDA", "EEDAI"),
    *("DAAS", "NGW", "WFS", "OAPIF", "CSW", "Carto", "AmigoCloud", "Elasticsearch", "PLSCENES"),
    # these name other files and do not say which: a cache, an index, polygons of anywhere
    *("MRF", "GTI", "KMLSUPEROVERLAY", "OGR_VRT", "GDALG", "ADBC", "GPSBabel"),
)
"""Drivers that ask the network, or read files which they do not list."""

# read when GDAL, and pyogrio's own, first open a file: scenes are files here, and no stage that
# reads them may use the network
os.environ["GDAL_SKIP"] = ",".join(ELSEWHERE)
os.environ["CPL_VSIL_CURL_ALLOWED_FILENAME"] = "none"

UNREADABLE = (RasterioError, CPLE_BaseError, TransformNotInvertibleError, UnicodeDecodeError)
"""What rasterio raises for a file that GDAL cannot read, the last where GDAL's words are broken."""

CACHE_BYTES = 256 * 2**20
"""What GDAL may keep of decoded blocks: a row of windows over striped files of usual width."""

FEW_CACHE_BYTES = 64 * 2**20
"""What it may keep of files in tiles, of which a row or two are looked at again."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """A raster's size and place: ``crs`` is WKT or None, ``transform`` six affine numbers."""

    height: int
    width: int
    crs: str | None
    transform: tuple[float, float, float, float, float, float]

    @classmethod
    def of(cls, source: DatasetReader, crs: str | None = None) -> "Grid":
        """Return the grid of an open raster.

        ``crs`` stands in where the file has a place, as from a world file, but no CRS. Local
        coordinates, which have no place on the ground, count as none.
        """
        found = None
        if source.crs and (source.crs.is_projected or source.crs.is_geographic):
            found = source.crs.to_wkt()
        elif crs and not source.crs and source.transform != rasterio.Affine.identity():
            found = wkt_of(crs)
        return cls(source.height, source.width, found, tuple(source.transform)[:6])

    def disagreement(self, other: "Grid") -> str | None:
        """Return how ``other`` differs, as "found, expected …", or None where both are the same.

        A grid without a CRS is compared by size alone. Origins may differ by a hundredth of a
        pixel, sizes of a pixel by a millionth.
        """
        have_place = self.crs is not None and other.crs is not None
        if have_place and rasterio.CRS.from_wkt(self.crs) != rasterio.CRS.from_wkt(other.crs):
            return f"has CRS {crs_name(other.crs)}, expected {crs_name(self.crs)}"
        if (self.height, self.width) != (other.height, other.width):
            found, expected = f"{other.width}x{other.height}", f"{self.width}x{self.height}"
            return f"is {found} pixels, expected {expected}"
        if not have_place:
            return None
        pixel = max(abs(self.transform[0]), abs(self.transform[1]))
        tolerance = pixel * np.array([1e-6, 1e-6, 1e-2, 1e-6, 1e-6, 1e-2])
        if np.all(np.abs(np.subtract(self.transform, other.transform)) <= tolerance):
            return None
        sizes = [np.delete(one.transform, (2, 5)) for one in (self, other)]
        if not np.allclose(*sizes, rtol=1e-6, atol=0):
            return f"has transform {other.transform}, expected {self.transform}"
        columns, rows = ~affine_of(self) @ (other.transform[2], other.transform[5])
        return f"begins at column {columns:.6g} and row {rows:.6g}, expected 0 and 0"


@contextlib.contextmanager
def opened(path: Path, is_beside: bool = False) -> Iterator[DatasetReader]:
    """Open a raster; whatever GDAL cannot read ends as ValueError with the file's name.

    What ``is_beside`` other work, and in tiles, is read by one thread with a smaller cache.

    GDAL itself only warns of a truncated JPEG and fills it with grey, and decodes a whole PNG
    without looking at its checksums; here both are errors.
    """
    with (
        rasterio.Env(
            GDAL_ERROR_ON_LIBJPEG_WARNING="YES",
            GDAL_PNG_WHOLE_IMAGE_OPTIM="NO",
            GDAL_VRT_ENABLE_PYTHON="NO",
            GDAL_NUM_THREADS="1" if is_beside else "ALL_CPUS",
            GDAL_CACHEMAX=FEW_CACHE_BYTES if is_beside else CACHE_BYTES,
        ),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with naming(path):
            # what is no whole path can be an address of GDAL's
            source = rasterio.open(os.path.abspath(path))
        with source:
            if not source.count:
                raise ValueError(f"{path}: has no bands, expected a raster")
            yield source


@contextlib.contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Give what GDAL cannot read the name of its file."""
    try:
        yield
    except UNREADABLE as error:
        cause = " ".join(str(error.__cause__ or error).split())
        raise ValueError(f"{path}: cannot be read ({cause}), expected a whole raster") from error


def refuse_strays(path: Path, root: str | None) -> None:
    """Raise ValueError where a raster, as a mosaic is, is made of files that lie elsewhere.

    They may lie beside it, beside what it is a link to, or below ``root``; links among them are
    followed. What cannot be opened is left to whoever reads it.
    """
    homes = [path.parent, Path(os.path.realpath(path)).parent, *([Path(root)] if root else [])]
    allowed = [os.path.realpath(home) for home in homes]
    first = os.path.abspath(path)
    seen, pending = {first}, [first]
    while pending:
        for file in _files(pending.pop()):
            if file in seen:
                continue
            is_file = os.path.isabs(file) and os.path.isfile(file)
            if not is_file or not any(map(Path(os.path.realpath(file)).is_relative_to, allowed)):
                raise ValueError(
                    f"{path}: is made of {' '.join(file.split())[:300]!r}, expected files beside it"
                    " or below data_root"
                )
            seen.add(file)
            pending.append(file)


def _files(path: str) -> list[str]:
    """Return the files that GDAL reads for one, or nothing where it reads none of them."""
    try:
        with warnings.catch_warnings(action="ignore"), rasterio.open(path) as source:
            return source.files + (_sources(path) if source.driver == "VRT" else [])
    except (*UNREADABLE, ElementTree.ParseError):
        return []


def _sources(mosaic: str) -> list[str]:
    """Return the sources of a VRT, of which GDAL lists all but those of its mask."""
    found = []
    for one in ElementTree.parse(mosaic).iter():
        # GDAL does not care for capitals
        if one.tag.lower() in ("sourcefilename", "sourcedataset"):
            facts = {name.lower(): value for name, value in one.items()}
            folder = os.path.dirname(mosaic) if facts.get("relativetovrt") == "1" else ""
            found.append(os.path.join(folder, one.text or ""))
    return found


@contextlib.contextmanager
def opened_on(
    path: Path,
    grid: Grid,
    resampling: str,
    crs: str | None = None,
    nodata: float | None = None,
) -> Iterator[DatasetReader]:
    """Open a raster as it lies on ``grid``: as it is where the grids agree, else warped.

    ``resampling`` is "nearest", whose mask says where the file lies, or "bilinear", which gives
    float32 and NaN where there is no height; ``crs`` and ``nodata`` stand in for what the file
    does not say. Raises ValueError where sizes differ and one of the two has no CRS.
    """
    with opened(path) as source:
        found = Grid.of(source, crs)
        with naming(path):
            trouble = grid.disagreement(found)
        if trouble is None:
            yield source
            return
        if not (grid.crs and found.crs):
            raise ValueError(f"{path}: {trouble} like its image, since one of them has no CRS")
        place = {
            "src_crs": found.crs,
            "crs": grid.crs,
            "transform": affine_of(grid),
            "width": grid.width,
            "height": grid.height,
            "resampling": Resampling[resampling],
        }
        if resampling == "nearest":
            # nodata is for the classes to judge; the alpha says where the file ends
            place |= {"src_nodata": None, "add_alpha": alpha_of(source) is None}
        else:
            unknown = source.nodata if source.nodata is not None else nodata
            unknown = np.nan if unknown is None else unknown
            place |= {"src_nodata": unknown, "nodata": np.nan, "dtype": "float32"}
        with naming(path):
            place |= _scales(grid, found) if resampling == "bilinear" else {}
            warped = WarpedVRT(source, **place)
        with warped:
            yield warped


def _scales(grid: Grid, source: Grid) -> dict[str, float]:
    """Return pixels of ``grid`` per pixel of ``source``, across and down, for GDAL's warper.

    Left to itself it guesses them anew for every window, and smooths windows differently.
    """
    y, x = grid.height / 2, grid.width / 2
    points = np.array([affine_of(grid) @ p for p in ((x, y), (x + 1, y), (x, y + 1))])
    if grid.crs != source.crs:
        points = moved(points, grid.crs, source.crs)
    here, right, down = (np.array(~affine_of(source) @ tuple(p)) for p in points)
    steps = np.abs([right - here, down - here]).sum(axis=0)
    if not (np.isfinite(steps).all() and steps.all()):
        return {}
    return {"XSCALE": float(1 / steps[0]), "YSCALE": float(1 / steps[1])}


def is_warped(source: DatasetReader) -> bool:
    """Return whether ``opened_on`` had to warp."""
    return isinstance(source, WarpedVRT)


def file_of(source: DatasetReader) -> DatasetReader:
    """Return the file behind a source, warped or not."""
    return source.src_dataset if is_warped(source) else source


def require_band(source: DatasetReader, band: int, key: str) -> None:
    """Raise ValueError where a file has no such band; ``key`` of the study asks for it."""
    file = file_of(source)
    if file.count < band:
        raise ValueError(f"{file.name}: has {file.count} bands, expected {band} ({key})")


def read(source: DatasetReader, window: Window, bands: Sequence[int] | int) -> np.ndarray:
    """Read one window: [bands, height, width] for a list of bands, [height, width] for one."""
    with naming(file_of(source).name):
        return source.read(bands, window=_window(window))


def read_image(
    source: DatasetReader, window: Window, bands: Sequence[int], nodata: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels [bands, height, width] of one window, and where they are data, bool.

    A pixel is data unless the file's nodata value, mask band or alpha says otherwise of all
    ``bands``, or ``nodata`` stands in all of them, or a number in one of them is not finite. A
    band that is itself among ``bands`` is no alpha: what it marks counts where all others are 0.
    """
    pixels = read(source, window, bands)
    is_valid = np.ones(pixels.shape[1:], bool)
    if pixels.dtype.kind == "f":
        is_valid &= np.isfinite(pixels).all(axis=0)
    if nodata is not None:
        is_valid &= (pixels != nodata).any(axis=0)
    alpha = alpha_of(source)
    marked = [band for band in bands if band != alpha]
    stated = [source.nodatavals[band - 1] for band in bands]
    if None not in stated:
        is_data = [band != value for band, value in zip(pixels, stated, strict=True)]
        is_valid &= np.logical_or.reduce(is_data)
    if alpha is not None:
        # the band itself: GDAL's masks know alpha of 8 and 16 bits alone, and where there is no
        # nodata value
        is_data = read(source, window, alpha) > 0
        if alpha in bands:
            is_data |= (pixels != 0).any(axis=0)
        is_valid &= is_data
    elif any(MaskFlags.per_dataset in source.mask_flag_enums[band - 1] for band in marked):
        with naming(file_of(source).name):
            masks = source.read_masks(marked, window=_window(window))
        is_valid &= (masks > 0).any(axis=0)
    return pixels, is_valid


def alpha_of(source: DatasetReader) -> int | None:
    """Return the number of the band that the file calls alpha, counted from 1."""
    kinds = source.colorinterp
    return kinds.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in kinds else None


def read_labels(source: DatasetReader, window: Window, as_rgb: bool) -> np.ndarray:
    """Read labels: values [height, width], or colours uint8 [3, height, width].

    A palette is looked up where colours are asked for. Raises ValueError where the file has
    neither three bands nor a palette, or holds fractions.
    """
    file = file_of(source)
    if not as_rgb:
        values = read(source, window, 1)
        return _whole_numbers(file.name, values) if values.dtype.kind == "f" else values
    if file.count >= 3:
        return read(source, window, [1, 2, 3])
    try:
        palette = file.colormap(1)
    except ValueError:
        raise ValueError(
            f"{file.name}: has {file.count} band and no palette, expected colours (3 bands),"
            " since the classes are given by rgb"
        ) from None
    indices = read(source, window, 1)
    table = np.zeros((np.iinfo(indices.dtype).max + 1, 3), np.uint8)
    for index, colour in palette.items():
        table[index] = colour[:3]
    return np.moveaxis(table[indices], -1, 0)


def _whole_numbers(name: str, values: np.ndarray) -> np.ndarray:
    """Return floating labels as integers; NaN says that there is none."""
    is_known = np.isfinite(values)
    if (values[is_known] != np.rint(values[is_known])).any():
        raise ValueError(f"{name}: is {values.dtype} with fractions, expected integer labels")
    return np.where(is_known, values, NOT_A_LABEL).astype(np.int64)


def read_extent(warped: DatasetReader, window: Window) -> np.ndarray:
    """Return where a file lies that ``opened_on`` had to warp for "nearest", bool [height, width].

    That is the alpha which was added, and which GDAL's masks know of in 8 bits alone.
    """
    return read(warped, window, alpha_of(warped) or warped.count) > 0


def burn(
    shapes: Sequence[Any],
    codes: Sequence[int],
    grid: Grid,
    window: Window,
    outside: int,
    all_touched: bool,
) -> np.ndarray:
    """Draw polygons, the later over the earlier, onto a window: int32 [height, width].

    ``shapes`` are geometries in the CRS of ``grid``, ``codes`` what to draw for each.
    """
    size = (window.height, window.width)
    if not len(shapes):
        return np.full(size, outside, np.int32)
    place = affine_of(grid) @ rasterio.Affine.translation(window.x, window.y)
    return rasterize(
        zip(shapes, codes, strict=True),
        out_shape=size,
        fill=outside,
        transform=place,
        all_touched=all_touched,
        dtype="int32",
    )


def affine_of(grid: Grid) -> rasterio.Affine:
    """Return the transform from (column, row) to the grid's CRS."""
    return rasterio.Affine(*grid.transform)


def bounds_in(grid: Grid, window: Window, crs: str) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a window of ``grid`` in another ``crs``."""
    place = affine_of(grid)
    ends = [(window.x, window.y), (window.x + window.width, window.y + window.height)]
    corners = np.array([place @ (x, y) for x, _ in ends for _, y in ends])
    box = (*corners.min(axis=0), *corners.max(axis=0))
    try:
        return transform_bounds(grid.crs, crs, *box)
    except RasterioError as error:
        raise ValueError(
            f"bounds {box} of {crs_name(grid.crs)} have no place in {crs_name(crs)}"
        ) from error


def moved(points: np.ndarray, source: str, target: str) -> np.ndarray:
    """Return points [n, 2] of one CRS in another; what has no place there is infinite."""
    try:
        x, y = transform(source, target, points[:, 0], points[:, 1])
    except (RasterioError, CPLE_BaseError):
        return np.full(points.shape, np.inf)
    return np.stack([x, y], axis=1)


def wkt_of(crs: str) -> str:
    """Return a CRS, however it is written, as WKT; raises ValueError where it is none."""
    try:
        return rasterio.CRS.from_user_input(crs).to_wkt()
    except (CRSError, ValueError) as error:
        raise ValueError(f"CRS is {crs!r}, expected one such as EPSG:25832") from error


def unit_of(wkt: str) -> tuple[float, bool]:
    """Return a CRS's unit in metres, or in radians where it is one of angles, and which it is."""
    crs = rasterio.CRS.from_wkt(wkt)
    return float(crs.units_factor[1]), bool(crs.is_geographic)


def projjson_of(wkt: str) -> dict[str, Any]:
    """Return a CRS as PROJJSON."""
    return rasterio.CRS.from_wkt(wkt).to_dict(projjson=True)


def _window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.x, window.y, window.width, window.height)


def crs_name(wkt: str) -> str:
    """Return how people call a CRS: EPSG code, or the name in its WKT."""
    crs = rasterio.CRS.from_wkt(wkt)
    return crs.to_string() if crs.to_epsg() else wkt.split('"')[1]
