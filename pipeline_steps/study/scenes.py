"""The scene table: what there is, and what it is used for."""

import csv
import dataclasses
import os
import re
from pathlib import Path

from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.patterns import is_pattern, matches, partners

COLUMNS = ("scene", "image", "labels", "elevation", "terrain", "list", "domain", "split")
SPLITS = ("train", "val", "test", "predict", "blocks", "folds")
LAYERS = ("labels", "elevation", "terrain")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}(?<!_sd)")
"""A domain is a value of a grid, and a column of a table, where ``_sd`` is a deviation."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """One row of the table; what lies beside ``images`` is empty or matches them in order."""

    name: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    elevation: tuple[str, ...]
    terrain: tuple[str, ...]
    split: str
    is_folder: bool
    """The image cell is a glob: however many files match, maps are published in a folder."""

    raster_names: tuple[str, ...]
    """What each image is called in results: its stem, or what makes it unique in its scene."""

    listed: str | None = None
    """The text file that says which of the glob's matches belong to the scene."""

    domain: str = ""
    """The data set, region or sensor that it is of, where the table tells them apart."""

    root: str | None = None
    """Where the study's data lie; None where there is no study."""

    @property
    def files(self) -> tuple[str, ...]:
        """Return every file of the scene that is read for its pixels."""
        return (*self.images, *self.labels, *self.elevation, *self.terrain)


def read_scenes(
    table: Path, root: str, made: str | None = None, only: str | None = None
) -> dict[str, Scene]:
    """Read the scenes of ``table``, or the one called ``only``, with paths relative to ``root``.

    Files below ``made`` need not exist yet: a rule makes them. Raises StudyError naming the
    line for anything that cannot be run.
    """
    scenes: dict[str, Scene] = {}
    owners: dict[str, str] = {}
    without: list[str] = []
    for number, row in _rows(table):
        if only not in (None, row["scene"]):
            continue
        place = f"{table}:{number}"
        scene = _Row(row, root, made, place).scene()
        if scene.name in scenes:
            raise StudyError(f"{place}: scene is {scene.name!r} again, expected each name once")
        for image in scene.images:
            owner = owners.setdefault(os.path.realpath(image), scene.name)
            if owner != scene.name:
                raise StudyError(
                    f"{place}: image {image} is one of {owner!r} already, expected one scene for"
                    " an image"
                )
        scenes[scene.name] = scene
        without += [] if scene.domain else [place]
    if 0 < len(without) < len(scenes):
        raise StudyError(f"{without[0]}: domain is empty, expected a name, as other rows have one")
    if not scenes:
        wanted = "at least one row" if only is None else f"a row of {only!r}"
        raise StudyError(f"{table}: no scenes found, expected {wanted}")
    return scenes


def read_domains(table: Path) -> list[str]:
    """Return the domains that ``table`` names, each once, whether or not the data are there."""
    return [one for one in dict.fromkeys(row.get("domain") for _, row in _rows(table)) if one]


def scene_of(name: str, image: str) -> Scene:
    """Return a lone image, or all that a pattern matches, as a scene without a table.

    Raises StudyError where no file is there.
    """
    row = _Row({"scene": name, "image": image, "split": "predict"}, "", None, "map")
    return dataclasses.replace(row.scene(), root=None)


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{table}: cannot be read ({error}), expected a scene table") from error
    reader = csv.DictReader(text.splitlines(), delimiter="\t")
    columns = tuple(reader.fieldnames or ())
    missing = [column for column in ("scene", "image", "split") if column not in columns]
    unknown = [column for column in columns if column not in COLUMNS]
    if missing or unknown or len(set(columns)) < len(columns):
        raise StudyError(
            f"{table}:1: columns are {', '.join(map(str, columns)) or 'none'}; expected"
            f" tab-separated {', '.join(COLUMNS)}"
        )
    rows = []
    for row in reader:
        if None in row:
            raise StudyError(
                f"{table}:{reader.line_num}: {len(columns) + len(row[None])} cells found,"
                f" expected {len(columns)}"
            )
        rows.append((reader.line_num, {key: (value or "").strip() for key, value in row.items()}))
    return rows


