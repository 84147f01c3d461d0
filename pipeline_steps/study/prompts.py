"""What prompts an experiment's network: whether depth does, and whose."""

from pipeline_steps.study.params.base import StageParams


class Prompts(StageParams):
    """What a reader of scores must know of an experiment."""

    experiment: str
    """Its name."""

    is_prompted: bool
    """Whether its network has depth prompts."""

    teacher: str | None = None
    """Whose depth the network learns from or is fed; None where it is prompted by no teacher."""

    is_elevation: bool = False
    """Whether that teacher is no network, but a scene's own elevation."""

    is_fed: bool = False
    """Whether the teacher's depth is fed to the network, rather than a label in training."""
