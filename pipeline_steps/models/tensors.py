"""What a file of weights is, told without torch, which takes seconds to import."""

from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open


def is_plain(weights: Path, name: str) -> bool:
    """Return whether weights are safetensors, and not in the names of Depth Anything's own code.

    Raises ValueError with ``name``, what the user calls them, where they are cut.
    """
    if weights.suffix != ".safetensors":
        return False
    try:
        with safe_open(weights, "np") as file:
            return not any(key.startswith("depth_head.") for key in file.keys())  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{name}: cannot be read ({error}), expected safetensors") from error


def refuse(
    name: str, kind: str, missing: Iterable[str], more: Iterable[str], shapes: Iterable[str]
) -> None:
    """Raise ValueError with some of the tensors that do not fit, where any does not."""
    groups = {"misses": missing, "has besides": more, "has in another shape": shapes}
    said = [f"{words} {some(keys)}" for words, keys in groups.items() if keys]
    if said:
        raise ValueError(f"{name}: {'; '.join(said)}; expected the tensors of {kind}")


def some(keys: Iterable[str]) -> str:
    """Return the first three of some names, and how many more there are."""
    keys = sorted(keys)
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
