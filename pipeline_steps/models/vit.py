"""Networks of timm by name, with weights of a folder; nothing is fetched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pipeline_steps.models.dinov2 import State, backbone_state, is_teacher

TROUBLE = (RuntimeError, TypeError, ValueError, AssertionError, ArithmeticError, SafetensorError)
"""What timm and others raise for arguments, names and weights that make no network."""


LOADS = {
    *("cache_dir", "checkpoint_path", "file", "pretrained", "pretrained_cfg"),
    *("pretrained_cfg_overlay", "pretrained_strict", "pretrained_model_args"),
}
"""Arguments of timm that name files or hubs: weights come from `fetch` alone."""


def load_vit(name: str, arguments: Mapping[str, Any], weights: Path | None) -> nn.Module:
    """Return a ViT of timm that takes images of any size, without a classifier.

    ``weights`` is a folder of `fetch` or `adapt`: timm's own, or a teacher whose backbone is this
    ViT. Raises ValueError where no such network comes of it.
    """
    vit = create(name, arguments, weights, dynamic_img_size=True)
    if not hasattr(vit, "blocks") or not hasattr(vit, "forward_intermediates"):
        raise ValueError(f"encoder is {name}, expected a vision transformer of timm")
    return vit


def create(
    name: str, arguments: Mapping[str, Any], weights: Path | None, **always: Any
) -> nn.Module:
    """Return a network of timm without its classifier; every other tensor is in ``weights``.

    ``arguments`` are the user's, ``always`` ours. Raises ValueError where they make no network,
    or one of other tensors.
    """
    overlay = None
    refuse_places(name, arguments)
    try:
        if weights is not None:
            # as many classes as the network has: only then is timm strict about all the others
            overlay = {"state_dict": state_of(weights, name), "num_classes": 0}
        network = timm.create_model(
            name,
            pretrained=weights is not None,
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            **{**always, **arguments},
        )
    except TROUBLE as error:
        made_of = f"{weights / 'model.safetensors' if weights else name} with {dict(arguments)}"
        raise ValueError(f"{made_of} does not make a network: {one_line(error)}") from error
    network.pretrained_cfg.pop("state_dict", None)
    return network


def refuse_places(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise ValueError where timm would load something from a file or a hub."""
    if ":" in name:
        raise ValueError(f"encoder is {name}, expected a name that timm knows, and no place")
    if taken := sorted(LOADS & arguments.keys()):
        raise ValueError(f"arguments has {taken[0]}, expected none that says where weights are")


def one_line(error: Exception) -> str:
    """Return what an error says, as the end of a message of one line."""
    said = " ".join(str(error).split())
    return said if len(said) <= 300 else f"{said[:300]} …"


def state_of(folder: Path, name: str) -> State:
    """Return the tensors of a folder for a network of timm, but for its classifier's."""
    if is_teacher(folder):
        return backbone_state(folder)
    config = timm.get_pretrained_cfg(name)
    stated = (config.classifier if config else None) or ()
    heads = (stated,) if isinstance(stated, str) else tuple(stated)
    state = load_file(folder / "model.safetensors")
    return {k: v for k, v in state.items() if not k.startswith(tuple(f"{head}." for head in heads))}
