"""The ``depth`` section."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import Percent, StageParams


class Params(StageParams):
    """How a teacher's windows become one seamless field of relative height."""

    window: Annotated[int, Field(ge=32, le=8192)] = 518
    """Height and width of a window in pixels of the scene, before `resample`."""

    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    """Share of a window that it has in common with its neighbour."""

    resample: Annotated[float, Field(gt=0, le=8)] = 1.0
    """Factor by which images are resampled before the teacher sees them; 0.5 halves them."""

    batch: Annotated[int, Field(ge=1, le=1024)] = 4
    """Windows per forward pass."""

    align: bool = True
    """Fit every window's scale and shift to its neighbours before blending."""

    percentiles: tuple[Percent, Percent] = (2.0, 98.0)
    """Percentiles of a raster that become 0 and 1."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the hardware multiplies it."""

    @model_validator(mode="after")
    def _percentiles_in_order(self) -> "Params":
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError(f"percentiles is {self.percentiles}, expected the smaller one first")
        return self
