"""The ``synthesize`` section."""

from typing import Annotated

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """The demo's towns: drawn scenes with known classes and heights. Leave out for real imagery."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the whole demo; each scene mixes its own name into it."""

    size: Annotated[int, Field(ge=64, le=16384)] = 1024
    """Height and width of a scene in pixels."""

    gsd: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Ground sampling distance in metres per pixel."""

    shared_materials: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of roofs, plazas and roads coloured from one palette that all three use."""
