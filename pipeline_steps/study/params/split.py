"""The ``split`` section."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import StageParams

Share = Annotated[float, Field(ge=0, le=1)]


class Shares(StageParams):
    """How much of the labelled ground each split gets; together 1."""

    train: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Share that is learned from."""

    val: Share = 0.2
    """Share on which losses are watched."""

    test: Share = 0.2
    """Share that is scored."""

    @model_validator(mode="after")
    def _whole(self) -> "Shares":
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"shares add up to {total:g}, expected 1")
        return self


class Params(StageParams):
    """How scenes whose `split` is `blocks` or `folds` are divided."""

    size: Annotated[float, Field(gt=0, le=1_000_000)] = 256.0
    """Side of a block, in `unit`; a smaller raster is one block."""

    buffer: Annotated[float, Field(ge=0, le=100_000)] = 32.0
    """Least distance between labelled pixels of different splits within a raster, in `unit`; what
    lies between is used for nothing."""

    unit: Literal["metres", "pixels"] = "metres"
    """Unit of `size` and `buffer`; images without georeference want pixels."""

    shares: Shares = Shares()
    """Shares of the splits, where there are no `folds`."""

    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    """Every block, and every scene whose split is `folds`, is tested once in so many trainings;
    null: one division by `shares`."""

    stratify: bool = True
    """Deal blocks so that the classes are spread evenly; else by their area alone."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the division."""

    @model_validator(mode="after")
    def _blocks_are_wider(self) -> "Params":
        if self.buffer > self.size / 2:
            raise ValueError(f"buffer is {self.buffer:g}, expected at most half of size")
        return self
