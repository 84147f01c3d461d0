"""Domains: the data sets, regions or sensors of one study, and how the files of each are read."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

from pydantic import Field

from pipeline_steps.study.classes import ClassCode, ClassSpec, check_labels
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.overlay import file_with, overlaid
from pipeline_steps.study.params.base import StageParams
from pipeline_steps.study.params.tile import Params as Tile

OF_ALL = ("bands", "rgb")
"""Keys of `tile` that a domain shares with all others: one network sees them all."""


class Domain(StageParams):
    """How the scenes of one domain are read, where that differs from the rest of the study."""

    classes: Annotated[tuple[ClassCode, ...], Field(min_length=1)] | None = None
    """What its labels mean, written as in the study's `classes`; a class that is not here is not
    labelled in this domain. By default labels mean what the study's `classes` say."""

    tile: dict[str, Any] = Field({})
    """What differs in `tile`, key by key; `bands` and `rgb` do not."""


class Reading(StageParams):
    """How files of scenes are read."""

    classes: tuple[ClassCode, ...]
    """Every class of the study with its labels; one that is not labelled has none."""

    tile: Tile
    """The rest."""


def readings_of(
    known: Sequence[str],
    domains: Mapping[str, Domain],
    classes: Sequence[ClassSpec],
    config: Mapping[str, Any],
    files: list[str],
) -> dict[str, Reading]:
    """Return how scenes are read, by their domain; those of a study without any are of "".

    ``known`` are the domains of the scene table, ``config`` is what the study states. Raises
    StudyError, whose text is one line with file, key, value and what was expected.
    """
    for name in domains:
        if name not in known:
            expected = ", ".join(known) or "its column domain is empty"
            _refuse(files, "domains", f"has {name!r}, expected domains of the scenes: {expected}")
    names = known or [""]
    return {
        name: _reading(name, domains.get(name, Domain()), classes, config, files) for name in names
    }


def _reading(
    name: str,
    domain: Domain,
    classes: Sequence[ClassSpec],
    config: Mapping[str, Any],
    files: list[str],
) -> Reading:
    key = f"domains.{name}"
    for shared in OF_ALL:
        if shared in domain.tile:
            what = f"has {shared!r}, expected keys that domains do not share, as they do"
            _refuse(files, f"{key}.tile", f"{what} {' and '.join(OF_ALL)}")
    tile = overlaid(Tile, config.get("tile") or {}, domain.tile, f"{key}.tile", files)
    codes = [one.code for one in classes]
    if domain.classes is not None:
        own = {one.name: one for one in domain.classes}
        codes = [own.get(one.name, ClassCode(name=one.name)) for one in classes]
    if not any(one.keys for one in codes):
        _refuse(files, key, "has no classes, expected them, since the study's have no labels")
    if name:
        try:
            check_labels(domain.classes or codes, tile.ignore_labels, f"{key}.")
        except ValueError as error:
            place = file_with([*key.split("."), "classes"], files) or "the study"
            raise StudyError(f"{place}: {error}") from None
    return Reading(classes=tuple(codes), tile=tile)


def _refuse(files: list[str], key: str, what: str) -> NoReturn:
    raise StudyError(f"{file_with(key.split('.'), files) or 'the study'}: {key} {what}")
