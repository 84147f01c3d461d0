"""The ``predict`` section."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """How whole rasters are predicted by blended windows."""

    window: Annotated[int, Field(ge=32, le=8192, multiple_of=32)] = 512
    """Height and width of a window in pixels."""

    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    """Share of a window that it has in common with its neighbour."""

    batch: Annotated[int, Field(ge=1, le=1024)] = 4
    """Windows per forward pass."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the hardware multiplies it."""
