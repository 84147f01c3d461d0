"""A section of the study with what one experiment or teacher changes in it."""

import copy
import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from pipeline_steps.study.errors import StudyError, in_one_line, key_of
from pipeline_steps.study.params.base import StageParams

Section = TypeVar("Section", bound=StageParams)


def overlaid(
    kind: type[Section],
    section: dict[str, Any],
    overrides: dict[str, Any],
    under: str,
    files: list[str],
) -> Section:
    """Return ``section`` as ``kind``, with ``overrides``, which stand ``under`` a key, key by key.

    Raises StudyError, whose text is one line with file, key, value and what was expected.
    """
    try:
        return kind.model_validate_json(json.dumps(_merged(section, overrides), default=str))
    except ValidationError as error:
        place = file_with([*under.split("."), *key_of(error)], files) or "the study"
        raise StudyError(f"{place}: {in_one_line(error, under)}") from None


def file_with(key: list[str], files: list[str]) -> str | None:
    """Return the last of ``files`` that states ``key``, or of its sections the innermost."""
    for length in range(len(key), 0, -1):
        for file in reversed(files):
            inside = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            for name in key[:length]:
                inside = inside.get(name, file) if isinstance(inside, dict) else file
            if inside is not file:
                return file
    return None


def _merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(base)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
