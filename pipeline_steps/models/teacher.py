"""The teacher: transformers' Depth Anything, from a folder in the hub's layout."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

from pipeline_steps.models.device import autocast, pick_device

NORMALISATION = "preprocessor_config.json"
"""The hub's file that states mean and standard deviation of a network's input."""

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


class Teacher(nn.Module):
    """Image in, relative height out: larger is taller.

    Depth Anything V1 and V2 give inverse depth, which seen from above is height up to a scale
    and a shift, and is used as it is.
    """

    def __init__(
        self,
        network: DepthAnythingForDepthEstimation,
        normalisation: dict[str, Any],
        resample: float,
    ) -> None:
        super().__init__()
        self.network, self.resample = network, resample
        self.patch: int = network.config.patch_size
        for key in ("image_mean", "image_std"):
            values = torch.tensor(normalisation[key]).view(1, 3, 1, 1)
            self.register_buffer(key, values, persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return relative height float32 [B, 1, H, W] of ``image`` [B, 3, H, W] in [0, 1].

        The network sees the image resampled to the nearest multiple of its patch size.
        """
        seen = [max(1, round(n * self.resample / self.patch)) * self.patch for n in image.shape[2:]]
        x = F.interpolate(image, seen, mode="bilinear", antialias=True)
        depth = self.network((x - self.image_mean) / self.image_std).predicted_depth[:, None]
        return F.interpolate(depth.float(), image.shape[2:], mode="bilinear")


class TeacherOnDevice:
    """A teacher where it runs: image [n, 3, H, W] in [0, 1] in, float32 [n, H, W] out."""

    def __init__(self, folder: Path, resample: float, precision: str) -> None:
        self.device, self.precision = pick_device(), precision
        teacher = load_teacher(folder, resample).eval()
        self.teacher = teacher.to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(pixels).to(self.device)
        with autocast(self.device, self.precision):
            height = self.teacher(image.contiguous(memory_format=torch.channels_last))
        return height[:, 0].float().cpu().numpy()


def load_teacher(folder: Path, resample: float, attention: str | None = None) -> Teacher:
    """Load a teacher from a hub-layout folder; nothing is fetched and nothing is unpickled.

    ``attention`` is transformers' name of an implementation, by default its choice. Raises
    ValueError naming the folder where it holds no Depth Anything.
    """
    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") != "depth_anything":
        raise ValueError(
            f"{folder}/config.json: model_type is {config.get('model_type')!r}, expected"
            " 'depth_anything'"
        )
    network = DepthAnythingForDepthEstimation.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, attn_implementation=attention
    )
    file = folder / NORMALISATION
    stated = json.loads(file.read_text()) if file.is_file() else {}
    return Teacher(network, IMAGENET | stated, resample)


def save_teacher(teacher: Teacher, folder: Path) -> None:
    """Write a teacher as ``load_teacher`` reads it: network and normalisation."""
    teacher.network.to(memory_format=torch.contiguous_format).save_pretrained(folder)
    stated = {key: getattr(teacher, key).flatten().tolist() for key in IMAGENET}
    (folder / NORMALISATION).write_text(json.dumps(stated, indent=1) + "\n")


def draw_teacher(architecture: dict[str, Any], seed: int) -> DepthAnythingForDepthEstimation:
    """Return a Depth Anything of ``architecture`` (its transformers config) with random weights."""
    torch.manual_seed(seed)
    try:
        network = DepthAnythingForDepthEstimation(DepthAnythingConfig(**architecture))
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"architecture does not make a Depth Anything: {error}") from error
    # the head ends in a ReLU: drawn around zero it gives nothing but zero half of the time
    nn.init.constant_(network.head.conv3.bias, 0.5)
    return network
