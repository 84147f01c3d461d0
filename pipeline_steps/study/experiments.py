"""What is compared: the entries of `experiments`, and all that a grid among them stands for."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NoReturn

from pydantic import Field, model_validator

from pipeline_steps.study.cells import Cell
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.overlay import file_with, merged
from pipeline_steps.study.params.base import StageParams
from pipeline_steps.study.variants import BUILT_IN, Variants

COLUMNS = ("grid", "experiment", "seeds", "miou", "kappa", "oa", "delta_miou")
"""What the table of ablations calls its other columns."""

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)]


class Experiment(StageParams):
    """One row of the tables, or with a grid a row for each of its combinations."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    """One training for each; the tables give mean and standard deviation over them."""

    train: dict[str, Any] = Field({})
    """What this experiment overrides in `train`, key by key; a network of another `model` begins
    anew."""

    grid: (
        Annotated[dict[Slug, Annotated[tuple[Slug, ...], Field(min_length=1)]], Field(min_length=1)]
        | None
    ) = None
    """Axis → values: the entry then stands for all combinations, each an experiment
    `<entry>-<value>-<value>…`. `variants` say what a value means."""

    @model_validator(mode="after")
    def _distinct(self) -> "Experiment":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {list(self.seeds)}, expected each seed once")
        return self


@dataclasses.dataclass(frozen=True)
class Planned:
    """One experiment, with the grid that it is of, if any.

    ``layers`` are its overrides of `train` in order, each beside the key that it stands under. An
    ensemble has none, but the names of the experiments whose networks it maps with.
    """

    seeds: tuple[int | None, ...]
    layers: tuple[tuple[str, dict[str, Any]], ...]
    cell: Cell | None = None
    ensemble: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return where the study states its overrides, or its grid's."""
        return self.layers[0][0]


def expanded(
    experiments: Mapping[str, Experiment],
    ensembles: Mapping[str, tuple[str, ...]],
    variants: Variants,
    files: list[str],
) -> dict[str, Planned]:
    """Return every experiment by its name; a grid's are named after it and their values.

    Ensembles come last. Raises StudyError where an axis, a value or what an ensemble is of is not
    known, or two experiments have one name.
    """
    known = merged(BUILT_IN, variants)
    found: dict[str, Planned] = {}
    for entry, stated in experiments.items():
        for name, planned in _planned(entry, stated, known, files):
            if name in found:
                key = f"experiments.{entry}" + (".grid" if stated.grid else "")
                _refuse(files, key, f"gives {name!r} a second time, expected distinct names")
            found[name] = planned
    together = {name: _together(name, of, found, files) for name, of in ensembles.items()}
    return found | together


def _together(
    name: str, members: tuple[str, ...], known: Mapping[str, Planned], files: list[str]
) -> Planned:
    """Return an ensemble; of all seeds it is one run, and so has none."""
    key = f"ensembles.{name}"
    if name in known:
        _refuse(files, key, "is an experiment's name too, expected distinct names")
    for member in members:
        if member not in known:
            _refuse(files, key, f"has {member!r}, expected experiments: {', '.join(known)}")
    if len(set(members)) < len(members):
        _refuse(files, key, f"is {list(members)}, expected each experiment once")
    return Planned((None,), (), ensemble=members)


def _planned(
    entry: str, stated: Experiment, known: Variants, files: list[str]
) -> Iterator[tuple[str, Planned]]:
    base = (f"experiments.{entry}.train", stated.train)
    if stated.grid is None:
        yield entry, Planned(stated.seeds, (base,))
        return
    _all_known(entry, stated.grid, known, files)
    for values in itertools.product(*stated.grid.values()):
        name, chosen = "-".join([entry, *values]), dict(zip(stated.grid, values, strict=True))
        layers = [
            (f"variants.{axis}.{value}", known[axis][value]) for axis, value in chosen.items()
        ]
        cell = Cell(experiment=name, grid=entry, values=chosen)
        yield name, Planned(stated.seeds, (base, *layers), cell)


def _all_known(
    entry: str, grid: Mapping[str, tuple[str, ...]], known: Variants, files: list[str]
) -> None:
    key = f"experiments.{entry}.grid"
    for axis, values in grid.items():
        if axis not in known:
            _refuse(files, key, f"has axis {axis!r}, expected one of {', '.join(known)}")
        if axis in COLUMNS or axis.endswith("_sd"):
            _refuse(files, key, f"has axis {axis!r}, expected no name of a table's column")
        for value in values:
            if value not in known[axis]:
                named = ", ".join(known[axis])
                _refuse(files, f"{key}.{axis}", f"has {value!r}, expected one of {named}")


def _refuse(files: list[str], key: str, what: str) -> NoReturn:
    raise StudyError(f"{file_with(key.split('.'), files) or 'the study'}: {key} {what}")
