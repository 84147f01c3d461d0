"""Which experiments are tried on corrupted images, and on which scenes."""

from pipeline_steps.study.config import Loaded
from pipeline_steps.study.runs import Run
from pipeline_steps.study.teachers import ELEVATION


def tried(study: Loaded) -> list[str]:
    """Return the experiments that nothing but the image and true elevation is fed when they map.

    Depth by a network was made of the clean image: who is fed it would see past the corruption.
    """

    def is_fair(experiment: str) -> bool:
        runs = study.runs(experiment)
        return all(teacher == ELEVATION for run in runs for teacher in study.fed(experiment, run))

    return [experiment for experiment in study.experiments if is_fair(experiment)]


def corruptions(study: Loaded) -> list[tuple[str, Run, str]]:
    """Return experiment, run and scene of each job of `corrupt`; none without that section."""
    if study.config.corrupt is None:
        return []
    chosen, fair = study.config.corrupt.scenes, tried(study)
    return [
        (experiment, run, scene)
        for experiment, run in study.all_runs()
        if experiment in fair
        for scene in study.split("test", fold=run.fold)
        if chosen is None or scene in chosen
    ]
