"""The ``stretch`` section."""

from pydantic import model_validator

from pipeline_steps.study.params.base import Percent, PixelValue, StageParams


class Params(StageParams):
    """Which image values become 0 and 1: the same in training and in prediction.

    Without `percentiles` and `limits` 8-bit images go from 0 to 255, and others are refused.
    """

    percentiles: tuple[Percent, Percent] | None = None
    """Percentiles of each band over the training scenes, without nodata, that become 0 and 1."""

    limits: tuple[tuple[PixelValue, PixelValue], ...] | None = None
    """Values that become 0 and 1: a pair for each of `tile.bands`, or one pair for all."""

    @model_validator(mode="after")
    def _one_way(self) -> "Params":
        if self.percentiles is not None and self.limits is not None:
            raise ValueError("percentiles and limits are both given, expected one of them")
        pairs = [*([self.percentiles] if self.percentiles else []), *(self.limits or [])]
        for low, high in pairs:
            if low >= high:
                raise ValueError(f"a pair is [{low:g}, {high:g}], expected ascending values")
        if self.limits == ():
            raise ValueError("limits is [], expected at least one pair")
        return self
