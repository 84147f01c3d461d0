"""The study file: typed, complete with defaults, and refused in one line where it is wrong."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from pipeline_steps.study.cells import Cell
from pipeline_steps.study.classes import ClassSpec, check_labels
from pipeline_steps.study.domains import Domain, Reading, readings_of
from pipeline_steps.study.errors import StudyError, in_one_line, key_of
from pipeline_steps.study.experiments import Experiment, Planned, Slug, expanded
from pipeline_steps.study.overlay import (
    file_with,
    merged,
    overlaid,
    refuse_bomb,
    settled,
    stated_in,
)
from pipeline_steps.study.params.adapt import Params as Adapt
from pipeline_steps.study.params.base import StageParams
from pipeline_steps.study.params.bundle import Params as Bundle
from pipeline_steps.study.params.check import Params as Check
from pipeline_steps.study.params.corrupt import Params as Corrupt
from pipeline_steps.study.params.deliver import Params as Deliver
from pipeline_steps.study.params.depth import Params as Depth
from pipeline_steps.study.params.export import Params as Export
from pipeline_steps.study.params.fetch import Params as Fetch
from pipeline_steps.study.params.predict import Params as Predict
from pipeline_steps.study.params.report import Params as Report
from pipeline_steps.study.params.score import Params as Score
from pipeline_steps.study.params.split import Params as Split
from pipeline_steps.study.params.strata import Params as Strata
from pipeline_steps.study.params.stretch import Params as Stretch
from pipeline_steps.study.params.synthesize import Params as Synthesize
from pipeline_steps.study.params.tabulate import Params as Tabulate
from pipeline_steps.study.params.tile import Params as Tile
from pipeline_steps.study.params.train import Params as Train
from pipeline_steps.study.runs import Run, dealt, is_part, runs_of
from pipeline_steps.study.scenes import Scene, read_domains, read_scenes
from pipeline_steps.study.teachers import ELEVATION, Teacher, teachers_of
from pipeline_steps.study.variants import sources

MADE = "results/synthesize"
"""Where the demo's scenes come into being."""


