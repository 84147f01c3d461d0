"""The ``tabulate`` section."""

from typing import Annotated

from pydantic import Field

from pipeline_steps.study.params.base import StageParams


class Params(StageParams):
    """How tables are printed."""

    digits: Annotated[int, Field(ge=1, le=10)] = 3
    """Digits behind the point in Markdown, LaTeX and HTML; CSV keeps all."""
