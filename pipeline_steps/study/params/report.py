"""The ``report`` section."""

from typing import Annotated

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """What the report shows."""

    panel_px: Annotated[int, Field(ge=64, le=4096)] = 512
    """Longest side of one picture in a figure, in pixels; larger scenes are sampled down."""

    dpi: Annotated[int, Field(ge=50, le=600)] = 110
    """Resolution of the figures."""
