"""The ``fetch`` section."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import Name, StageParams


class Model(StageParams):
    """One row of the model table: where a network's weights come from."""

    source: Annotated[str, Field(min_length=1)] | None = None
    """A model id on the hub (`owner/name`); or a folder in the hub's layout; or one file: `.pth`,
    or `.safetensors` with its `config.json` beside it. Nothing is unpickled but tensors."""

    file: Annotated[str, Field(min_length=1)] | None = None
    """The weights' file in `source`, where it is not called as the hub's layout has it, such as
    `depth_anything_v2_vits.pth`."""

    revision: Annotated[str, Field(min_length=1)] = "main"
    """Commit of the hub's repository; pin it to a full hash for a study that can be repeated: the
    log of `fetch` has the lines."""

    sha256: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field({})
    """File name → SHA-256 that it must have, as it is fetched: of a `.pth`, not of what it
    becomes."""

    license: Annotated[str, Field(min_length=1)] | None = None
    """Licence of the weights, as SPDX writes it; by default the one known for `source`, or what the
    hub's model card says. Stating it fetches nothing anew."""

    checkpoint: Literal["depth_anything_v1", "depth_anything_v2", "dinov2"] | None = None
    """What weights of the original code (`.pth`) are; by default told by their names and that of
    their file. Depth Anything V1 and V2 differ in nothing but the blocks that are tapped."""

    gives: Literal["inverse_depth", "depth", "height"] | None = None
    """What a teacher's output means; by default what its architecture is known to give."""

    architecture: dict[str, Any] | None = None
    """Instead of `source`: the config of a depth network of transformers, by default Depth Anything
    (`model_type` says which), drawn with random weights."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the random weights that `architecture` draws."""

    @model_validator(mode="after")
    def _one_origin(self) -> "Model":
        if (self.source is None) == (self.architecture is None):
            raise ValueError("expected exactly one of source and architecture")
        if self.source is None and (self.file or self.checkpoint):
            raise ValueError("file or checkpoint is stated without source, expected a source")
        return self


class Params(StageParams):
    """The networks that a study uses, by the name it calls them."""

    models: dict[Name, Model] = Field({})
    """Model table: a name → its origin."""
