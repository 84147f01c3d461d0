"""Teachers: transformers' networks for depth estimation, from folders in the hub's layout."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForDepthEstimation, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES as KINDS,
)
from transformers.utils.logging import disable_progress_bar

disable_progress_bar()

NORMALISATION = "preprocessor_config.json"
"""The hub's file that states mean and standard deviation of a network's input."""

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

SIGNS = {"inverse_depth": 1.0, "height": 1.0, "depth": -1.0}
"""What a network may give → the sign that makes larger taller. Seen from above, depth is the
camera's altitude less the height; inverse depth grows with height, and over a window's relief
it does so nearly along a line."""

GIVES = {
    # canopy height in metres: the expectation over bins of height
    "chmv2": "height",
    # disparity up to a scale and a shift, as MiDaS; the metric ones differ, see `_gives`
    "depth_anything": "inverse_depth",
    # canonical inverse depth: its image processor takes the reciprocal for metres
    "depth_pro": "inverse_depth",
    # MiDaS is taught disparity; the ones upon DINOv2 differ, see `_gives`
    "dpt": "inverse_depth",
    # max_depth times a sigmoid, in metres
    "glpn": "depth",
    # without a prompt, depth as a share of the range that a prompt would have had
    "prompt_depth_anything": "depth",
    # metres: the expectation over bins of depth
    "tipsv2_dpt": "depth",
    # metres: likewise
    "zoedepth": "depth",
}
"""transformers' model_type → what `predicted_depth` is."""

UNNORMALISED = {"glpn", "tipsv2_dpt"}
"""Kinds that see images in [0, 1] unless their folder says otherwise."""

UNUSED = re.compile(
    # the first fusion layer has nothing to add; the mask hides patches in pre-training only
    r"neck\.fusion_stage\.layers\.0\.residual_layer1\.|\.mask_token$"
    # an index that BEiT now counts out by itself
    r"|relative_position_index$"
)
"""Tensors that published weights may lack or have in excess: no forward pass reads them."""


class Teacher(nn.Module):
    """Image in, relative height out: larger is taller.

    ``gives`` is one of `SIGNS`. The network sees images whose sides are ``resample`` times the
    given ones, to the nearest ``multiple``. ``sides`` is `free`, `equal` where it sees squares
    alone, or `fixed` where a side is always ``multiple``.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        normalisation: dict[str, Any],
        gives: str,
        multiple: int,
        resample: float,
        sides: str = "free",
    ) -> None:
        super().__init__()
        self.network, self.sign = network, SIGNS[gives]
        self.multiple, self.resample, self.sides = multiple, resample, sides
        for key in IMAGENET:
            values = torch.tensor(normalisation[key]).view(1, 3, 1, 1)
            self.register_buffer(key, values, persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return relative height float32 [B, 1, H, W] of ``image`` [B, 3, H, W] in [0, 1]."""
        return self.restore(self.look(self.prepare(image)), image.shape[2:])

    def sees(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which the network sees an image of this one."""
        if self.sides == "fixed":
            return self.multiple, self.multiple
        if self.sides == "equal":
            height = width = max(height, width)
        share = self.resample / self.multiple
        return tuple(max(1, round(n * share)) * self.multiple for n in (height, width))

    def prepare(self, image: torch.Tensor) -> torch.Tensor:
        """Return the image at the size at which the network sees it."""
        size = self.sees(*image.shape[2:])
        if size == tuple(image.shape[2:]):
            return image
        return F.interpolate(image, size, mode="bilinear", antialias=True)

    def look(self, image: torch.Tensor) -> torch.Tensor:
        """Return relative height float32 [B, 1, h, w], at the size that the network gives it."""
        seen = (image - self.image_mean) / self.image_std
        return self.sign * self.network(seen).predicted_depth[:, None].float()

    def restore(self, height: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return the height at the size of the image."""
        if tuple(height.shape[2:]) == tuple(size):
            return height
        return F.interpolate(height, tuple(size), mode="bilinear")


def load_teacher(
    folder: Path, resample: float, gives: str | None = None, attention: str | None = None
) -> Teacher:
    """Load a teacher from a hub-layout folder; nothing is fetched and nothing is unpickled.

    ``gives`` (one of `SIGNS`) is by default what is known of the folder's kind of network.
    ``attention`` is transformers' name of an implementation, by default its choice. Raises
    ValueError naming the folder where it holds no depth estimation, where it is not known what
    the network gives, or where the weights are others than the config asks for.
    """
    file = folder / "config.json"
    kind = json.loads(file.read_text()).get("model_type")
    if kind not in KINDS:
        raise ValueError(f"{file}: model_type is {kind!r}, expected one of {', '.join(KINDS)}")
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    gives = gives or _gives(config, file)
    if gives not in SIGNS:
        raise ValueError(f"{file}: gives is {gives!r}, expected one of {', '.join(SIGNS)}")
    network, report = AutoModelForDepthEstimation.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        attn_implementation=attention,
        ignore_mismatched_sizes=True,  # they are in the report
        output_loading_info=True,
    )
    _check_tensors(folder, report)
    multiple, sides = _size(config)
    return Teacher(network, normalisation_of(folder, kind), gives, multiple, resample, sides)


