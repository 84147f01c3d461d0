"""The scene table: what there is, and what it is used for."""

import csv
import dataclasses
import glob
import os
import re
from pathlib import Path

from pipeline_steps.study.errors import StudyError

COLUMNS = ("scene", "image", "labels", "elevation", "split")
SPLITS = ("train", "val", "test", "predict")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
WILD = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class Scene:
    """One row of the table; ``labels`` and ``elevation`` are empty or match ``images`` in order."""

    name: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    elevation: tuple[str, ...]
    split: str
    is_folder: bool
    """The image cell is a glob: however many files match, maps are published in a folder."""


def read_scenes(table: Path, root: str, made: str | None = None) -> dict[str, Scene]:
    """Read the scenes of ``table``, with paths relative to ``root``.

    Files below ``made`` need not exist yet: a rule makes them. Raises StudyError naming the
    line for anything that cannot be run.
    """
    scenes: dict[str, Scene] = {}
    owners: dict[str, str] = {}
    for number, row in _rows(table):
        place = f"{table}:{number}"
        scene = _scene(row, root, made, place)
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
    if not scenes:
        raise StudyError(f"{table}: no scenes found, expected at least one row")
    return scenes


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


def _scene(row: dict[str, str], root: str, made: str | None, place: str) -> Scene:
    name, split = row["scene"], row["split"]
    if not NAME.fullmatch(name):
        raise StudyError(
            f"{place}: scene is {name!r}, expected letters, digits, '.', '_' and '-' only"
        )
    if split not in SPLITS:
        raise StudyError(f"{place}: split is {split!r}, expected one of {', '.join(SPLITS)}")
    if not row["image"]:
        raise StudyError(f"{place}: image is empty, expected a path or a glob")
    images = _files(row["image"], root, made, f"{place}: image")
    labels = _beside(images, row.get("labels", ""), root, made, f"{place}: labels")
    elevation = _beside(images, row.get("elevation", ""), root, made, f"{place}: elevation")
    if not labels and split != "predict":
        raise StudyError(f"{place}: labels is empty, expected a path since split is {split}")
    return Scene(name, images, labels, elevation, split, bool(WILD.search(row["image"])))


def _files(cell: str, root: str, made: str | None, what: str) -> tuple[str, ...]:
    path = os.path.join(root, cell)
    if WILD.search(cell):
        found = tuple(
            path
            for name in sorted(glob.glob(cell, root_dir=root or None))
            if os.path.isfile(path := os.path.join(root, name))
        )
        if not found:
            raise StudyError(f"{what} is {path}, expected it to match at least one file")
        stems = [Path(file).stem for file in found]
        doubled = next((stem for stem in stems if stems.count(stem) > 1), None)
        if doubled:
            raise StudyError(f"{what} matches {doubled!r} more than once, expected each stem once")
        return found
    is_made = made is not None and Path(path).is_relative_to(made)
    if not is_made and not os.path.isfile(path):
        found_instead = "a folder" if os.path.isdir(path) else "no file"
        raise StudyError(f"{what} is {path}, where {found_instead} is; expected a file")
    return (path,)


def _beside(
    images: tuple[str, ...], cell: str, root: str, made: str | None, what: str
) -> tuple[str, ...]:
    """Return the files of ``cell``, one per image: the only one, or those with the same stem."""
    if not cell:
        return ()
    files = _files(cell, root, made, what)
    if not WILD.search(cell):
        if len(images) != 1:
            raise StudyError(
                f"{what} is {cell}, one file for {len(images)} images; expected a glob"
            )
        return files
    by_stem = {Path(file).stem: file for file in files}
    for image in images:
        if Path(image).stem not in by_stem:
            raise StudyError(
                f"{what} is {cell}, which has no file for {image}; expected one of the same stem"
            )
    return tuple(by_stem[Path(image).stem] for image in images)


def sidecars_of(file: str) -> list[str]:
    """Return the files beside a raster that GDAL reads with it: mask, notes, world file."""
    stem, end = os.path.splitext(file)
    world = [f"{stem}{end[:2]}{end[-1]}w", f"{file}w", f"{stem}.wld"] if len(end) > 2 else []
    return [f for f in (f"{file}.msk", f"{file}.aux.xml", *world) if os.path.isfile(f)]
