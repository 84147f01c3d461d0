"""The ``predict`` section."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import StageParams

Scale = Annotated[float, Field(ge=0.25, le=4)]
Output = Literal["confidence", "entropy", "disagreement", "depth", "probabilities"]


class Params(StageParams):
    """How whole rasters are predicted by blended windows."""

    window: Annotated[int, Field(ge=32, le=8192, multiple_of=32)] = 512
    """Height and width of a window in pixels."""

    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    """Share of a window that it has in common with its neighbour."""

    blend: Literal["hann", "gaussian", "mean", "nearest"] = "hann"
    """How overlapping windows share a pixel: `hann` and `gaussian` fade from one to the next, with
    `mean` all count the same, and `nearest` takes one, its neighbours' edges cropped away."""

    halo: Annotated[int, Field(ge=0, le=4096)] = 0
    """Pixels along a window's edges that are not looked at, but at the raster's own edge; 0 where
    `blend` is `nearest`, which crops by itself."""

    batch: Annotated[int, Field(ge=1, le=1024)] = 4
    """Windows per forward pass."""

    turns: bool = False
    """See every window flipped and turned in all eight ways, and take the mean."""

    scales: Annotated[tuple[Scale, ...], Field(min_length=1, max_length=8)] = (1.0,)
    """Sizes at which every window is seen, as a share of its own; the mean is taken."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the hardware multiplies it."""

    backend: Literal["torch", "openvino"] = "torch"
    """What runs the network; openvino is faster on a CPU, and to be installed beside."""

    compile: bool = False
    """Compile torch's network when it first runs; needs a C compiler."""

    outputs: tuple[Output, ...] = ("confidence",)
    """Maps beside that of the classes: `confidence`, the probability of the likeliest class, and
    `entropy`, of all of them, as a share of the most it can be, in per cent; `disagreement`, the
    standard deviation of what windows, views and networks say, in per cent; `depth` as the network
    predicts it, without data where it predicts none; `probabilities` of all classes, as Zarr."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "Params":
        common = self.window - max(1, int(self.window * (1 - self.overlap)))
        if 2 * self.halo > common:
            raise ValueError(
                f"halo is {self.halo}, expected {common // 2} or less, half of what windows of"
                f" {self.window} with an overlap of {self.overlap} have in common"
            )
        if self.halo and self.blend == "nearest":
            raise ValueError(
                f"halo is {self.halo}, expected 0 with blend nearest: it crops mid-overlap"
            )
        for name in ("scales", "outputs"):
            stated = list(getattr(self, name))
            if len(set(stated)) < len(stated):
                raise ValueError(f"{name} is {stated}, expected each once")
        return self