def _gives(config: PreTrainedConfig, file: Path) -> str:
    kind, body = config.model_type, getattr(config, "backbone_config", None)
    if kind == "depth_anything" and config.depth_estimation_type == "metric":
        return "depth"  # max_depth times a sigmoid, in metres
    if kind == "dpt" and body is not None and body.model_type == "dinov2":
        return "depth"  # DINOv2's own heads for NYU and KITTI, in metres
    if kind not in GIVES:
        raise ValueError(
            f"{file}: what a {kind} gives is not known, expected fetch.models.<name>.gives to state"
            f" one of {', '.join(SIGNS)}"
        )
    return GIVES[kind]


def _size(config: PreTrainedConfig) -> tuple[int, str]:
    """Return what a side must be a multiple of, and which sides a network takes."""
    body = getattr(config, "backbone_config", None)
    if config.model_type == "depth_pro":
        # its smallest view is one patch of the encoder's, the others are cut from larger ones
        return round(config.patch_size / min(config.scaled_images_ratios)), "fixed"
    if getattr(config, "is_hybrid", False):
        return config.image_size, "fixed"
    if config.model_type in ("depth_anything", "prompt_depth_anything"):
        return config.patch_size, "free"
    if hasattr(body or config, "depths"):
        return 32, "free"  # four stages, which shrink the image by 4, 2, 2 and 2
    # their necks halve the grid of patches and double it again: an odd one would grow
    multiple = 2 * getattr(body or config, "patch_size", 16)
    # a DPT that is its own backbone takes the root of the number of patches for the side
    return multiple, "equal" if config.model_type == "dpt" and body is None else "free"


def normalisation_of(folder: Path, kind: str) -> dict[str, list[float]]:
    """Return mean and deviation of images in [0, 1], from what the image processor is told."""
    file = folder / NORMALISATION
    stated = json.loads(file.read_text()) if file.is_file() else {}
    if not stated.get("do_normalize", kind not in UNNORMALISED):
        stated |= {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    # the processor multiplies pixels in [0, 255] by this before it normalises them
    factor = stated.get("rescale_factor", 1 / 255) if stated.get("do_rescale", True) else 1.0
    return {key: [v / (255 * factor) for v in (IMAGENET | stated)[key]] for key in IMAGENET}


def _check_tensors(folder: Path, report: dict[str, Any]) -> None:
    found = {
        "missing": report["missing_keys"],
        "in excess": report["unexpected_keys"],
        "of another shape": [key for key, *_ in report["mismatched_keys"]],
    }
    for what, keys in found.items():
        keys = sorted(key for key in keys if not UNUSED.search(key))
        if keys:
            names = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
            raise ValueError(
                f"{folder}: {len(keys)} tensors are {what} ({names}), expected those of config.json"
            )


def save_teacher(teacher: Teacher, folder: Path) -> None:
    """Write a teacher as ``load_teacher`` reads it: network and normalisation."""
    teacher.network.to(memory_format=torch.contiguous_format).save_pretrained(folder)
    stated = {key: getattr(teacher, key).flatten().tolist() for key in IMAGENET}
    (folder / NORMALISATION).write_text(json.dumps(stated, indent=1) + "\n")


def draw_teacher(architecture: dict[str, Any], seed: int) -> PreTrainedModel:
    """Return a network of ``architecture`` (its transformers config) with random weights.

    ``model_type`` in it chooses the kind, by default a Depth Anything. Raises ValueError where
    it makes no network for depth estimation.
    """
    kind = architecture.get("model_type", "depth_anything")
    if kind not in KINDS:
        raise ValueError(
            f"architecture: model_type is {kind!r}, expected one of {', '.join(KINDS)}"
        )
    torch.manual_seed(seed)
    try:
        config = AutoConfig.for_model(**{"model_type": kind} | architecture)
        network = AutoModelForDepthEstimation.from_config(config)
    except (TypeError, ValueError, KeyError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"architecture does not make a {KINDS[kind]}: {reason}") from error
    for last in one_channel(network):
        # most end in a ReLU: drawn around zero they give nothing but zero half of the time
        nn.init.constant_(last.bias, 0.5)
    return network


def one_channel(network: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions that give a single map, which are those that end in the depth."""
    return [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.out_channels == 1]
