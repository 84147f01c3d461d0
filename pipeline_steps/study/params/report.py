"""The ``report`` section."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """What the report shows."""

    panel_px: Annotated[int, Field(ge=64, le=4096)] = 512
    """Longest side of one picture in a figure, in pixels; larger scenes are sampled down."""

    viewer_px: Annotated[int, Field(ge=64, le=8192)] = 1024
    """Longest side of a layer in the page's viewer, in pixels."""

    viewer_megapixels: Annotated[float, Field(ge=1, le=2000)] = 100.0
    """Megapixels of all layers in the viewer together: where there are more, all are sampled down,
    if not below 64 pixels a side. A megapixel takes 0.25 MB of the page in the demo, and where all
    of it is noise 1.4; figures, at most 24 of a kind, are as large as their files, and a third."""

    viewer_rasters: Annotated[int, Field(ge=1, le=200)] = 6
    """Images that the viewer shows of a scene of many, at most: first those with the worst and the
    best blocks. Fewer, where all pictures would be smaller than 256 pixels."""

    dpi: Annotated[int, Field(ge=50, le=600)] = 110
    """Resolution of the figures."""

    formats: tuple[Literal["pdf", "svg"], ...] = ("pdf",)
    """What figures are written as beside PNG."""
