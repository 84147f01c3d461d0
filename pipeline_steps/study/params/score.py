"""The ``score`` section."""

from typing import Annotated

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """What a map is compared by."""

    boundary_px: Annotated[int, Field(ge=0, le=64)] = 3
    """Half-width in pixels of the band along label boundaries that is counted apart; 0: no band."""
