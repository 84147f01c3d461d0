"""What `snakemake map` is asked: an image and bundles on the command line, and no study."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline_steps.study.bundles import FILE, Bundle, read_bundle
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.errors import StudyError, in_one_line
from pipeline_steps.study.manifest import read_manifest
from pipeline_steps.study.params.deliver import Params as Deliver
from pipeline_steps.study.params.map import Command, Params
from pipeline_steps.study.scenes import Scene, scene_of
from pipeline_steps.study.sidecars import sidecars_of

MANIFEST = "map.json"
"""What says, beside maps, of which image they are."""

USAGE = "snakemake --cores all map --config image=PATH checkpoint=FOLDER"


@dataclasses.dataclass(frozen=True)
class Asked:
    """An image to map; ``bundles`` are the files that tell of the networks.

    ``looks`` are their classes, and ``deliver`` says what is made of the maps if that is a target.
    """

    scene: Scene
    image: str
    bundles: list[str]
    modules: list[str]
    folder: str
    params: Params
    deliver: Deliver
    looks: tuple[ClassLook, ...]

    @property
    def files(self) -> list[str]:
        """Return all files that are read: the image's, what lies beside it, and the weights."""
        images = self.scene.files
        weights = [os.path.join(os.path.dirname(one), "model.safetensors") for one in self.bundles]
        return [*images, *(beside for file in images for beside in sidecars_of(file)), *weights]


def asked_of(config: dict[str, Any]) -> Asked | None:
    """Take what `map` is asked out of ``config``; None where it is asked nothing.

    Raises StudyError, in one line, where an image or a bundle is not there or cannot be used.
    """
    if not config.keys() & {"image", "checkpoint"}:
        return None
    stated = {key: _value(key, config.pop(key)) for key in Command.model_fields if key in config}
    command = _valid(Command, stated)
    files = [_file_of(folder.strip()) for folder in command.checkpoint.split(",")]
    bundles = [read_bundle(Path(file)) for file in files]
    _all_can_be_used(files, bundles)
    own = command.model_fields_set & Params.model_fields.keys()
    laid_over = bundles[0].predict.model_dump() | {key: getattr(command, key) for key in own}
    params = _valid(Params, laid_over)
    name = _name_of(command.image)
    scene = scene_of(name, command.image)
    modules = [f"pipeline_steps.models.{one.network['model']}" for one in bundles]
    folder = os.path.normpath(command.out or f"results/map/{name}")
    _check_whose(folder, command.image)
    looks = bundles[0].classes
    return Asked(scene, command.image, files, modules, folder, params, command.deliver, looks)


def _value(key: str, value: Any) -> Any:
    """Return a value as a study file would state it: the command line has lists with commas.

    What is in a section is text to Snakemake.
    """
    if isinstance(value, dict):
        return {name: _value(name, one) for name, one in value.items()}
    if not isinstance(value, str) or key in ("image", "checkpoint", "out", "gsd", "datetime"):
        return value
    try:
        listed = key in ("outputs", "scales", "files")
        return yaml.safe_load(f"[{value}]" if listed else value)
    except (yaml.YAMLError, ValueError):
        raise StudyError(f"--config: {key} is {value!r}, expected a value as YAML has it") from None


def _valid(kind: type[Params], stated: dict[str, Any]) -> Any:
    for key in ("image", "checkpoint"):
        if kind is Command and key not in stated:
            raise StudyError(f"--config: {key} is not stated, expected {USAGE}")
    try:
        return kind.model_validate_json(json.dumps(stated, default=str))
    except ValidationError as error:
        raise StudyError(f"--config: {in_one_line(error)}") from None


def _file_of(folder: str) -> str:
    """Return the file of a bundle by its folder; both it and the weights are there."""
    file = folder if folder.endswith(".json") else os.path.join(folder, FILE)
    for needed in (file, os.path.join(os.path.dirname(file), "model.safetensors")):
        if not os.path.isfile(needed):
            raise StudyError(
                f"checkpoint is {folder}, where no {os.path.basename(needed)} is; expected a"
                f" bundle, as `snakemake results/bundle/<experiment>/<run>/{FILE}` makes it of a"
                " training"
            )
    return file


def _all_can_be_used(files: list[str], bundles: list[Bundle]) -> None:
    first = bundles[0]
    for file, one in zip(files, bundles, strict=True):
        if one.is_fed:
            raise StudyError(
                f"{file}: {one.name} is fed a depth of the image (network.depth:"
                f" {one.network['depth']}), expected a network that predicts it; a scene of a study"
                " with split predict is mapped with its depth"
            )
        for what, found, expected in (
            ("classes", _names(one), _names(first)),
            ("images", _images(one), _images(first)),
        ):
            if found != expected:
                raise StudyError(
                    f"{file}: {what} are {found}, expected {expected} as in {files[0]}"
                )


def _names(one: Bundle) -> str:
    return ", ".join(look.name for look in one.classes)


def _images(one: Bundle) -> str:
    return f"bands {list(one.bands)} of {one.dtype} with nodata {one.nodata}"


def _check_whose(folder: str, image: str) -> None:
    """Raise StudyError where a folder has the maps of another image: many have the same stem."""
    manifest = Path(folder, MANIFEST)
    if not manifest.is_file():
        return
    try:
        other = os.path.relpath(os.path.join(folder, read_manifest(manifest)["image"]))
    except (ValueError, KeyError, TypeError):
        raise StudyError(
            f"{manifest}: does not say of which image it is, expected a folder of maps: state"
            " out=FOLDER, or remove it"
        ) from None
    if other != os.path.relpath(image):
        raise StudyError(
            f"{folder} has the maps of {other}, expected another folder for those of {image}: state"
            " out=FOLDER, or remove it"
        )


def _name_of(image: str) -> str:
    """Return what results call an image: its stem, or of a pattern the name of its folder."""
    path = Path(image)
    while re.search(r"[*?\[]", path.name):
        path = path.parent
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).strip("._-")
    return stem or "image"
