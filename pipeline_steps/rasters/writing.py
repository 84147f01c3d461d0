"""Raster files: writing them."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter

from pipeline_steps.rasters.overviews import Level, Resampling, write_overviews
from pipeline_steps.rasters.raster import Grid


def write_raster(path: Path, array: np.ndarray, grid: Grid, **profile: Any) -> None:
    """Write [bands, height, width] as a tiled, deflated GeoTIFF."""
    with _created(path, grid, len(array), array.dtype, **profile) as target:
        target.write(array)


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
    the values from 0 on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = write_overviews(
        Level(draft, grid.height, grid.width), dtype, nodata, resampling, BLOCK
    )
    frames = [level.file.with_suffix(".vrt") for level in levels]
    for level, frame in zip(levels, frames, strict=True):
        small = Grid(level.height, level.width, None, grid.transform)
        frame.write_text(_frame(level.file, small, dtype, nodata, "", ()), encoding="utf-8")
    frame = draft.with_suffix(".vrt")
    text = _frame(draft, grid, dtype, nodata, description, classes, frames)
    frame.write_text(text, encoding="utf-8")
    with (
        warnings.catch_warnings(),
        rasterio.Env(GDAL_CACHEMAX=CACHE_MB),
    ):
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
    for file in (frame, *frames, *(level.file for level in levels)):
        file.unlink()


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
