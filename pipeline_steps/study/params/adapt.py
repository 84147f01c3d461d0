"""The ``adapt`` section."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import Name, StageParams


class Params(StageParams):
    """How a teacher learns relative height from the training scenes' elevation."""

    teachers: dict[Name, str | dict[str, Any]] = Field({})
    """Name of the adapted teacher → the model of `fetch.models` that it starts from; or `{base:
    model}` with what differs for this teacher from the other keys of this section; its own `gsd`
    or `resample` takes the place of either."""

    scenes: tuple[str, ...] | None = None
    """Scenes to learn from, with elevation; by default all training scenes that have it. A test
    scene is refused, and by `check` one on its ground; of a divided scene only the training part
    is used."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the order of crops."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """Optimiser steps."""

    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Crops per step."""

    crop: Annotated[int, Field(ge=32, le=4096)] = 518
    """Height and width of a crop as the teacher sees it, in its own pixels."""

    gsd: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Ground sampling distance in metres at which the teacher sees every scene."""

    resample: Annotated[float, Field(gt=0, le=8)] | None = None
    """Instead of `gsd` a factor: 0.5 halves height and width. By default neither: the teacher sees
    scenes as they are."""

    photometric: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Strength of random brightness, contrast and saturation; the hue turns by a tenth of it."""

    lr: Annotated[float, Field(gt=0, le=1)] = 1e-5
    """Peak learning rate of AdamW; a short warm-up, then cosine decay to zero."""

    gradient_weight: Annotated[float, Field(ge=0, le=100)] = 0.2
    """Weight of the gradient-matching term beside (1 − Pearson's r) + mean squared error."""

    absolute_weight: Annotated[float, Field(ge=0, le=100)] = 6.0
    """Weight of the mean absolute error, reached at the last step; it grows from 0."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the hardware multiplies it."""

    @model_validator(mode="after")
    def _one_resolution(self) -> "Params":
        if self.gsd is not None and self.resample is not None:
            raise ValueError(
                f"gsd is {self.gsd} and resample {self.resample}, expected one of them"
            )
        return self
