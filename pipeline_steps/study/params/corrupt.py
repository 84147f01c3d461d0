"""The ``corrupt`` section."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import Name, StageParams

Kind = Literal["haze", "shadow", "sun", "season", "noise", "blur", "gsd", "jpeg"]
Severity = Annotated[int, Field(ge=1, le=5)]


class Params(StageParams):
    """How test scenes are corrupted, to see which networks hold up."""

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = (
        *("haze", "shadow", "sun", "season"),
        *("noise", "blur", "gsd", "jpeg"),
    )
    """What is done to the image: a veil of haze; deeper shadows; a lower sun with longer ones, of
    scenes with elevation and a georeference; vegetation turned brown; a sensor's noise; blur; wider
    pixels; JPEG."""

    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] = (1, 2, 3, 4, 5)
    """How much of it, from hardly visible to hardly usable."""

    scenes: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """The test scenes that are corrupted; by default all of them."""

    @model_validator(mode="after")
    def _each_once(self) -> "Params":
        for name in ("kinds", "severities", "scenes"):
            stated = list(getattr(self, name) or ())
            if len(set(stated)) < len(stated):
                raise ValueError(f"{name} is {stated}, expected each once")
        if list(self.severities) != sorted(self.severities):
            raise ValueError(f"severities is {list(self.severities)}, expected ascending numbers")
        return self
