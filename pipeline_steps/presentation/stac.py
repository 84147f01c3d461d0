"""STAC items: what a delivery is, where it lies, and what its values mean."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import shapely

from pipeline_steps.rasters.place import LONGITUDE_LATITUDE, footprint, outline
from pipeline_steps.rasters.raster import Grid, crs_name, projjson_of, wkt_of
from pipeline_steps.study.classes import IGNORE, ClassLook

EXTENSIONS = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
}

GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
ASSETS: dict[str, tuple[str, str, str, list[str]]] = {
    "classes": ("classes.tif", "Class of each pixel", GEOTIFF, ["data"]),
    "confidence": (
        "confidence.tif",
        "Probability of the likeliest class in per cent",
        GEOTIFF,
        ["data", "confidence"],
    ),
    "polygons_gpkg": (
        "classes.gpkg",
        "Patches of one class",
        "application/geopackage+sqlite3",
        ["data"],
    ),
    "polygons_parquet": (
        "classes.parquet",
        "Patches of one class",
        "application/vnd.apache.parquet",
        ["data"],
    ),
    "style": ("classes.qml", "Style of the class map for QGIS", "application/xml", ["style"]),
    "areas": ("areas.csv", "Area of each class", "text/csv", ["metadata"]),
}
"""Name of an asset → its file, what it is, its media type and its roles."""

UNKNOWN = ("1900-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
"""When nothing is known of the time: an item must name an instant or an interval."""


def item(
    name: str,
    hrefs: Mapping[str, str],
    looks: Sequence[ClassLook],
    interval: tuple[str, str] | None,
    grid: Grid,
) -> dict[str, Any]:
    """Return a STAC 1.1 item of a map on ``grid``.

    ``hrefs`` says where the assets lie that there are, seen from the item. Without a CRS the item
    has no geometry. Its time is ``interval``, first and last instant.
    """
    first, last = interval or UNKNOWN
    time = {"datetime": first} if first == last else {"datetime": None}
    if first != last:
        time |= {"start_datetime": first, "end_datetime": last}
    shape = footprint(grid, wkt_of(LONGITUDE_LATITUDE)) if grid.crs else shapely.Polygon()
    # a millimetre on the ground: the last digits of a projection differ between machines
    shape = shapely.transform(shapely.orient_polygons(shape), lambda points: points.round(8))
    found: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS.values()),
        "id": name,
        "geometry": None if shape.is_empty else json.loads(shapely.to_geojson(shape)),
    }
    if not shape.is_empty:
        found["bbox"] = list(shape.bounds)
    return found | {
        "properties": time | _projection(grid),
        "links": [],
        "assets": {key: _asset(key, hrefs[key], looks) for key in ASSETS if key in hrefs},
    }


def _projection(grid: Grid) -> dict[str, Any]:
    """Return the fields of the projection extension; what has no CRS has no code."""
    found: dict[str, Any] = {
        "proj:code": None,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform),
    }
    if grid.crs is None:
        return found
    name = crs_name(grid.crs)
    is_code = re.fullmatch(r"[A-Z]+:[0-9A-Za-z]+", name)
    found |= {"proj:code": name} if is_code else {"proj:projjson": projjson_of(grid.crs)}
    ends = [(x, y) for x in (0, grid.width) for y in (0, grid.height)]
    corners = outline(grid, ends)
    return found | {"proj:bbox": [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]}


def _asset(key: str, href: str, looks: Sequence[ClassLook]) -> dict[str, Any]:
    _, title, kind, roles = ASSETS[key]
    found: dict[str, Any] = {"href": href, "title": title, "type": kind, "roles": roles}
    if key in ("classes", "confidence"):
        found |= {"data_type": "uint8", "nodata": 255}
    if key == "classes":
        found["classification:classes"] = class_descriptions(looks)
    if key == "confidence":
        found["unit"] = "%"
    return found


def class_descriptions(looks: Sequence[ClassLook]) -> list[dict[str, Any]]:
    """Return the classes as the classification extension has them, nodata last.

    A ``name`` there is for machines, of letters, digits, - and _; the study's own is the title.
    """
    slugs = [re.sub(r"[^0-9A-Za-z_-]+", "_", look.name).strip("_") for look in looks]
    found: list[dict[str, Any]] = [
        {
            "value": index,
            "name": slug if slug and slugs.count(slug) == 1 else f"class_{index}",
            "title": look.name,
            "description": look.name,
            "color_hint": look.color[1:].upper(),
        }
        for index, (look, slug) in enumerate(zip(looks, slugs, strict=True))
    ]
    nothing = {"value": IGNORE, "name": "nodata", "title": "no data", "description": "no data"}
    return [*found, nothing | {"nodata": True}]
