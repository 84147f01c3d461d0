"""Raster files: writing them."""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.windows import Window

from pipeline_steps.rasters.overviews import Level, Resampling, write_overviews
from pipeline_steps.rasters.raster import UNREADABLE, Grid


def write_raster(path: Path, array: np.ndarray, grid: Grid, **profile: Any) -> None:
    """Write [bands, height, width] as a tiled, deflated GeoTIFF; OSError where it is not whole."""
    with _whole(path):
        with _created(path, grid, len(array), array.dtype, **profile) as target:
            target.write(array)
        with _reopened(path) as source:
            _check_same(source.read(), array)


CACHE_MB = 64
"""Blocks that GDAL keeps of what it reads and writes; by default a twentieth of the memory."""

LEVEL = 1
"""Of deflate: maps are a fifth larger than with GDAL's own, 6, and take a third of the time."""

BLOCK = 512
"""Height and width of a map's blocks in pixels, and the most of its least overview."""

TYPES = {"uint8": "Byte", "uint16": "UInt16", "float32": "Float32"}
"""What GDAL calls the types of maps."""


def write_map(
    draft: Path,
    path: Path,
    grid: Grid,
    dtype: str,
    nodata: float,
    resampling: Resampling,
    description: str,
    classes: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> None:
    """Write a cloud-optimised GeoTIFF of one band from the plain rows of ``draft``.

    Overviews by ``resampling``, deflate, blocks of 512 pixels. ``classes`` are names and colours of
    the values from 0 on. Raises OSError, and leaves no file, where it cannot be written whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = draft.with_suffix(".vrt")
    with _whole(path):
        full = Level(draft, grid.height, grid.width)
        levels = write_overviews(full, dtype, nodata, resampling, BLOCK)
        frames = [level.file.with_suffix(".vrt") for level in levels]
        for level, small in zip(levels, frames, strict=True):
            place = Grid(level.height, level.width, None, grid.transform)
            small.write_text(_frame(level.file, place, dtype, nodata, "", ()), encoding="utf-8")
        text = _frame(draft, grid, dtype, nodata, description, classes, frames)
        frame.write_text(text, encoding="utf-8")
        _copy(frame, path)
        _check(path, [full, *levels], dtype)
    for file in (frame, *frames, *(level.file for level in levels)):
        file.unlink()


def _copy(frame: Path, path: Path) -> None:
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        rasterio.shutil.copy(
            frame,
            path,
            driver="COG",
            compress="DEFLATE",
            level=LEVEL,
            blocksize=BLOCK,
            BIGTIFF="IF_SAFER",
        )


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Let the block write and read back a file; what goes wrong removes it and raises OSError."""
    try:
        yield
    except (OSError, *UNREADABLE) as error:
        path.unlink(missing_ok=True)
        reason = " ".join(str(error.__cause__ or error).split())
        raise OSError(
            f"{path}: cannot be written whole ({reason}), expected room for it on the disk"
        ) from error


def _check(path: Path, levels: Sequence[Level], dtype: str) -> None:
    """Raise what rasterio does unless a map and its overviews hold the rows they were made from.

    GDAL writes the last blocks, and where each lies, as it closes a file, and rasterio does not
    pass on what goes wrong then: of a full disk nobody would hear. That all blocks lie within the
    file would not do: a file system on the network may say no sooner of any part of it that it had
    no room. Nor that they can be unpacked: GDAL heeds no checksum in a block that holds more than
    it asked for, and takes one that is missing for one without data. For 8192² pixels this takes
    0.1 to 0.2 s.
    """
    for number, level in enumerate(levels):
        options = {"overview_level": number - 1} if number else {}
        with _reopened(path, **options) as source, level.file.open("rb") as file:
            for top in range(0, level.height, BLOCK):
                window = Window(0, top, level.width, min(BLOCK, level.height - top))
                given = np.fromfile(file, dtype, window.height * window.width)
                _check_same(source.read(1, window=window).ravel(), given)


def _check_same(found: np.ndarray, given: np.ndarray) -> None:
    if not np.array_equal(found, given, equal_nan=True):
        raise RasterioIOError("pixels are not those that were given")


@contextlib.contextmanager
def _reopened(path: Path, **options: Any) -> Iterator[DatasetReader]:
    with warnings.catch_warnings(), rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, **options) as source:
            yield source


def _frame(
    draft: Path,
    grid: Grid,
    dtype: str,
    nodata: float,
    description: str,
    classes: Sequence[tuple[str, tuple[int, int, int]]],
    overviews: Sequence[Path] = (),
) -> str:
    """Return what tells GDAL how to read plain rows: a virtual raster beside them.

    ``overviews`` are the like of smaller ones, the largest first.
    """
    root = ElementTree.Element(
        "VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height)
    )
    if grid.crs:
        ElementTree.SubElement(root, "SRS").text = rasterio.CRS.from_user_input(grid.crs).to_wkt()
    transform = rasterio.Affine(*grid.transform)
    if transform != rasterio.Affine.identity():
        text = ", ".join(repr(float(number)) for number in transform.to_gdal())
        ElementTree.SubElement(root, "GeoTransform").text = text
    kind = {"dataType": TYPES[dtype], "band": "1", "subClass": "VRTRawRasterBand"}
    band = ElementTree.SubElement(root, "VRTRasterBand", kind)
    ElementTree.SubElement(band, "Description").text = description
    if classes:
        facts = ElementTree.SubElement(band, "Metadata")
        for value, (name, _) in enumerate(classes):
            ElementTree.SubElement(facts, "MDI", key=f"class_{value}").text = name
        ElementTree.SubElement(band, "ColorInterp").text = "Palette"
        table = ElementTree.SubElement(band, "ColorTable")
        for _, colour in classes:
            parts = {f"c{i}": str(part) for i, part in enumerate((*colour, 255), 1)}
            ElementTree.SubElement(table, "Entry", parts)
    ElementTree.SubElement(band, "NoDataValue").text = repr(float(nodata))
    source = ElementTree.SubElement(band, "SourceFilename", relativetoVRT="1")
    source.text = draft.name
    size = np.dtype(dtype).itemsize
    for name, value in {"Image": 0, "Pixel": size, "Line": size * grid.width}.items():
        ElementTree.SubElement(band, f"{name}Offset").text = str(value)
    order = "LSB" if sys.byteorder == "little" else "MSB"
    ElementTree.SubElement(band, "ByteOrder").text = order
    for file in overviews:
        overview = ElementTree.SubElement(band, "Overview")
        name = ElementTree.SubElement(overview, "SourceFilename", relativeToVRT="1")
        name.text = file.name
        ElementTree.SubElement(overview, "SourceBand").text = "1"
    return ElementTree.tostring(root, encoding="unicode")


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
