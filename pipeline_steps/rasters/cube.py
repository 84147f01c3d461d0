"""Probabilities of all classes as a Zarr store that GDAL and xarray open in place."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import rasterio
import zarr
from numcodecs import Zlib

from pipeline_steps.rasters.raster import Grid

CHUNK = 512
"""Height and width of a chunk, which holds all classes."""

LEVEL = 3
"""Of deflate: with more, chunks of probabilities are hardly smaller and take much longer."""


def write_cube(
    path: Path,
    grid: Grid,
    classes: Sequence[str],
    read: Callable[[int], Iterable[np.ndarray]],
    one: int,
) -> None:
    """Write ``probabilities`` uint8 [class, y, x]: ``one`` is a probability of 1, 255 no data.

    ``read`` yields [class, n, x] from the top, so many rows at a time. Zarr's second format, since
    GDAL knows it best, with coordinates and CRS by the CF conventions. The coordinates of a rotated
    grid are in ``spatial_ref`` alone.
    """
    group = zarr.open_group(path, mode="w", zarr_format=2)
    shape = (len(classes), grid.height, grid.width)
    chunks = (shape[0], min(CHUNK, grid.height), min(CHUNK, grid.width))
    array = group.create_array(
        "probabilities",
        shape=shape,
        chunks=chunks,
        dtype="uint8",
        fill_value=255,
        compressors=Zlib(LEVEL),
    )
    for number, rows in enumerate(read(CHUNK)):
        top = number * CHUNK
        array[:, top : top + rows.shape[1]] = rows
    array.attrs.update(
        {
            "_ARRAY_DIMENSIONS": ["class", "y", "x"],
            "long_name": "probability of every class",
            "scale_factor": 1 / one,
            "units": "1",
            "grid_mapping": "spatial_ref",
        }
        | ({"_CRS": {"wkt": grid.crs}} if grid.crs else {})
    )
    _coordinates(group, grid, classes)
    group.attrs["Conventions"] = "CF-1.11"
    zarr.consolidate_metadata(path, zarr_format=2)


def _coordinates(group: zarr.Group, grid: Grid, classes: Sequence[str]) -> None:
    place = rasterio.Affine(*grid.transform)
    crs = rasterio.CRS.from_wkt(grid.crs) if grid.crs else None
    facts = {"GeoTransform": " ".join(repr(float(number)) for number in place.to_gdal())}
    facts |= {"crs_wkt": grid.crs, "spatial_ref": grid.crs} if grid.crs else {}
    _put(group, "spatial_ref", np.array(0), [], facts)
    names = np.array([name.encode() for name in classes])
    _put(group, "class_name", names.astype(f"S{max(1, names.itemsize)}"), ["class"], {})
    _put(group, "class", np.arange(len(classes), dtype=np.uint8), ["class"], {})
    if place.is_rectilinear:
        kinds = ("longitude", "latitude") if crs and crs.is_geographic else None
        for axis, length, step, begin in (
            ("x", grid.width, place.a, place.c),
            ("y", grid.height, place.e, place.f),
        ):
            name = kinds["xy".index(axis)] if kinds else f"projection_{axis}_coordinate"
            unit = {"units": f"degrees_{'east' if axis == 'x' else 'north'}"} if kinds else {}
            values = begin + step * (np.arange(length) + 0.5)
            _put(group, axis, values, [axis], {"standard_name": name} | unit)


def _put(
    group: zarr.Group, name: str, values: np.ndarray, axes: list[str], facts: dict[str, str]
) -> None:
    array = group.create_array(name, shape=values.shape, dtype=values.dtype, compressors=None)
    array[...] = values
    array.attrs.update({"_ARRAY_DIMENSIONS": axes} | facts)