class _Row:
    """One line of the table on its way to a scene."""

    def __init__(self, row: dict[str, str], root: str, made: str | None, place: str) -> None:
        self.row, self.root, self.made, self.place = row, root, made, place
        self.cell = {column: row.get(column, "") for column in COLUMNS}

    def scene(self) -> Scene:
        self._words()
        images = self._files("image")
        listed = self._listed()
        if listed is not None:
            images = self._chosen(images, Path(listed))
        beside = {layer: self._beside(layer, images) for layer in LAYERS}
        split = self.cell["split"]
        if not beside["labels"] and split != "predict":
            raise StudyError(
                f"{self.place}: labels is empty, expected a path since split is {split}"
            )
        if beside["terrain"] and not beside["elevation"]:
            raise StudyError(f"{self.place}: elevation is empty, expected a surface for terrain")
        return Scene(
            self.cell["scene"],
            tuple(images.values()),
            **beside,
            split=split,
            is_folder=is_pattern(self.cell["image"]),
            raster_names=_names(images),
            listed=listed,
            domain=self.cell["domain"],
            root=self.root or ".",
        )

    def _words(self) -> None:
        name, domain, split = (self.cell[column] for column in ("scene", "domain", "split"))
        if not NAME.fullmatch(name):
            raise StudyError(
                f"{self.place}: scene is {name!r}, expected letters, digits, '.', '_' and '-' only,"
                " at most 100"
            )
        if domain and not DOMAIN.fullmatch(domain):
            raise StudyError(
                f"{self.place}: domain is {domain!r}, expected letters, digits, '_' and '-' only,"
                " and no '_sd' at its end"
            )
        if split not in SPLITS:
            raise StudyError(
                f"{self.place}: split is {split!r}, expected one of {', '.join(SPLITS)}"
            )
        if not self.cell["image"]:
            raise StudyError(f"{self.place}: image is empty, expected a path or a pattern")

    def _files(self, column: str) -> dict[tuple[str, ...], str]:
        """Return the files of a cell by what its wildcards stood for."""
        cell = self.cell[column]
        what, path = f"{self.place}: {column}", os.path.join(self.root, cell)
        if is_pattern(cell):
            found = matches(cell, self.root)
            if not found:
                raise StudyError(f"{what} is {path}, expected it to match at least one file")
            return found
        is_made = self.made is not None and Path(path).is_relative_to(self.made)
        if not is_made and not os.path.isfile(path):
            instead = "a folder" if os.path.isdir(path) else "no file"
            raise StudyError(f"{what} is {path}, where {instead} is; expected a file")
        return {(): path}

    def _beside(self, column: str, images: dict[tuple[str, ...], str]) -> tuple[str, ...]:
        """Return one file per image: the only one, or those whose wildcards stand for the same."""
        if not self.cell[column]:
            return ()
        what, files = f"{self.place}: {column} is {self.cell[column]}", self._files(column)
        if () in files and () not in images:
            raise StudyError(f"{what}, one file for {len(images)} images; expected a pattern")
        if len(next(iter(files))) != len(next(iter(images))):
            raise StudyError(f"{what}, expected as many wildcards as image has")
        found = partners(images, files)
        for key, file in found.items():
            if file is None:
                raise StudyError(
                    f"{what}, which has no file for {images[key]}; expected one whose wildcards"
                    f" stand for {', '.join(key)}"
                )
        return tuple(found.values())

    def _listed(self) -> str | None:
        if not self.cell["list"]:
            return None
        path = os.path.join(self.root, self.cell["list"])
        if not is_pattern(self.cell["image"]):
            raise StudyError(f"{self.place}: list is {path}, expected none for a single image")
        if not os.path.isfile(path):
            raise StudyError(f"{self.place}: list is {path}, where no file is; expected a file")
        return path

    def _chosen(
        self, images: dict[tuple[str, ...], str], listed: Path
    ) -> dict[tuple[str, ...], str]:
        """Return the images whose name or stem is a line of ``listed``."""
        lines = (line.strip() for line in listed.read_text("utf-8-sig").splitlines())
        names = [Path(line).name for line in lines if line]
        by_name: dict[str, list[tuple[str, ...]]] = {}
        for key, file in images.items():
            for name in {Path(file).name, Path(file).stem}:
                by_name.setdefault(name, []).append(key)
        for name in names:
            if len(by_name.get(name, [])) != 1:
                raise StudyError(
                    f"{self.place}: list is {listed}, where {name} is {len(by_name.get(name, []))}"
                    f" of the images of {self.cell['image']}; expected one"
                )
        wanted = {by_name[name][0] for name in names}
        if not wanted:
            raise StudyError(f"{self.place}: list is {listed}, which is empty; expected names")
        return {key: file for key, file in images.items() if key in wanted}


def _names(images: dict[tuple[str, ...], str]) -> tuple[str, ...]:
    """Return the stems, or where two are alike what the wildcards stood for."""
    names = [Path(file).stem for file in images.values()]
    if len(set(names)) < len(names):
        names = ["__".join(key).replace(os.sep, "__") for key in images]
    if len(set(names)) < len(names):
        names = [f"{name}__{number}" for number, name in enumerate(names)]
    return tuple(names)
