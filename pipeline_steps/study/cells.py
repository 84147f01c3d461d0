"""An experiment that a grid stands for."""

from pipeline_steps.study.params.base import StageParams


class Cell(StageParams):
    """What a reader of scores must know of an experiment of a grid."""

    experiment: str
    """Its name."""

    grid: str
    """The entry of `experiments` that has the grid."""

    values: dict[str, str]
    """Axis → value, in the grid's order."""
