"""The ``score`` section."""

from typing import Annotated

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """How a map is compared with labels."""

    boundary_iou_px: Annotated[int, Field(ge=0, le=64)] = 3
    """Width in pixels of the rim of every class that boundary IoU compares; 0: none."""

    block_px: Annotated[int, Field(ge=64, le=65536)] = 512
    """Side of the blocks that a scene is resampled by, to tell how sure a difference is; of a scene
    of many images each image is a block. A large raster has larger ones: at most 400."""
