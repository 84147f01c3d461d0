"""DINOv2 as its own code, transformers and timm have it: one network under three sets of names.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", arXiv 2304.07193;
registers: Darcet et al., arXiv 2309.16588.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, PreTrainedConfig

from pipeline_steps.models.teacher import normalisation_of

State = dict[str, torch.Tensor]

PREFIXES = {
    "pos_embed": "embeddings.position_embeddings",
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "register_tokens": "embeddings.register_tokens",
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    "blocks.": "encoder.layer.",
    "norm.": "layernorm.",
}
"""How names begin in DINOv2's own code → in transformers' weights on the hub."""

INFIXES = {
    ".attn.proj.": ".attention.output.dense.",
    ".ls1.gamma": ".layer_scale1.lambda1",
    ".ls2.gamma": ".layer_scale2.lambda1",
    ".mlp.w12.": ".mlp.weights_in.",
    ".mlp.w3.": ".mlp.weights_out.",
}
"""What names hold in a block, likewise. Query, key and value are one tensor in its own code."""

QUERY = re.compile(r"\.attention\.attention\.query\.")
KINDS = ("dinov2", "dinov2_with_registers")


def is_teacher(folder: Path) -> bool:
    """Return whether a folder in the hub's layout holds a network that has a backbone."""
    file = folder / "config.json"
    return file.is_file() and '"backbone_config"' in file.read_text()


def timm_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of an encoder that is the backbone of the teacher in ``folder``.

    They are JSON: timm's name, arguments, and mean and std of what it sees. Raises ValueError
    where the backbone is no DINOv2, or one that timm has no counterpart of.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    backbone = getattr(config, "backbone_config", None)
    kind = getattr(backbone, "model_type", None)
    if kind not in KINDS:
        raise ValueError(
            f"{folder / 'config.json'}: backbone is {kind}, expected {' or '.join(KINDS)} for"
            " encoder.name: teacher"
        )
    _check(backbone, folder / "config.json")
    registers = getattr(backbone, "num_register_tokens", 0)
    size = "giant" if backbone.use_swiglu_ffn else "small"
    stated = normalisation_of(folder, config.model_type)
    return {
        "name": f"vit_{size}_patch14{'_reg4' if registers else ''}_dinov2",
        "arguments": _arguments(backbone, registers),
        "mean": stated["image_mean"],
        "std": stated["image_std"],
    }


def _check(backbone: PreTrainedConfig, file: Path) -> None:
    for key, expected in {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_channels": 3}.items():
        if getattr(backbone, key) != expected:
            raise ValueError(
                f"{file}: {key} of the backbone is {getattr(backbone, key)}, expected {expected}"
                " for encoder.name: teacher"
            )


def _arguments(backbone: PreTrainedConfig, registers: int) -> dict[str, Any]:
    width, ratio = backbone.hidden_size, backbone.mlp_ratio
    if backbone.use_swiglu_ffn:
        # transformers rounds a half's width; timm truncates that of both, so half a one to spare
        half = (int(int(width * ratio) * 2 / 3) + 7) // 8 * 8
        ratio = (2 * half + 0.5) / width
    return {
        "patch_size": _side(backbone.patch_size),
        "embed_dim": width,
        "depth": backbone.num_hidden_layers,
        "num_heads": backbone.num_attention_heads,
        "img_size": _side(backbone.image_size),
        "init_values": backbone.layerscale_value,
        "mlp_ratio": ratio,
        "qkv_bias": backbone.qkv_bias,
    } | ({"reg_tokens": registers} if registers else {})


def _side(size: int | list[int] | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]


def backbone_state(folder: Path) -> State:
    """Return the tensors of the backbone in a teacher's folder, by DINOv2's own names."""
    state = load_file(folder / "model.safetensors")
    own = "backbone."
    return original({k.removeprefix(own): v for k, v in state.items() if k.startswith(own)})


def original(state: Mapping[str, torch.Tensor]) -> State:
    """Return transformers' tensors of DINOv2 by the names of its own code."""
    renamed: State = {}
    for key, value in state.items():
        if QUERY.search(key):
            parts = [state[QUERY.sub(f".attention.attention.{p}.", key)] for p in ("key", "value")]
            renamed[_own(QUERY.sub(".attn.qkv.", key))] = torch.cat([value, *parts])
        elif ".attention.attention." not in key:
            renamed[_own(key)] = value
    # timm tells DINOv2 by it; it hides patches in pre-training only
    renamed.setdefault("mask_token", torch.zeros(1, renamed["norm.weight"].numel()))
    return renamed


def _own(key: str) -> str:
    for own, other in PREFIXES.items():
        if key.startswith(other):
            key = own + key.removeprefix(other)
            break
    for own, other in INFIXES.items():
        key = key.replace(other, own)
    return key