class Study(StageParams):
    """A study: scenes, classes, a section per stage, and the experiments to compare."""

    scenes: Annotated[str, Field(min_length=1)]
    """The scene table, relative to this file."""

    data_root: str | None = None
    """What the table's paths are relative to: itself relative to the working directory; by default
    the table's folder."""

    classes: Annotated[tuple[ClassSpec, ...], Field(min_length=2, max_length=255)]
    """The classes, in the order of their index in maps and tables."""

    domains: dict[Slug, Domain] = Field({})
    """How scenes are read whose `domain` in the table is this one, where that differs."""

    synthesize: Synthesize | None = None
    """The demo's towns; without this section nothing is synthesized."""

    check: Check = Check()
    """What is looked at first."""

    fetch: Fetch = Fetch()
    """The model table."""

    tile: Tile = Tile()
    """How rasters are read."""

    stretch: Stretch = Stretch()
    """Which image values become 0 and 1."""

    split: Split = Split()
    """How scenes are divided whose split is `blocks` or `folds`."""

    adapt: Adapt = Adapt()
    """How teachers learn from elevation."""

    depth: Depth = Depth()
    """How pseudo-depth is made."""

    train: Train = Train()
    """The network and its training, before an experiment's overrides."""

    predict: Predict = Predict()
    """How maps are made."""

    bundle: Bundle | None = None
    """What a trained network that leaves its study is given along; without this section no network
    is bundled but by its name."""

    export: Export | None = None
    """What other runtimes get of a trained network; without this section no network is exported but
    by its name."""

    deliver: Deliver | None = None
    """What a GIS gets of every map; without this section nothing is delivered."""

    corrupt: Corrupt | None = None
    """How test scenes are corrupted, to see which networks hold up; without this section none
    is."""

    strata: Strata = Strata()
    """Which kinds of ground are scored apart."""

    score: Score = Score()
    """How maps are compared with labels."""

    tabulate: Tabulate = Tabulate()
    """How tables are printed."""

    report: Report = Report()
    """How figures are drawn."""

    experiments: Annotated[dict[Slug, Experiment], Field(min_length=1)]
    """What is compared: a name → its seeds and its overrides of `train`; null drops an experiment
    of an earlier file."""

    ensembles: dict[Slug, Annotated[tuple[Slug, ...], Field(min_length=1)]] = Field({})
    """Maps by several networks together: a name → experiments. It maps with the mean of what all
    their trainings say, those of every seed, and is one run among theirs in the tables."""

    variants: dict[Slug, dict[Slug, dict[str, Any]]] = Field({})
    """What grids are made of: axis → value → overrides of `train`, laid over those built in."""

    @property
    def bundled(self) -> Bundle:
        """Return what a bundle is given along, one that is asked for by its name too."""
        return self.bundle or Bundle()

    @property
    def exported(self) -> Export:
        """Return how a network is exported, one that is asked for by its name too."""
        return self.export or Export()

    @property
    def corrupted(self) -> Corrupt:
        """Return how scenes are corrupted, one that is asked for by its name too."""
        return self.corrupt or Corrupt()

    @property
    def delivered(self) -> Deliver:
        """Return what a delivery is made of, one that is asked for by its name too."""
        return self.deliver or Deliver()

    @model_validator(mode="after")
    def _classes_agree(self) -> "Study":
        check_labels(self.classes, self.tile.ignore_labels)
        names = [c.name for c in self.classes]
        self._classes_are_labelled(names)
        self._crosswalk_has_every_class_once(names)
        pairs, bands = self.stretch.limits or (), len(self.tile.bands)
        if len(pairs) not in (0, 1, bands):
            raise ValueError(f"stretch.limits: {len(pairs)} pairs found, expected 1 or {bands}")
        for pair in self.tabulate.pairs:
            if len(set(pair) & set(names)) < 2:
                raise ValueError(
                    f"tabulate.pairs: has {list(pair)}, expected two of {', '.join(names)}"
                )
        reach, reaches = self.score.boundary_iou_px, self.strata.boundary_px
        if reach and reach not in reaches:
            raise ValueError(
                f"score.boundary_iou_px: is {reach}, expected 0 or one of strata.boundary_px:"
                f" {', '.join(map(str, reaches)) or 'there is none'}"
            )
        if self.deliver and "confidence" not in self.predict.outputs:
            raise ValueError("predict.outputs: has no confidence, expected it for deliver")
        return self

    def _classes_are_labelled(self, names: list[str]) -> None:
        """Raise ValueError for a class that no label means, or a domain's that is none."""
        labelled = {c.name for c in self.classes if c.keys}
        for name, domain in self.domains.items():
            for one in domain.classes or ():
                if one.name not in names:
                    raise ValueError(
                        f"domains.{name}.classes: has {one.name!r}, expected one of"
                        f" {', '.join(names)}"
                    )
                if not one.keys:
                    raise ValueError(
                        f"domains.{name}.classes: {one.name!r} has no label, expected value or rgb"
                    )
                labelled.add(one.name)
        for name in names:
            if name not in labelled:
                raise ValueError(
                    f"class {name!r}: has no label, expected value or rgb here or in a domain"
                )

    def _crosswalk_has_every_class_once(self, names: list[str]) -> None:
        crosswalk = self.tabulate.crosswalk
        found = [name for parts in crosswalk.values() for name in parts]
        for name in found:
            if name not in names:
                raise ValueError(
                    f"tabulate.crosswalk: has {name!r}, expected classes: {', '.join(names)}"
                )
        for name in names:
            if crosswalk and found.count(name) != 1:
                raise ValueError(
                    f"tabulate.crosswalk: has {name!r} {found.count(name)} times, expected every"
                    " class once"
                )


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A checked study: its config, its scenes, and each experiment's training.

    ``experiments`` and ``trainings`` have those that a grid of the config stands for; ensembles
    are among the experiments alone.
    """

    config: Study
    table: str
    root: str
    scenes: dict[str, Scene]
    experiments: dict[str, Planned]
    trainings: dict[str, Train]
    teachers: dict[str, Teacher]
    folds: dict[str, int]
    readings: dict[str, Reading]

    def scene(self, name: str) -> Scene:
        """Return the scene called ``name``; raises StudyError where the table has none."""
        if name not in self.scenes:
            raise StudyError(f"{self.table}: has no scene {name!r}, expected a row of it")
        return self.scenes[name]

    def split(self, *parts: str, fold: int | None = None) -> list[str]:
        """Return the scenes with ground of ``parts``, in ``fold`` or any, in the table's order."""
        return [
            name
            for name, scene in self.scenes.items()
            if any(is_part(scene, p, fold, self.folds, self.config.split) for p in parts)
        ]

    def seen(self, experiment: str, *parts: str, fold: int | None = None) -> list[str]:
        """Return those of them that are of the domains that an experiment learns from."""
        domains = self.trainings[experiment].domains
        found = self.split(*parts, fold=fold)
        return [one for one in found if domains is None or self.scenes[one].domain in domains]

    def domains(self, scenes: Iterable[str]) -> list[str]:
        """Return the domains of ``scenes``, each once; none where the table has none."""
        return [one for one in dict.fromkeys(self.scenes[name].domain for name in scenes) if one]

    def reading(self, scene: str) -> Reading:
        """Return how the files of a scene are read."""
        return self.readings[self.scenes[scene].domain]

    def runs(self, experiment: str) -> list[Run]:
        """Return the runs of an experiment: its trainings, or an ensemble's one for each fold."""
        return runs_of(self.experiments[experiment].seeds, self.config.split.folds)

    def all_runs(self) -> list[tuple[str, Run]]:
        """Return what makes maps: the runs of every experiment, beside its name."""
        return [(name, run) for name in self.experiments for run in self.runs(name)]

    def all_trainings(self) -> list[tuple[str, Run]]:
        """Return those of them that are a training."""
        return [(name, run) for name, run in self.all_runs() if name in self.trainings]

    def members(self, experiment: str, run: Run) -> list[tuple[str, Run]]:
        """Return the trainings whose networks map in a run: its own, or those of an ensemble."""
        together = self.experiments[experiment].ensemble
        if not together:
            return [(experiment, run)]
        return [(e, one) for e in together for one in self.runs(e) if one.fold == run.fold]

    def models(self, experiment: str) -> list[str]:
        """Return what kinds of network map in an experiment, each once."""
        names = self.experiments[experiment].ensemble or (experiment,)
        return sorted({self.trainings[name].network.model for name in names})

    def fed(self, experiment: str, run: Run) -> list[str]:
        """Return the teacher of every network that is fed a depth when it maps in a run."""
        trained = [self.trainings[name] for name, _ in self.members(experiment, run)]
        return [one.teacher for one in trained if one.teacher and one.network.is_fed]

    def divided(self, scenes: list[str]) -> list[str]:
        """Return those of ``scenes`` that are divided into blocks."""
        return [name for name in scenes if self.scenes[name].split == "blocks"]

    def taught(self, teacher: str) -> list[str]:
        """Return the scenes that an adapted teacher learns from; never one that is tested on."""
        learning = self.teachers[teacher].adapt
        if learning is None:
            return []
        if learning.scenes is not None:
            return list(learning.scenes)
        learned = (self.scenes[name] for name in self.split("train"))
        return [one.name for one in learned if one.elevation and not self.is_tested(one)]

    def is_tested(self, scene: Scene) -> bool:
        """Return whether some run is tested on all ground of a scene."""
        has_folds = self.config.split.folds is not None
        return scene.split in ("test", "folds") or (scene.split == "blocks" and has_folds)

    def cells(self) -> list[Cell]:
        """Return what is known of the experiments of grids, one grid after another."""
        return [one.cell for one in self.experiments.values() if one.cell]

    def teachers_used(self) -> list[str]:
        """Return every teacher whose depth an experiment uses, each once."""
        used = [t.teacher for t in self.trainings.values() if t.network.prompter and t.teacher]
        return list(dict.fromkeys(used))

    def teachers_needed(self) -> list[str]:
        """Return those, and the teachers whose encoder an experiment uses."""
        lent = [
            t.teacher
            for t in self.trainings.values()
            if t.network.has_teachers_encoder or t.network.has_depth_encoder
        ]
        return list(dict.fromkeys([*self.teachers_used(), *lent]))

    def fetched(self) -> Fetch:
        """Return the model table without what no experiment uses: a run does not fetch that."""
        used = {self.teachers[name].model for name in self.teachers_needed()}
        used |= {t.network.encoder.weights for t in self.trainings.values()}
        rows = self.config.fetch.models.items()
        return Fetch(models={name: model for name, model in rows if name in used})


