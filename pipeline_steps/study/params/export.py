"""The ``export`` section."""

from typing import Annotated

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """What other runtimes get of a trained network."""

    window: Annotated[int, Field(ge=32, le=8192, multiple_of=32)] | None = None
    """Height and width in pixels of what the exported network sees, whose batches may have any
    length; by default `predict.window`."""

    openvino: bool = False
    """OpenVINO's own format beside ONNX; needs `pip install "depthseg[openvino]"`."""
