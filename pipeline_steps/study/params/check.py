"""The ``check`` section."""

from typing import Annotated

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """What is looked at before any hour is spent."""

    samples: Annotated[int, Field(ge=0, le=10_000)] = 16
    """Windows of 64 pixels read from each label raster to look for values outside the classes."""
