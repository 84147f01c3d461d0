"""What a reader of results must know of a study that no artifact tells."""

from pipeline_steps.study.params.base import StageParams


class About(StageParams):
    """What a study is called, and what its trainings see."""

    files: tuple[str, ...]
    """Names of the files that it was stated in, each laid over those before."""

    learned: tuple[str, ...]
    """The scenes that some training learns from."""

    watched: tuple[str, ...]
    """The scenes on which the losses of some training are watched."""
