"""Polygons as a GeoPackage and as GeoParquet, written some at a time."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely

from pipeline_steps.rasters.raster import projjson_of

LAYER = "classes"

NO_CLOCK = "1970-01-01T00:00:00Z"
"""What a GeoPackage says of its last change: equal work, equal bytes."""


class PolygonFile(Protocol):
    """A file that takes polygons with their columns, and is whole once it is closed."""

    def write(self, shapes: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Add polygons [n] in the file's CRS; every call has the same columns, [n] each."""

    def close(self) -> None:
        """End the file."""


class GeoPackage:
    """A GeoPackage of one layer; without a ``crs`` (WKT) its plane is an undefined one."""

    def __init__(self, path: Path, crs: str | None) -> None:
        self.path, self.crs, self._is_begun = path, crs, False

    def write(self, shapes: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Add polygons with their columns."""
        before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": NO_CLOCK})
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "'crs' was not provided")
                pyogrio.raw.write(
                    self.path,
                    geometry=shapely.to_wkb(shapes),
                    field_data=list(columns.values()),
                    fields=list(columns),
                    layer=LAYER,
                    driver="GPKG",
                    geometry_type="Polygon",
                    crs=self.crs,
                    append=self._is_begun,
                )
        finally:
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
        self._is_begun = True

    def close(self) -> None:
        """Every call of ``write`` has ended the file."""


class GeoParquet:
    """A GeoParquet 1.1 file: WKB, a row group for each call of ``write``."""

    def __init__(self, path: Path, crs: str | None) -> None:
        self.path, self.crs = path, crs
        self._writer: pq.ParquetWriter | None = None
        self._box = np.array([np.inf, np.inf, -np.inf, -np.inf])

    def write(self, shapes: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Add polygons with their columns."""
        arrays = {name: pa.array(values) for name, values in columns.items()}
        arrays["geometry"] = pa.array(shapely.to_wkb(shapes), pa.binary())
        if not len(shapes):
            # an array of no objects does not tell what they would be
            kinds = {name: pa.string() for name, v in columns.items() if v.dtype == object}
            arrays |= {name: pa.array([], kind) for name, kind in kinds.items()}
        table = pa.table(arrays)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self._writer.write_table(table)
        if len(shapes):
            low, high = np.split(np.array(shapely.total_bounds(shapes)), 2)
            self._box = np.append(np.minimum(self._box[:2], low), np.maximum(self._box[2:], high))

    def close(self) -> None:
        """Say what the geometry is, and end the file."""
        if self._writer is None:
            return
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            # null is a CRS that is not known; without the key it would be longitude and latitude
            "crs": projjson_of(self.crs) if self.crs else None,
            "orientation": "counterclockwise",
        }
        if np.isfinite(self._box).all():
            column["bbox"] = self._box.tolist()
        facts = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        self._writer.add_key_value_metadata({"geo": json.dumps(facts)})
        self._writer.close()
        self._writer = None


KINDS = {"gpkg": GeoPackage, "parquet": GeoParquet}


def created(folder: Path, kinds: Sequence[str], crs: str | None) -> list[PolygonFile]:
    """Begin ``classes.gpkg``, ``classes.parquet`` or both in a folder."""
    return [KINDS[kind](folder / f"{LAYER}.{kind}", crs) for kind in dict.fromkeys(kinds)]
