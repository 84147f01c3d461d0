"""What `snakemake map` is told on the command line."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline_steps.study.params.deliver import Params as Deliver
from pipeline_steps.study.params.deliver import Polygons
from pipeline_steps.study.params.predict import Params as Predict


class Params(Predict):
    """How one image is mapped: as the bundle's study makes maps, but for what is stated."""

    gsd: Literal["any"] | None = None
    """`any` maps an image that is much finer or coarser than the training scenes, too."""


class Command(Params):
    """All that is stated with ``--config``."""

    image: Annotated[str, Field(min_length=1)]
    """A raster, or a pattern for many, relative to the working directory."""

    checkpoint: Annotated[str, Field(min_length=1)]
    """The folder of a bundle, or several with commas between, which are one ensemble."""

    out: Annotated[str, Field(min_length=1)] | None = None
    """The folder that maps come into; by default `results/map/<name of the image>`."""

    deliver: Deliver = Deliver(polygons=Polygons())
    """What `deliver_map` makes of the maps, as in a study; by default all, polygons too."""

    @field_validator("image", "checkpoint", "out")
    @classmethod
    def _is_no_wildcard(cls, value: str | None) -> str | None:
        if value and set(value) & set("{}"):
            raise ValueError(
                f"it is {value!r}, expected a path without braces, which Snakemake takes for"
                " wildcards"
            )
        return value
