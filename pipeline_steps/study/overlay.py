"""A section of the study with what one experiment or teacher changes in it."""

import copy
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from pipeline_steps.study.errors import StudyError, in_one_line, key_of
from pipeline_steps.study.params.base import StageParams
from pipeline_steps.study.params.network import Baseline, DepthForge, DepthSeg

Section = TypeVar("Section", bound=StageParams)

NETWORK = "network"
MOST = 1_000_000
"""Values of a study, those that an alias stands for counted each time."""

FIRST: str = DepthSeg.model_fields["model"].default
"""The model of a network that states none."""

KEYS = {
    one.model_fields["model"].default: one.model_fields.keys()
    for one in (DepthSeg, DepthForge, Baseline)
}
"""Model → the keys of its network."""


def overlaid(
    kind: type[Section],
    section: dict[str, Any],
    overrides: dict[str, Any] | Sequence[tuple[str, dict[str, Any]]],
    under: str,
    files: list[str],
) -> Section:
    """Return ``section`` as ``kind``, with ``overrides``, which stand ``under`` a key, key by key.

    Overrides of several places are laid over one another, each beside the key that it stands under.
    Raises StudyError, whose text is one line with file, key, value and what was expected.
    """
    layers = [(under, overrides)] if isinstance(overrides, dict) else overrides
    for _, layer in layers:
        section = merged(section, layer)
    try:
        return kind.model_validate_json(json.dumps(section, default=str))
    except ValidationError as error:
        key = key_of(error)
        # values that do not go together may each stand elsewhere
        is_of_all = error.errors()[0]["type"] == "value_error"
        saying = [] if is_of_all else [place for place, layer in layers if _says(layer, key)]
        stated = saying[-1] if saying else layers[0][0]
        under = stated if saying else under
        place = file_with([*stated.split("."), *key], files) or "the study"
        raise StudyError(f"{place}: {in_one_line(error, under)}") from None


def merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``overrides`` laid over it, key by key.

    A network of another model begins anew: it has none of the keys of the one below it. A null is
    what a key is by default, so one of a key that only other models have says nothing.
    """
    both = copy.deepcopy(base)
    for key, value in overrides.items():
        below = both.get(key)
        is_section = isinstance(value, dict) and isinstance(below, dict)
        is_another = is_section and key == NETWORK and _model(value, _model(below)) != _model(below)
        both[key] = merged(below, value) if is_section and not is_another else value
        if is_section and key == NETWORK:
            own = KEYS.get(_model(both[key]), ())
            for other in set().union(*KEYS.values()).difference(own):
                if both[key].get(other, other) is None:
                    del both[key][other]
    return both


def settled(config: dict[str, Any], files: list[str]) -> dict[str, Any]:
    """Return ``config``, which Snakemake merged from ``files``, as the files mean it.

    A network of which a later file states another model has no key of the earlier one, and an
    experiment or ensemble of an earlier file that a later one states to be null is gone.
    """
    stated = [stated_in(file) for file in files]
    config = copy.deepcopy(config)
    for key in list(_networks(config)):
        holder = _at(config, key[:-1])
        holder[NETWORK] = _of_its_model(holder[NETWORK], [_at(one, key) for one in stated])
    for section in ("experiments", "ensembles"):
        entries = config.get(section)
        for name in list(entries) if isinstance(entries, dict) else ():
            earlier = (_at(one, [section, name]) for one in stated)
            if entries[name] is None and any(isinstance(one, dict | list) for one in earlier):
                del entries[name]
    return config


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML whose keys stand once: the last of two would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; raises ConstructorError for a key that stands twice."""
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        stated: set[tuple[str, str]] = set()
        for key in own:
            if (key.tag, str(key.value)) in stated:
                found = f"key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, found, key.start_mark)
            stated.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)


def stated_in(file: str) -> Any:
    """Return what a study file states; raises StudyError where it is no YAML of unique keys."""
    try:
        return _parsed(Path(file).read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        place = f"{file}:{error.problem_mark.line + 1}"
        raise StudyError(f"{place}: {error.problem}, expected each key once, and text") from None


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> Any:
    return yaml.load(text, _Loader)


def refuse_bomb(config: Any, where: str) -> None:
    """Raise StudyError where aliases of YAML make a few lines more than any study says.

    Likewise for a name that YAML takes for something else, as ``no`` for false.
    """
    pending, count = [config], 0
    while pending:
        one = pending.pop()
        for key in one if isinstance(one, dict) else ():
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise StudyError(f"{where}: has {key!r} for a name, expected quotes around it")
        inside = list(one.values() if isinstance(one, dict) else one)
        pending += [value for value in inside if isinstance(value, dict | list)]
        count += 1 + len(inside)
        if count > MOST:
            raise StudyError(f"{where}: has over {MOST} values, expected fewer: no such aliases")


def file_with(key: list[str], files: list[str]) -> str | None:
    """Return the last of ``files`` that states ``key``, or of its sections the innermost."""
    for length in range(len(key), 0, -1):
        for file in reversed(files):
            inside = stated_in(file)
            for name in key[:length]:
                inside = inside.get(name, file) if isinstance(inside, dict) else file
            if inside is not file:
                return file
    return None


def _model(network: dict[str, Any], default: str = FIRST) -> Any:
    return network.get("model", default)


def _networks(config: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the key of every section that states a network."""
    keys = [["train"], *(["experiments", name, "train"] for name in _names(config, "experiments"))]
    for axis in _names(config, "variants"):
        keys += [["variants", axis, value] for value in _names(config["variants"], axis)]
    for key in keys:
        if isinstance(_at(config, [*key, NETWORK]), dict):
            yield [*key, NETWORK]


def _names(section: dict[str, Any], key: str) -> list[str]:
    inside = section.get(key)
    return list(inside) if isinstance(inside, dict) else []


def _at(config: Any, key: Sequence[str]) -> Any:
    """Return what stands at ``key``; None where nothing does."""
    for name in key:
        config = config.get(name) if isinstance(config, dict) else None
    return config


def _says(layer: dict[str, Any], key: Sequence[str]) -> bool:
    holder = _at(layer, key[:-1])
    return isinstance(holder, dict) and bool(key) and key[-1] in holder


def _of_its_model(network: dict[str, Any], stated: Sequence[Any]) -> dict[str, Any]:
    """Return a network without what only files before the one that states its model say."""
    sections = [one if isinstance(one, dict) else {} for one in stated]
    model, start = FIRST, 0
    for number, one in enumerate(sections):
        if _model(one, model) != model:
            model, start = one["model"], number
    earlier, later = {}, {}
    for number, one in enumerate(sections):
        if number < start:
            earlier = merged(earlier, one)
        else:
            later = merged(later, one)
    return _without(network, earlier, later)


def _without(
    section: dict[str, Any], earlier: dict[str, Any], later: dict[str, Any]
) -> dict[str, Any]:
    kept = {}
    for key, value in section.items():
        below, above = earlier.get(key), later.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and isinstance(above, dict):
            kept[key] = _without(value, below, above)
        elif key in later or key not in earlier:
            kept[key] = value
    return kept
