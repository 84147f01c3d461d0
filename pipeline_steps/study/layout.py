"""The hub's file layout: which files of a repository, or of a folder like it, make a model."""

import posixpath
import re
from collections.abc import Iterable

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREPROCESSOR = "preprocessor_config.json"

KINDS = (WEIGHTS, "model.safetensors.index.json", "pytorch_model.bin")
"""What weights are called, the best first."""

SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")


def is_id(source: str) -> bool:
    """Return whether ``source``, which is no path here, can be a model's id on the hub."""
    is_file = source.endswith((".pth", ".pt", ".bin", ".safetensors"))
    return bool(re.fullmatch(r"\w[\w.-]*/[\w.-]+", source)) and not is_file


def parts_of(names: Iterable[str], file: str | None) -> list[str]:
    """Return which of ``names`` make a model, its weights first; nothing where it has none.

    The weights are ``file``, or what the layout calls them. Raises nothing: config and
    preprocessor are among the parts if they lie beside the weights.
    """
    names = set(names)
    weights = next((name for name in ([file] if file else KINDS) if name in names), None)
    if weights is None:
        return []
    is_index = weights.endswith(".index.json")
    shards = sorted(name for name in names if SHARD.fullmatch(name)) if is_index else []
    folder = posixpath.dirname(weights)
    beside = (posixpath.join(folder, name) for name in (CONFIG, PREPROCESSOR))
    return [weights, *shards, *(name for name in beside if name in names)]
