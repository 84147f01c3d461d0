"""The ``depth`` section."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import Name, Percent, StageParams


class Params(StageParams):
    """How a teacher's windows become one seamless field of relative height."""

    teachers: dict[Name, dict[str, Any]] = Field({})
    """Name of a teacher → what differs for it from the other keys of this section; its own `gsd` or
    `resample` takes the place of either."""

    window: Annotated[int, Field(ge=32, le=8192)] = 518
    """Height and width of a window as the teacher sees it, in its own pixels."""

    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    """Share of a window that it has in common with its neighbour."""

    gsd: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Ground sampling distance in metres at which the teacher sees every scene."""

    resample: Annotated[float, Field(gt=0, le=8)] | None = None
    """Instead of `gsd` a factor: 0.5 halves height and width. By default neither: a teacher sees
    what it was adapted at, others the scene as it is."""

    batch: Annotated[int, Field(ge=1, le=1024)] = 4
    """Windows that are under way at a time; on a GPU more may be faster. A CPU sees large ones one
    by one."""

    turns: bool = False
    """Average what the teacher says of a window flipped and turned in all eight ways: eight times
    the work, and no side is "nearer" than the other."""

    align: bool | None = None
    """Fit every window's scale and shift to its neighbours before blending. By default unless the
    teacher was adapted: its windows have learned one scale, and a fit would but add noise."""

    anchor: bool = True
    """Let one coarse look at the whole scene keep the alignment from drifting."""

    blend: Literal["hann", "gaussian", "mean", "nearest"] = "hann"
    """How overlapping windows share a pixel: `hann` and `gaussian` fade from one to the next, with
    `mean` all count the same, and `nearest` takes one, which shows how well they are aligned."""

    ground: Literal["none", "plane", "morphological"] = "none"
    """What is taken off: a plane, or the ground as an opening finds it."""

    ground_window: Annotated[float, Field(gt=0, le=100_000)] = 60.0
    """Side of the opening, wider than the widest building: metres, or pixels where a scene has no
    georeference."""

    percentiles: tuple[Percent, Percent] = (2.0, 98.0)
    """Percentiles that become 0 and 1; each raster of a folder has its own."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the hardware multiplies it."""

    backend: Literal["torch", "openvino"] = "torch"
    """What runs the network on a CPU; `openvino` is an extra to install, and faster."""

    compile: bool = False
    """Compile the network first (torch, needs a C compiler): a minute that large scenes repay."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "Params":
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError(f"percentiles is {self.percentiles}, expected the smaller one first")
        if self.gsd is not None and self.resample is not None:
            raise ValueError(
                f"gsd is {self.gsd} and resample {self.resample}, expected one of them"
            )
        if self.backend == "openvino" and self.compile:
            raise ValueError("compile is true, expected false: openvino compiles by itself")
        return self
