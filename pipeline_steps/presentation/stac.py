"""STAC items: what a delivery is, where it lies, and what its values mean."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import shapely

from pipeline_steps.rasters.place import on_the_globe, outline
from pipeline_steps.rasters.raster import Grid, crs_name, projjson_of
from pipeline_steps.study.classes import IGNORE, ClassLook

EXTENSIONS = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
}

GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
ZARR = "application/vnd.zarr; version=2"
BYTES = {"data_type": "uint8", "nodata": IGNORE}
PERCENT = BYTES | {"unit": "%"}


class Asset(NamedTuple):
    """A kind of file, or of store, in a delivery."""

    file: str
    title: str
    media_type: str
    roles: Sequence[str]
    facts: Mapping[str, Any] = {}


MAPS = {
    "classes": Asset("classes.tif", "Class of each pixel", GEOTIFF, ["data"], BYTES),
    "confidence": Asset(
        "confidence.tif",
        "Probability of the likeliest class in per cent",
        GEOTIFF,
        ["data", "confidence"],
        PERCENT,
    ),
    "entropy": Asset(
        "entropy.tif",
        "Entropy of the probabilities in per cent of the most it can be",
        GEOTIFF,
        ["data", "uncertainty"],
        PERCENT,
    ),
    "disagreement": Asset(
        "disagreement.tif",
        "Standard deviation between windows, views and networks in per cent",
        GEOTIFF,
        ["data", "uncertainty"],
        PERCENT,
    ),
    "depth": Asset(
        "depth.tif",
        "Relative height as predicted",
        GEOTIFF,
        ["data"],
        {"data_type": "float32", "nodata": "nan"},
    ),
    "probabilities": Asset(
        "probabilities.zarr", "Probability of each class: 254 is 1", ZARR, ["data"], BYTES
    ),
}
"""What ``predict`` makes of a scene, by name."""

PATCHES = "Patches of one class"
ASSETS = MAPS | {
    "polygons_gpkg": Asset("classes.gpkg", PATCHES, "application/geopackage+sqlite3", ["data"]),
    "polygons_parquet": Asset(
        "classes.parquet", PATCHES, "application/vnd.apache.parquet", ["data"]
    ),
    "style": Asset(
        "classes.qml", "Style of map and polygons for QGIS", "application/xml", ["style"]
    ),
    "areas": Asset("areas.csv", "Area of each class", "text/csv", ["metadata"]),
}
"""All that a delivery can have, by the name that an item gives it."""

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
    shape, bounds = on_the_globe(grid) if grid.crs else (shapely.Polygon(), [])
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
        found["bbox"] = [round(bound, 8) for bound in bounds]
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
    asset = ASSETS[key]
    found = {"href": href, "title": asset.title, "type": asset.media_type}
    found |= {"roles": list(asset.roles)} | asset.facts
    if key == "classes":
        found["classification:classes"] = class_descriptions(looks)
    if key == "probabilities":
        known = class_descriptions(looks)[:-1]
        found["bands"] = [{"name": one["name"], "description": one["title"]} for one in known]
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