def load(config: dict[str, Any], files: list[str]) -> Loaded:
    """Check what Snakemake merged from ``files`` and return it with its scenes.

    Raises StudyError, whose text is one line with file, key, value and what was expected.
    """
    where = str(files[-1]) if files else "the study"
    refuse_bomb(config, where)
    config = settled(config, files)
    try:
        study = Study.model_validate_json(json.dumps(config, default=str))
    except ValidationError as error:
        place = file_with(key_of(error), files) or where
        raise StudyError(f"{place}: {in_one_line(error)}") from None
    table = _beside_its_file(study.scenes, files)
    domains = read_domains(Path(table))
    readings = readings_of(domains, study.domains, study.classes, config, files)
    variants = merged(sources(domains), study.variants)
    experiments = expanded(study.experiments, study.ensembles, variants, files)
    trainings = {
        name: overlaid(Train, config.get("train") or {}, one.layers, _key(name), files)
        for name, one in experiments.items()
        if not one.ensemble
    }
    teachers = teachers_of(study.fetch, study.adapt, study.depth, config, files)
    for name, training in trainings.items():
        for wrong in _misfits(training, study, teachers):
            stated = [*experiments[name].key.split("."), *wrong.partition(" ")[0].split(".")]
            raise StudyError(f"{file_with(stated, files) or where}: {_key(name)}.{wrong}")
    _ensembles_agree(experiments, trainings, files)
    _tables_fit(study.tabulate, experiments, files)
    root = study.data_root if study.data_root is not None else os.path.dirname(table)
    scenes = read_scenes(Path(table), root, MADE if study.synthesize else None)
    folds = dealt(scenes.values(), study.split)
    loaded = Loaded(study, table, root, scenes, experiments, trainings, teachers, folds, readings)
    _domains_suffice(loaded, files)
    _scenes_suffice(loaded, table)
    _corrupted_are_tested(loaded, files)
    return loaded


