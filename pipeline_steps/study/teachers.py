"""The teachers that a study can use: a scene's elevation, fetched networks and adapted ones."""

import dataclasses
from typing import Any

from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.overlay import file_with, overlaid
from pipeline_steps.study.params.adapt import Params as Adapt
from pipeline_steps.study.params.depth import Params as Depth
from pipeline_steps.study.params.fetch import Params as Fetch

ELEVATION = "elevation"
"""The teacher that is no network: a scene's own elevation."""

RESOLUTION = ("gsd", "resample")
"""Keys that say the same in two ways, so that one of them takes the place of the other."""


@dataclasses.dataclass(frozen=True)
class Teacher:
    """How one teacher comes into being and sees.

    ``model`` is the row of `fetch.models` that it is or starts from, None for elevation; ``adapt``
    how it learns, None where it is used as it is; ``depth`` how it looks at scenes.
    """

    model: str | None
    adapt: Adapt | None
    depth: Depth


def teachers_of(
    fetch: Fetch, adapt: Adapt, depth: Depth, config: dict[str, Any], files: list[str]
) -> dict[str, Teacher]:
    """Return every teacher by its name, with the keys of its own laid over the sections.

    Raises StudyError where names clash or lead nowhere.
    """
    where = str(files[-1]) if files else "the study"
    known = [ELEVATION, *adapt.teachers, *fetch.models]
    if len(set(known)) < len(known):
        raise StudyError(
            f"{where}: adapt.teachers and fetch.models are {', '.join(known[1:])}, expected"
            f" distinct names other than {ELEVATION!r}"
        )
    for name in depth.teachers:
        if name not in known:
            place = file_with(["depth", "teachers", name], files) or where
            raise StudyError(f"{place}: depth.teachers has {name!r}, expected {_one_of(known)}")
    found = {}
    for name in known:
        model, learns = _learning(name, fetch, adapt, config, files)
        sees = _section(Depth, "depth", depth.teachers.get(name, {}), name, config, files)
        found[name] = Teacher(model, learns, sees)
    return found


def _learning(
    name: str, fetch: Fetch, adapt: Adapt, config: dict[str, Any], files: list[str]
) -> tuple[str | None, Adapt | None]:
    if name not in adapt.teachers:
        return (None if name == ELEVATION else name), None
    stated = adapt.teachers[name]
    own = {"base": stated} if isinstance(stated, str) else dict(stated)
    base = own.pop("base", None)
    if base not in fetch.models:
        place = file_with(["adapt", "teachers", name], files) or "the study"
        raise StudyError(
            f"{place}: adapt.teachers.{name} is {base!r}, expected one of fetch.models:"
            f" {', '.join(fetch.models) or 'there is none'}"
        )
    return base, _section(Adapt, "adapt", own, name, config, files)


def _section(
    kind: type, stage: str, own: dict[str, Any], name: str, config: dict[str, Any], files: list[str]
) -> Any:
    under = f"{stage}.teachers.{name}"
    if "teachers" in own:
        place = file_with(under.split("."), files) or "the study"
        raise StudyError(
            f"{place}: {under}.teachers is not a key, expected those of {stage} but for teachers"
        )
    replaced = {"teachers"}
    if any(own.get(key) is not None for key in RESOLUTION):
        replaced |= {*RESOLUTION}
    section = (config.get(stage) or {}).items()
    return overlaid(kind, {k: v for k, v in section if k not in replaced}, own, under, files)


def _one_of(names: list[str]) -> str:
    return f"one of {', '.join(names)}"
