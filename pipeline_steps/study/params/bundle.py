"""The ``bundle`` section."""

from typing import Annotated

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """What a trained network that leaves its study is given along."""

    gsd_factor: Annotated[float, Field(ge=1, le=100)] = 1.5
    """How many times finer or coarser than the training scenes an image may be that is mapped with
    it: networks learn sizes in pixels."""
