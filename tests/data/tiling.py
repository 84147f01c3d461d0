"""One scene through ``tile``, from files that a test has written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import zarr

from pipeline_steps import tile
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.study.classes import ClassCode
from pipeline_steps.study.params.tile import Params

UTM = rasterio.CRS.from_epsg(32632).to_wkt()
STORES = ("image", "labels", "valid", "elevation")
VALUES = [ClassCode(name=f"class {value}", value=value) for value in range(4)]


def utm_grid(height: int, width: int, gsd: float = 1.0, x: float = 5e5, y: float = 5e6) -> Grid:
    """Return a grid in UTM whose upper left corner is at ``x``, ``y``."""
    return Grid(height, width, UTM, (gsd, 0.0, x, 0.0, -gsd, y))


def write_table(folder: Path, *rows: dict[str, str]) -> Path:
    """Write a scene table; each row names its columns."""
    columns = ["scene", "image", "labels", "elevation", "terrain", "list", "split"]
    lines = ["\t".join(str(row.get(column, "")) for column in columns) for row in rows]
    table = folder / "scenes.tsv"
    table.write_text("\n".join(["\t".join(columns), *lines]) + "\n")
    return table


def tile_scene(
    folder: Path, classes: list[ClassCode] = VALUES, split: str = "predict", **facts: Any
) -> Path:
    """Tile the files of ``folder`` into its ``out`` and return the manifest.

    ``facts`` are the files, by column of the scene table, and keys of the section ``tile``.
    """
    files = {
        key: facts.pop(key)
        for key in ("image", "labels", "elevation", "terrain", "list")
        if key in facts
    }
    table = write_table(folder, {"scene": "a", "split": split} | files)
    out = folder / "out"
    tile.run(
        scene="a",
        table=table,
        root=str(folder),
        manifest=out / "manifest.json",
        classes=classes,
        params=Params(**facts),
        **{name: out / f"{name}.zarr" for name in STORES},
    )
    return out / "manifest.json"


def facts_of(manifest: Path) -> dict[str, Any]:
    return json.loads(manifest.read_text())


def stored(manifest: Path, name: str, index: int = 0) -> np.ndarray:
    """Return an array of a tiled scene."""
    return zarr.open_group(manifest.parent / f"{name}.zarr", mode="r")[str(index)][:]
