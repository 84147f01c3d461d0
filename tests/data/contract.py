"""The contract of what runs again: edits of a finished study, and the rules that each makes stale.

``python -m tests.data.contract`` writes the table of docs/invalidation.md anew.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import rasterio
import yaml

from tests.data.studies import ROOT, TINY_ROWS, row, tiny_study, write_study

DOCS = ROOT / "docs" / "invalidation.md"
ORDER = (
    *("synthesize", "check", "fetch", "tile", "split", "stretch", "strata", "adapt", "depth"),
    *("train", "bundle", "export", "predict", "predict_folder", "score", "corrupt", "deliver"),
    *("gather", "tabulate", "report"),
)
"""Rules, as they follow one another."""

TABLES = {"tabulate", "report"}
CHECK = {"check"} | TABLES
"""The tables say what training and test share, which `check` has measured."""
GATHER = {"gather"} | TABLES
SCORE = {"score"} | GATHER
STRATA = {"strata"} | SCORE
PREDICT = {"predict"} | SCORE
TRAIN = {"train"} | PREDICT
LOSSES = {"adapt", "depth"} | TRAIN
WEIGHTS = {"check", "fetch"} | LOSSES
"""Sizes of networks are told by `check`."""
STRETCH = {"stretch", "strata"} | LOSSES
"""Without percentiles the stretch looks at no scene, so nothing makes it stale but itself."""
TILE = {"tile", "strata"} | LOSSES
EVERYTHING = {"synthesize", "check", "stretch"} | TILE

# of the one test scene: by the teacher and by elevation; by either experiment
OF_HARBOUR = dict.fromkeys(("tile", "strata", "check", *GATHER), 1)
OF_HARBOUR |= dict.fromkeys(("depth", "predict", "score"), 2)
BEFORE = dict.fromkeys(("synthesize", "check", "tile", *GATHER), 1)


class Project:
    """The finished study and the source it was made with, which an edit changes for a while."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder, self.source, self.study = folder, source, folder / "study.yaml"
        self.environment: dict[str, str] = {}
        self._back: list[Callable[[], object]] = []

    def configure(self, change: Callable[[dict], object]) -> None:
        config = tiny_study()
        change(config)
        self.study.write_text(yaml.safe_dump(config, sort_keys=False))

    def list_scenes(self, *rows: str) -> None:
        write_study(self.folder, tiny_study(), list(rows))

    def keep(self, file: Path) -> Path:
        """Return a file that is put back as it is, with its time."""
        kept, status = file.read_bytes(), file.stat()

        def back() -> None:
            file.write_bytes(kept)
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

        self._back.append(back)
        return file

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace words in a file of the source."""
        file = self.keep(self.source / name)
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def upgrade(self, library: str) -> None:
        """Let a library have another version."""
        folder = self.folder / "upgraded"
        facts = folder / f"{library}-99.0.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: 99.0\n")
        self.environment = {"PYTHONPATH": str(folder)}
        self._back.append(lambda: shutil.rmtree(folder))

    def restore(self) -> None:
        for back in reversed(self._back):
            back()
        write_study(self.folder, tiny_study(), TINY_ROWS)


@contextlib.contextmanager
def edited(folder: Path, source: Path, edit: "Edit") -> Iterator[Project]:
    project = Project(folder, source)
    try:
        edit.make(project)
        yield project
    finally:
        project.restore()


class Edit(NamedTuple):
    """What is edited, in words, and what runs then: rules, or jobs of each."""

    words: str
    make: Callable[[Project], object]
    rules: set[str] | dict[str, int]


def key(section: str, name: str, value: object, rules: set[str]) -> Edit:
    """Return the edit of a key of the study."""

    def make(project: Project) -> None:
        project.configure(lambda c: c.update({section: c.get(section, {}) | {name: value}}))

    return Edit(f"`{section}.{name}`", make, rules)


def added(section: str, rules: set[str]) -> Edit:
    """Return the edit that asks for an optional stage."""

    def make(project: Project) -> None:
        project.configure(lambda c: c.update({section: {}}))

    return Edit(f"`{section}: {{}}` is added", make, rules)


def code(module: str, old: str, new: str, rules: set[str]) -> Edit:
    """Return an edit of a module."""
    name = f"pipeline_steps/{module}.py"
    return Edit(f"code of `{module}`", lambda p: p.replace(name, old, new), rules)


def change_a_label(project: Project) -> None:
    sources = project.folder / "results" / "synthesize" / "harbour"
    with rasterio.open(project.keep(sources / "labels.tif"), "r+") as target:
        values = target.read(1)
        values[0, 0] = 6 - values[0, 0]
        target.write(values, 1)


def touch_an_image(project: Project) -> None:
    os.utime(project.keep(project.folder / "results" / "synthesize" / "harbour" / "image.tif"))


def exchange_columns(project: Project) -> None:
    """The files are the same, and what they are said to be is not."""
    image, labels, elevation = (f"harbour/{name}.tif" for name in ("image", "labels", "elevation"))
    project.list_scenes(TINY_ROWS[0], "\t".join(["harbour", image, elevation, labels, "test"]))


def make_a_pattern(project: Project) -> None:
    """The file is the same, and its maps go into a folder."""
    project.list_scenes(TINY_ROWS[0], row("harbour", "test").replace("harbour/", "harb*r/"))


def rename(project: Project) -> None:
    project.list_scenes(TINY_ROWS[0], TINY_ROWS[1].replace("harbour", "port", 1))


def add_an_experiment(config: dict) -> None:
    change = {"network": {"detach_depth": True}}
    config["experiments"]["detached"] = {"seeds": [0], "train": change}


def exchange_weights(config: dict) -> None:
    config["fetch"]["models"]["tiny-depth-anything"]["seed"] = 1


def colour(config: dict) -> None:
    config["classes"][0]["color"] = "#123456"


def name_a_class(config: dict) -> None:
    config["classes"][0]["name"] = "house"


def state_a_licence(config: dict) -> None:
    config["fetch"]["models"]["tiny-depth-anything"]["license"] = "MIT"


OF_PATTERN = {rule: n for rule, n in OF_HARBOUR.items() if rule != "predict"}

CONTRACT = [
    key("report", "dpi", 60, {"report"}),
    key("tabulate", "digits", 2, TABLES),
    key("score", "block_px", 64, SCORE),
    key("strata", "height_m", [3.0], STRATA),
    # how many jobs there are is told by `check`
    added("deliver", {"deliver"} | CHECK),
    added("corrupt", {"corrupt", "gather"} | CHECK),
    added("bundle", {"bundle"} | CHECK),
    added("export", {"bundle", "export"} | CHECK),
    key("predict", "overlap", 0.5, PREDICT),
    # what a run needs of memory and of disk is told by `check`
    key("predict", "window", 96, {"check"} | PREDICT),
    key("train", "lr", 0.001, TRAIN),
    key("depth", "overlap", 0.5, {"check", "depth"} | TRAIN),
    key("adapt", "lr", 0.01, {"adapt", "depth"} | TRAIN),
    key("stretch", "limits", [[0, 200]], {"check"} | STRETCH),
    key("stretch", "percentiles", [2, 98], {"check"} | STRETCH),
    # no scene of this study is divided
    key("split", "seed", 1, CHECK),
    key("check", "distance", 5.0, CHECK),
    key("tile", "chunk", 64, {"check"} | TILE),
    key("synthesize", "seed", 1, {"synthesize", "check"} | TILE),
    Edit("a class's colour", lambda p: p.configure(colour), PREDICT),
    Edit("a class's name", lambda p: p.configure(name_a_class), {"check"} | TILE),
    Edit("the licence of weights", lambda p: p.configure(state_a_licence), CHECK),
    Edit("other weights of a teacher", lambda p: p.configure(exchange_weights), WEIGHTS),
    Edit(
        "an experiment is added",
        lambda p: p.configure(add_an_experiment),
        dict.fromkeys({"check"} | TRAIN, 1),
    ),
    Edit(
        "an experiment is removed",
        lambda p: p.configure(lambda c: c["experiments"].pop("elevation")),
        {"gather"} | CHECK,
    ),
    Edit(
        "a seed is added",
        lambda p: p.configure(lambda c: c["experiments"]["depthseg"].update(seeds=[0, 1])),
        dict.fromkeys({"check"} | TRAIN, 1),
    ),
    Edit(
        "a test scene is added",
        lambda p: p.list_scenes(*TINY_ROWS, row("orchard", "test")),
        # by the teacher and by elevation; by either experiment
        BEFORE | {"strata": 1, "depth": 2, "predict": 2, "score": 2},
    ),
    Edit(
        "a training scene is added",
        lambda p: p.list_scenes(*TINY_ROWS, row("orchard", "train")),
        # by the adapted teacher the old scenes too, by elevation the new one alone
        BEFORE | {"adapt": 1, "depth": 4} | dict.fromkeys(("train", "predict", "score"), 2),
    ),
    Edit("a test scene is renamed", rename, OF_HARBOUR),
    Edit("rows of the scene table change places", lambda p: p.list_scenes(*TINY_ROWS[::-1]), CHECK),
    Edit("columns of a test scene are exchanged", exchange_columns, OF_HARBOUR),
    Edit("a test scene becomes a pattern", make_a_pattern, OF_PATTERN | {"predict_folder": 2}),
    Edit(
        "a test scene is divided into blocks",
        lambda p: p.list_scenes(TINY_ROWS[0], row("harbour", "blocks")),
        # its depth by the adapted teacher changes, as that of the other scene
        dict.fromkeys({"split", "adapt", "gather"} | CHECK, 1)
        | dict.fromkeys(("depth", "train", "predict", "score"), 2),
    ),
    Edit("a pixel of a test scene's labels", change_a_label, OF_HARBOUR),
    Edit("the time of an image, not its bytes", touch_an_image, set()),
    Edit("torch is upgraded", lambda p: p.upgrade("torch"), WEIGHTS),
    Edit("timm is upgraded", lambda p: p.upgrade("timm"), WEIGHTS),
    Edit("transformers is upgraded", lambda p: p.upgrade("transformers"), WEIGHTS),
    Edit("rasterio is upgraded", lambda p: p.upgrade("rasterio"), EVERYTHING),
    Edit("zarr is upgraded", lambda p: p.upgrade("zarr"), EVERYTHING - {"synthesize", "check"}),
    Edit("numpy is upgraded", lambda p: p.upgrade("numpy"), EVERYTHING),
    Edit("matplotlib is upgraded", lambda p: p.upgrade("matplotlib"), set()),
    Edit(
        "a docstring of `train`",
        lambda p: p.replace("pipeline_steps/train.py", '"""Train one', '"""Teach one'),
        set(),
    ),
    Edit(
        "a comment of `depth`",
        lambda p: p.replace("pipeline_steps/depth.py", "log = logging", "# why\nlog = logging"),
        set(),
    ),
    code("models/decoder", "max(32, channels // 2)", "max(16, channels // 2)", {"check"} | TRAIN),
    code("training/losses", "SIGMA, REACH = 1.5", "SIGMA, REACH = 2.5", LOSSES),
    code(
        "rasters/windows",
        "max(1, int(size",
        "max(2, int(size",
        EVERYTHING,
    ),
    code("rasters/blending", "np.hanning(size", "np.hamming(size", {"depth"} | TRAIN),
    code("rasters/align", "ROUNDS = 12", "ROUNDS = 13", {"depth"} | TRAIN),
    code("rasters/terrain", "STEP_M = 0.5", "STEP_M = 0.6", {"check"} | TILE),
    code("rasters/splits", "DRAWS = 2000", "DRAWS = 200", {"tile", "stretch", "strata"} | LOSSES),
    code("stretch", "SAMPLE = 8_000_000", "SAMPLE = 9_000_000", STRETCH),
    Edit(
        "code of `split`, where no scene is divided",
        lambda p: p.replace("pipeline_steps/split.py", "dpi=110", "dpi=120"),
        set(),
    ),
    code("rasters/shadow", "LEVELS = 256", "LEVELS = 128", STRATA),
    code("metrics/counting", "LEVELS = 101", "LEVELS = 102", SCORE),
    code("metrics/bootstrap", "RESAMPLES = 2000", "RESAMPLES = 999", TABLES),
    code("inspection/leaks", "ALIKE = 0.45", "ALIKE = 0.46", CHECK),
    Edit(
        "a heading of a table",
        lambda p: p.replace(
            "pipeline_steps/tabulate.py", '"miou", "kappa", "oa"', '"miou", "oa", "kappa"'
        ),
        TABLES,
    ),
    Edit(
        "the report's style",
        lambda p: p.replace("workflow/report/page/page.css", "1.6rem", "1.7rem"),
        {"report"},
    ),
]


def table() -> str:
    """Return the contract in Markdown, a row for each edit."""
    rows = ["| edit | what runs again |", "|---|---|"]
    for edit in CONTRACT:
        counts = edit.rules if isinstance(edit.rules, dict) else dict.fromkeys(edit.rules, 0)
        said = [f"{n} {rule}" if (n := counts[rule]) else rule for rule in ORDER if rule in counts]
        rows.append(f"| {edit.words} | {', '.join(said) or 'nothing'} |")
    return "\n".join(rows)


if __name__ == "__main__":
    before, _, _ = DOCS.read_text(encoding="utf-8").partition("| edit |")
    DOCS.write_text(before + table() + "\n", encoding="utf-8")
