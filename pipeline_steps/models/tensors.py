"""What a file of weights is, told without torch, which takes seconds to import."""

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
