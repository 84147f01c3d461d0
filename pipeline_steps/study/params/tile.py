"""The ``tile`` section."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline_steps.study.params.base import LabelValue, Rgb, StageParams

Band = Annotated[int, Field(ge=1, le=999)]


class Params(StageParams):
    """How rasters become aligned stores."""

    bands: tuple[Band, Band, Band] = (1, 2, 3)
    """The image's bands that are red, green and blue, counted from 1."""

    nodata: Annotated[int, Field(ge=0, le=255)] | None = None
    """Image value that means "no data" in all bands, where the file does not say so itself."""

    ignore_labels: tuple[LabelValue | Rgb, ...] = ()
    """Label values or RGB colours that are known and mean "not labelled"."""

    unlisted_labels: Literal["error", "ignore"] = "error"
    """What a label value or colour outside the classes and `ignore_labels` does."""

    chunk: Annotated[int, Field(ge=16, le=4096)] = 256
    """Height and width of a Zarr chunk in pixels."""
