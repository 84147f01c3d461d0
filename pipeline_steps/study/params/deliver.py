"""The ``deliver`` section."""

import datetime as clock
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline_steps.study.params.base import StageParams

WHOLE_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Polygons(StageParams):
    """How patches of one class become polygons."""

    files: Annotated[tuple[Literal["gpkg", "parquet"], ...], Field(min_length=1)] = (
        "gpkg",
        "parquet",
    )
    """What is written: a GeoPackage, GeoParquet or both."""

    minimum_area: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    """The minimum mapping unit in m² of ground, or pixels without a CRS: a smaller patch takes the
    class with which it shares the longest border, counted in sides of pixels, and becomes one patch
    with those neighbours; the smallest comes first. What nothing but nodata surrounds stays as it
    is. 0 leaves all patches."""

    simplify: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """How far borders are simplified, in metres of ground at the raster's centre, or pixels without
    a CRS: a corner goes if the triangle with its neighbours is smaller than the square of this.
    Patches still share exactly the same borders. 0 leaves the steps of pixels."""

    corners: Annotated[int, Field(ge=1000, le=10**9)] = 1_000_000
    """Corners that unfinished polygons may have together, which bounds memory. Where they have
    more, the largest are cut along a row of pixels, and parts of them are polygons of their own."""


class Params(StageParams):
    """What a delivery of a scene is made of."""

    maps: bool = True
    """Copies of all maps of the scene, so that the folder can be passed on alone."""

    style: bool = True
    """`classes.qml`, which QGIS reads beside `classes.tif`, `classes.gpkg` and `classes.parquet`:
    names and colours of the classes."""

    areas: bool = True
    """`areas.csv`: hectares of each class, or pixels without a CRS, its share and confidence."""

    item: bool = True
    """`item.json`: a STAC item of the scene and all files of its delivery."""

    polygons: Polygons | None = None
    """`classes.gpkg` and `classes.parquet`: a polygon for each patch of one class, with its area
    and mean confidence. Null writes none."""

    datetime: Annotated[str, Field(min_length=10, max_length=60)] | None = None
    """When the images were taken, for the STAC item: a day, an instant such as
    `2021-06-01T10:30:00Z`, or two of them with a `/` between. By default unknown, which a STAC item
    can but say as an interval, 1900 to 9999."""

    @field_validator("datetime")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None:
            times = [_instant(part, place > 0) for place, part in enumerate(value.split("/"))]
            if len(times) > 2 or times != sorted(times):
                raise ValueError(f"it is {value!r}, expected one time, or a first and a last one")
        return value

    @model_validator(mode="after")
    def _is_something(self) -> "Params":
        if not (self.maps or self.style or self.areas or self.item or self.polygons):
            raise ValueError("nothing is asked for, expected at least one kind of file, or null")
        return self

    @property
    def interval(self) -> tuple[str, str] | None:
        """Return the first and the last instant as RFC 3339 in UTC; None where they are unknown."""
        if self.datetime is None:
            return None
        first, *last = self.datetime.split("/")
        return _instant(first, False), _instant(last[0] if last else first, True)


def _instant(text: str, is_end: bool) -> str:
    """Return a day's first or last second, or an instant, as RFC 3339 in UTC."""
    try:
        if WHOLE_DAY.fullmatch(text):
            text = f"{text}T{'23:59:59' if is_end else '00:00:00'}Z"
        found = clock.datetime.fromisoformat(text)
        # in UTC it may be before the first year, or after the last one
        instant = found.astimezone(clock.UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        instant = None
    if instant is None:
        raise ValueError(
            f"it is {text!r}, expected a day such as 2021-06-01, or an instant with its zone, such"
            " as 2021-06-01T10:30:00Z"
        )
    return f"{instant.replace(microsecond=0, tzinfo=None).isoformat()}Z"
