"""The ``adapt`` section."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline_steps.study.params.base import Name, StageParams


class Params(StageParams):
    """How a teacher learns relative height from the training scenes' elevation."""

    teachers: dict[Name, str] = Field({})
    """Name of the adapted teacher → the model of `fetch.models` that it starts from."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the order of crops."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 2000
    """Optimiser steps."""

    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Crops per step."""

    crop: Annotated[int, Field(ge=32, le=4096)] = 518
    """Height and width of a crop in pixels of the scene, before `resample`."""

    resample: Annotated[float, Field(gt=0, le=8)] = 1.0
    """Factor by which images are resampled before the teacher sees them; 0.5 halves them."""

    lr: Annotated[float, Field(gt=0, le=1)] = 1e-5
    """Peak learning rate of AdamW; a short warm-up, then cosine decay to zero."""

    gradient_weight: Annotated[float, Field(ge=0, le=100)] = 0.25
    """Weight of the gradient-matching term beside (1 − Pearson's r) + 2 · MSE."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the hardware multiplies it."""
