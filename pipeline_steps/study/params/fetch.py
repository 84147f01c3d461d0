"""The ``fetch`` section."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import Name, StageParams


class Model(StageParams):
    """One row of the model table: where a network's weights come from."""

    source: Annotated[str, Field(min_length=1)] | None = None
    """A model id on the hub (`owner/name`), or a folder in the hub's layout with safetensors."""

    revision: Annotated[str, Field(min_length=1)] = "main"
    """Commit of the hub's repository; pin it to a full hash for a study that can be repeated."""

    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field({})
    """File name → SHA-256 that it must have."""

    license: Annotated[str, Field(min_length=1)] | None = None
    """Licence of the weights, as SPDX writes it; by default the one known for `source`."""

    architecture: dict[str, Any] | None = None
    """Instead of `source`: a transformers Depth Anything config, drawn with random weights."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the random weights that `architecture` draws."""

    @model_validator(mode="after")
    def _one_origin(self) -> "Model":
        if (self.source is None) == (self.architecture is None):
            raise ValueError("expected exactly one of source and architecture")
        return self


class Params(StageParams):
    """The networks that a study uses, by the name it calls them."""

    models: dict[Name, Model] = Field({})
    """Model table: a name → its origin."""
