"""The ``strata`` section."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import StageParams

Reach = Annotated[int, Field(ge=1, le=64)]
Metres = Annotated[float, Field(ge=-1000, le=10_000)]


class Params(StageParams):
    """The kinds of ground that maps are scored on apart."""

    boundary_px: Annotated[tuple[Reach, ...], Field(max_length=8)] = (1, 3, 5, 10)
    """Half-widths in pixels of bands along the boundaries of labels, each within the next; none
    for no band."""

    shadow: bool = True
    """Whether shadow is told from light, by the image's luminance."""

    height_m: Annotated[tuple[Metres, ...], Field(max_length=8)] = (2.0, 5.0, 10.0, 20.0)
    """Where bins of height above ground end, in metres, of scenes that have elevation; none for no
    bin."""

    @model_validator(mode="after")
    def _ascending(self) -> "Params":
        for name in ("boundary_px", "height_m"):
            values = getattr(self, name)
            if any(a >= b for a, b in pairwise(values)):
                raise ValueError(f"{name} is {list(values)}, expected ascending values")
        if self.shadow and (len(self.boundary_px) + 1) * 2 * (len(self.height_m) + 2) > 256:
            raise ValueError("boundary_px and height_m make more than 256 kinds, expected fewer")
        return self
