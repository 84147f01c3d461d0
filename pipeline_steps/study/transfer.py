"""What a reader of scores must know of domains: who learned from which, and who is at home."""

from pipeline_steps.study.params.base import StageParams


class Target(StageParams):
    """A domain that is tested on."""

    domain: str
    """Its name."""

    scenes: tuple[str, ...]
    """Its test scenes."""

    classes: tuple[str, ...]
    """The classes that its labels tell apart."""


class Learner(StageParams):
    """An experiment."""

    experiment: str
    """Its name."""

    system: str
    """What experiments are called together whose settings are the same but for their domains."""

    source: tuple[str, ...]
    """The domains that it learned from."""

    at_home: dict[str, str]
    """Target → the experiment of the same system that learned from that domain alone."""


class Transfer(StageParams):
    """Targets and experiments, in the order that tables shall have."""

    targets: tuple[Target, ...]
    """The domains that are tested on."""

    learners: tuple[Learner, ...]
    """All experiments."""