def _key(experiment: str) -> str:
    return f"experiments.{experiment}.train"


def _tables_fit(asked: Tabulate, experiments: dict[str, Planned], files: list[str]) -> None:
    """Raise StudyError where tables shall compare with none, or others' rows are called as ours."""
    if asked.baseline not in (None, *experiments):
        raise StudyError(
            f"{file_with(['tabulate', 'baseline'], files) or 'the study'}: tabulate.baseline is"
            f" {asked.baseline!r}, expected one of {', '.join(experiments)}"
        )
    for one in asked.reported:
        if one.name in experiments:
            raise StudyError(
                f"{file_with(['tabulate', 'reported'], files) or 'the study'}: tabulate.reported"
                f" has {one.name!r}, expected a name that no experiment has"
            )


def _domains_suffice(loaded: Loaded, files: list[str]) -> None:
    """Raise StudyError where an experiment learns from a domain without a training scene."""
    known = loaded.domains(loaded.split("train"))
    for name, training in loaded.trainings.items():
        for domain in training.domains or ():
            if domain not in known:
                stated = [*loaded.experiments[name].key.split("."), "domains"]
                raise StudyError(
                    f"{file_with(stated, files) or 'the study'}: {_key(name)}.domains has"
                    f" {domain!r}, expected domains with a training scene:"
                    f" {', '.join(known) or 'there is none'}"
                )
        for fold in dict.fromkeys(run.fold for run in loaded.runs(name)):
            if training.domains and not loaded.seen(name, "train", fold=fold):
                raise StudyError(
                    f"{loaded.table}: fold {fold} has no training scene of domain"
                    f" {', '.join(training.domains)}, expected one, since experiment {name!r}"
                    " learns from it alone"
                )


def _corrupted_are_tested(loaded: Loaded, files: list[str]) -> None:
    tested = loaded.split("test")
    for name in loaded.config.corrupted.scenes or ():
        if name not in tested:
            raise StudyError(
                f"{file_with(['corrupt', 'scenes'], files) or 'the study'}: corrupt.scenes has"
                f" {name!r}, expected test scenes: {', '.join(tested) or 'there is none'}"
            )


def _misfits(training: Train, study: Study, teachers: dict[str, Teacher]) -> Iterator[str]:
    """Yield what does not fit the study's teachers and models: key, value and what was expected."""
    network, teacher, encoder = training.network, training.teacher, training.network.encoder
    names, models = ", ".join(teachers), ", ".join(study.fetch.models) or "there is none"
    weights = f"network.encoder.weights is {encoder.weights!r}, expected"
    if network.prompter and teacher is None:
        yield "teacher is null, expected a teacher for the prompter"
    if network.has_teachers_encoder and encoder.weights is not None:
        yield f"{weights} null, since the teacher's encoder has the teacher's"
    if encoder.weights is not None and encoder.weights not in study.fetch.models:
        yield f"{weights} one of fetch.models: {models}"
    if network.prompter and teacher not in teachers:
        yield f"teacher is {teacher!r}, expected one of {names}"
    if network.has_teachers_encoder and (teacher == ELEVATION or teacher not in teachers):
        shown = "null" if teacher is None else repr(teacher)
        nets = ", ".join(name for name in teachers if name != ELEVATION) or "there is none"
        yield f"teacher is {shown}, expected a network for the encoder 'teacher': {nets}"
    if network.has_depth_encoder and (teacher == ELEVATION or teacher not in teachers):
        shown = "null" if teacher is None else repr(teacher)
        nets = ", ".join(name for name in teachers if name != ELEVATION) or "there is none"
        yield f"teacher is {shown}, expected a network, whose encoder sees depth: {nets}"
    if training.depth_control != "none" and not network.prompter:
        yield f"depth_control is {training.depth_control!r}, expected 'none' without a prompter"


