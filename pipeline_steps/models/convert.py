"""Weights as their makers handed them out become what transformers and timm load, as safetensors.

Names of tensors follow the original code of Depth Anything (Yang et al., arXiv 2401.10891 and
2406.09414) and DINOv2 (Oquab et al., arXiv 2304.07193). Nothing but tensors is unpickled.
"""

import json
import pickle
import re
import shutil
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from timm.models.vision_transformer import checkpoint_filter_fn
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

from pipeline_steps.models.dinov2 import INFIXES, PREFIXES, State
from pipeline_steps.models.encoder import default_taps
from pipeline_steps.models.tensors import refuse, some

UNREADABLE = (SafetensorError, RuntimeError, EOFError, OSError, KeyError, ValueError, TypeError)
"""What is raised for a file that was cut or is something else; for an index that is no JSON, or
lists no shards, one of the last three."""

DINOV2 = {384: "small", 768: "base", 1024: "large", 1536: "giant"}
"""Width → what timm calls the size."""

HEAD = 64
"""Width of one attention head, the same in every size of DINOv2."""

RENAMED = [
    *((rf"^pretrained\.{re.escape(own)}", f"backbone.{hub}") for own, hub in PREFIXES.items()),
    *((re.escape(own), hub) for own, hub in INFIXES.items()),
    (r"^depth_head\.projects\.(\d)\.", r"neck.reassemble_stage.layers.\1.projection."),
    (r"^depth_head\.resize_layers\.(\d)\.", r"neck.reassemble_stage.layers.\1.resize."),
    *((rf"^depth_head\.scratch\.layer{i + 1}_rn\.", f"neck.convs.{i}.") for i in range(4)),
    *(
        (rf"^depth_head\.scratch\.refinenet{4 - i}\.", f"neck.fusion_stage.layers.{i}.")
        for i in range(4)
    ),
    (r"\.out_conv\.", ".projection."),
    (r"\.resConfUnit(\d)\.conv(\d)\.", r".residual_layer\1.convolution\2."),
    (r"^depth_head\.scratch\.output_conv1\.", "head.conv1."),
    (r"^depth_head\.scratch\.output_conv2\.0\.", "head.conv2."),
    (r"^depth_head\.scratch\.output_conv2\.2\.", "head.conv3."),
]
"""Depth Anything's names → those of transformers' weights on the hub; the coarsest fusion, which
the original calls refinenet4, is the first there."""


def convert(
    weights: Path,
    name: str,
    published: str,
    checkpoint: str | None,
    config: Path | None,
    folder: Path,
) -> None:
    """Write ``weights`` into ``folder`` as ``config.json`` and ``model.safetensors``.

    They are a file of ``torch.save``, safetensors, or the index of its shards. ``name`` is what
    the user calls them, ``published`` the same without a path of this machine, ``checkpoint`` what
    the config says they are. Weights of the original code of Depth Anything and DINOv2 are
    converted; others stay as they are, and need ``config``.
    Raises ValueError naming the file where it holds more than tensors, or not those of a network.
    """
    state = _read(weights, name)
    kind = _kind(state, name, published, checkpoint)
    if kind == "dinov2":
        _write_dinov2(state, name, folder)
    elif kind is not None:
        _write_depth_anything(state, name, kind, folder)
    elif config is None:
        raise ValueError(
            f"{name}: holds {some(state)}, expected those of Depth Anything or DINOv2, or a"
            " config.json beside it"
        )
    else:
        shutil.copyfile(config, folder / "config.json")
        # tensors may share memory, which safetensors does not write
        alone = {key: value.clone().contiguous() for key, value in state.items()}
        save_file(alone, folder / "model.safetensors", {"format": "pt"})


def _read(weights: Path, name: str) -> State:
    try:
        if weights.suffix == ".json":
            return _read_shards(weights)
        if weights.suffix == ".safetensors":
            return load_file(weights)
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{name}: holds more than tensors, or is no file of torch.save; expected weights"
            " alone, nothing else in it is loaded or run"
        ) from error
    except UNREADABLE as error:
        raise ValueError(f"{name}: cannot be read ({error}), expected weights") from error
    is_state = isinstance(state, dict) and all(map(torch.is_tensor, state.values()))
    if not is_state or not state:
        held = some(state) if isinstance(state, dict) else f"a {type(state).__name__}"
        raise ValueError(f"{name}: holds {held}, expected tensors by name")
    return state


def _read_shards(index: Path) -> State:
    places = dict(json.loads(index.read_text())["weight_map"])
    state: State = {}
    for shard in sorted(set(places.values())):
        state |= load_file(index.parent / Path(shard).name)
    if state.keys() != places.keys():
        raise KeyError(f"its shards hold {len(state)} tensors, it lists {len(places)}")
    return state


