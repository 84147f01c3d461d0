"""The ``check`` section."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """What is looked at before any hour is spent."""

    samples: Annotated[int, Field(ge=0, le=10_000)] = 16
    """Windows read from each raster to look for nodata and label values; small rasters are read
    whole."""

    rasters: Annotated[int, Field(ge=0, le=1_000_000)] = 24
    """Rasters of each scene that are sampled, evenly spread; every other is opened only."""

    overlap: Annotated[float, Field(ge=0, le=100)] = 90.0
    """Least share of an image, in per cent, that its labels and elevation must cover."""

    orientation: Literal["error", "warning"] = "error"
    """What labels do whose borders follow their image's edges better when turned or mirrored."""

    leak: Literal["error", "warning"] = "error"
    """What ground that training and test scenes share does; neighbours are a warning anyway."""

    distance: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    """Metres between training and test scenes below which they count as neighbours."""