def _ensembles_agree(
    experiments: dict[str, Planned], trainings: dict[str, Train], files: list[str]
) -> None:
    """Raise StudyError where the networks of an ensemble do not see the same bands."""
    for name, planned in experiments.items():
        seen = {other: trainings[other].network.encoder.bands for other in planned.ensemble}
        if len(set(seen.values())) > 1:
            key = f"ensembles.{name}"
            raise StudyError(
                f"{file_with(key.split('.'), files) or 'the study'}: {key}: network.encoder.bands"
                f" are {', '.join(f'{bands!r} of {other!r}' for other, bands in seen.items())},"
                " expected the same"
            )


def _beside_its_file(scenes: str, files: list[str]) -> str:
    """Return the table's path: relative to the last study file that names it."""
    for file in reversed(files):
        stated = stated_in(file) or {}
        if stated.get("scenes") == scenes:
            return os.path.join(os.path.dirname(file), scenes)
    return scenes


def _scenes_suffice(loaded: Loaded, table: str) -> None:
    _folds_suffice(loaded, table)
    if not loaded.split("train"):
        raise StudyError(f"{table}: no scene has split train, blocks or folds, expected one")
    # one that no experiment uses can be asked for, too
    for name in loaded.teachers:
        _teacher_can_learn(loaded, name, table)
    for name, training in loaded.trainings.items():
        if training.patience is not None and not loaded.seen(name, "val"):
            raise StudyError(
                f"{table}: no scene has ground for validation, expected a split val, or blocks with"
                f" a share of it, since experiment {name!r} has patience"
            )
        if not training.network.prompter or training.teacher != ELEVATION:
            continue
        mapped = loaded.split("val", "test", "predict") if training.network.is_fed else []
        for scene in map(loaded.scenes.get, [*loaded.seen(name, "train"), *mapped]):
            if not scene.elevation:
                raise StudyError(
                    f"{table}: elevation of {scene.name!r} is empty, expected a path since"
                    f" experiment {name!r} uses it"
                )


def _teacher_can_learn(loaded: Loaded, name: str, table: str) -> None:
    """Raise StudyError where an adapted teacher has no height to learn from, or a test scene's."""
    learning, taught = loaded.teachers[name].adapt, loaded.taught(name)
    if learning and not taught and name in loaded.teachers_needed():
        raise StudyError(
            f"{table}: no training scene has elevation, expected one for teacher {name!r}"
        )
    for scene in taught:
        found, key = loaded.scenes.get(scene), f"adapt.scenes (teacher {name!r})"
        if found is None:
            raise StudyError(f"{table}: has no scene {scene!r}, expected one since it is in {key}")
        if loaded.is_tested(found):
            raise StudyError(
                f"{table}: split of {scene!r} is {found.split}, expected no scene that is tested"
                f" on in {key}"
            )
        if not found.elevation:
            raise StudyError(
                f"{table}: elevation of {scene!r} is empty, expected a path since it is in {key}"
            )


def _folds_suffice(loaded: Loaded, table: str) -> None:
    """Raise StudyError where folds and scenes do not go together."""
    folds, splits = loaded.config.split.folds, {s.split for s in loaded.scenes.values()}
    if folds is None and "folds" in splits:
        raise StudyError(f"{table}: a scene has split folds, expected their number (split.folds)")
    if folds is None:
        return
    whole = sum(scene.split == "folds" for scene in loaded.scenes.values())
    if not splits & {"folds", "blocks"}:
        raise StudyError(f"{table}: split.folds is {folds}, expected a scene to divide (folds)")
    if "blocks" not in splits and whole < folds:
        raise StudyError(f"{table}: {whole} scenes have split folds, expected at least {folds}")
    adapted = [name for name in loaded.teachers_needed() if loaded.teachers[name].adapt]
    if adapted:
        raise StudyError(
            f"{table}: split.folds is {folds} and teacher {adapted[0]!r} is adapted, which would"
            " learn from every test; expected a fetched one"
        )