def _kind(state: State, name: str, published: str, checkpoint: str | None) -> str | None:
    """Return which original code the weights are of; None for none."""
    if any(key.startswith("depth_head.") for key in state):
        _refuse_metric(name, published)
        found = {"depth_anything_v1", "depth_anything_v2"}
    else:
        found = {"dinov2"} if {"mask_token", "blocks.0.attn.qkv.weight"} <= state.keys() else set()
    if checkpoint and checkpoint not in found:
        raise ValueError(f"{name}: holds {some(state)}, expected those of {checkpoint}")
    if checkpoint or len(found) < 2:
        return checkpoint or next(iter(found), None)
    return _version(name)


def _refuse_metric(name: str, published: str) -> None:
    """Raise ValueError for a Depth Anything of metric depth, which only its name tells."""
    if re.search("(?<![a-z])metric", published.lower()):
        raise ValueError(
            f"{name}: gives metric depth, expected relative depth, or the same in transformers'"
            " layout (its hub id ends in -hf)"
        )


def _version(name: str) -> str:
    """Return the version of a Depth Anything, which nothing but its name tells."""
    words = re.sub(r"[^a-z0-9]+", "_", name.lower())
    told = re.findall(r"depth_anything_(v2|v1|vit)", words)
    if not told:
        raise ValueError(
            f"{name}: its name does not tell Depth Anything V1 from V2, which tap other blocks;"
            " expected checkpoint: depth_anything_v1 or depth_anything_v2"
        )
    return "depth_anything_v2" if told[-1] == "v2" else "depth_anything_v1"


def _write_depth_anything(state: State, name: str, kind: str, folder: Path) -> None:
    config = _depth_anything_config(state, name, kind)
    network, loaded = DepthAnythingForDepthEstimation.from_pretrained(
        None,
        config=config,
        state_dict=_renamed(state),
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    shapes = [key for key, *_ in loaded["mismatched_keys"]]
    refuse(name, kind, loaded["missing_keys"], loaded["unexpected_keys"], shapes)
    network.save_pretrained(folder)


def _depth_anything_config(state: State, name: str, kind: str) -> DepthAnythingConfig:
    """Return the config as it is on the hub, its sizes told by the shapes of the tensors."""
    try:
        _, tokens, width = state["pretrained.pos_embed"].shape
        patch = state["pretrained.patch_embed.proj.weight"].shape[-1]
        neck = [state[f"depth_head.projects.{i}.weight"].shape[0] for i in range(4)]
        fusion = state["depth_head.scratch.layer1_rn.weight"].shape[0]
        inner = state["depth_head.scratch.output_conv2.0.weight"].shape[0]
        blocks = sum(bool(re.fullmatch(r"pretrained\.blocks\.\d+\.ls1\.gamma", k)) for k in state)
        taps = default_taps(blocks)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{name}: holds no {kind}: {error} is missing or misshapen") from error
    if kind == "depth_anything_v1":
        taps = list(range(blocks - 4, blocks))
    backbone = {
        "model_type": "dinov2",
        "hidden_size": width,
        "num_hidden_layers": blocks,
        "num_attention_heads": max(1, width // HEAD),
        "image_size": round((tokens - 1) ** 0.5) * patch,
        "patch_size": patch,
        "out_indices": [tap + 1 for tap in taps],
        "reshape_hidden_states": False,
        "apply_layernorm": True,
    }
    return DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=patch,
        reassemble_hidden_size=width,
        neck_hidden_sizes=neck,
        fusion_hidden_size=fusion,
        head_hidden_size=inner,
    )


def _renamed(state: State) -> State:
    renamed: State = {}
    for key, value in state.items():
        for pattern, new in RENAMED:
            key = re.sub(pattern, new, key)
        if ".attn.qkv." in key:
            parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
            renamed |= {key.replace("attn.qkv", f"attention.attention.{p}"): v for p, v in parts}
        else:
            renamed[key] = value
    return renamed


def _write_dinov2(state: State, name: str, folder: Path) -> None:
    """Write DINOv2 as timm publishes it; timm's own filter converts the tensors."""
    width = state["mask_token"].shape[-1]
    if width not in DINOV2:
        sizes = ", ".join(map(str, DINOV2))
        raise ValueError(f"{name}: has width {width}, expected one of DINOv2's: {sizes}")
    registers = "_reg4" if "register_tokens" in state else ""
    with torch.device("meta"):
        vit = timm.create_model(
            f"vit_{DINOV2[width]}_patch14{registers}_dinov2.lvd142m", num_classes=0
        )
    expected = vit.state_dict()
    state = checkpoint_filter_fn(dict(state), vit)
    both = expected.keys() & state.keys()
    shapes = [key for key in both if expected[key].shape != state[key].shape]
    refuse(name, "dinov2", expected.keys() - state.keys(), state.keys() - expected.keys(), shapes)
    vit.load_state_dict(state, assign=True)
    save_for_hf(vit, str(folder), safe_serialization=True)
