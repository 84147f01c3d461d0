"""What happens to a crop: the geometry of all layers together, the colours of the image alone."""

import dataclasses

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from pipeline_steps.rasters.windows import padded

TURNS = 8
"""Quarter turns, and the same mirrored; turn 0 leaves a crop as it is."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to a crop: zoom and turns on all layers, photometric on the image alone."""

    scale: tuple[float, float] = (1.0, 1.0)
    turns: bool = False
    photometric: float = 0.0


def tensors_of(arrays: dict[str, np.ndarray], size: int, ignore: int) -> dict[str, torch.Tensor]:
    """Return layers as tensors [n, size, size]: what a raster lacks on its far side is unknown.

    ``image`` is reflected, so that a network sees no edge; ``labels`` stay uint8; ``target``
    becomes 0 where it is not finite, and ``known`` says where it is.
    """
    layers = {}
    if "image" in arrays:
        layers["image"] = _tensor(padded(arrays["image"], size))
    if "labels" in arrays:
        layers["labels"] = _tensor(_filled(arrays["labels"], size, ignore)[None])
    if "target" in arrays:
        target = _tensor(_filled(arrays["target"], size, np.nan)[None])
        layers["known"] = target.isfinite().float()
        layers["target"] = target.nan_to_num(posinf=0.0, neginf=0.0)
    return layers


def resized(layers: dict[str, torch.Tensor], size: int) -> dict[str, torch.Tensor]:
    """Bring layers [n, s, s] to [n, size, size] so that no pixel's place shifts.

    Labels keep their values; a pixel that mixes known and unknown is not known.
    """
    return {
        key: layer if layer.shape[-1] == size else _resized(layer, size, key)
        for key, layer in layers.items()
    }


def turned(layers: dict[str, torch.Tensor], turn: int) -> dict[str, torch.Tensor]:
    """Turn layers [n, s, s] by ``turn`` % 4 quarters against the clock, then mirror from 4 on."""
    if turn % 4:
        layers = {key: transform.rotate(layer, 90.0 * (turn % 4)) for key, layer in layers.items()}
    if turn >= 4:
        layers = {key: transform.horizontal_flip(layer) for key, layer in layers.items()}
    return layers


def recoloured(image: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """Change brightness, contrast and saturation by up to ``strength``, hue by a tenth of it.

    ``image`` float32 [bands, H, W] in [0, 1]. Which of other than three bands are colours is not
    known: they all get brighter and richer in contrast together.
    """
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    if len(image) != 3:
        image = (image * brightness).clamp_(0, 1)
        return torch.lerp(image.mean(), image, contrast).clamp_(0, 1)
    image = transform.adjust_brightness(image, brightness)
    image = transform.adjust_contrast(image, contrast)
    image = transform.adjust_saturation(image, saturation)
    return with_hue(image, 0.1 * strength * rng.uniform(-1, 1))


def with_hue(image: torch.Tensor, turn: float) -> torch.Tensor:
    """Turn the hue of ``image`` [3, H, W] in [0, 1] by ``turn`` of a circle.

    Smith, "Color gamut transform pairs", SIGGRAPH 1978. What torchvision's ``adjust_hue`` does, in
    two fifths of its time: that was most of what a crop costs.
    """
    red, green, blue = image
    # unlike amin these do not mind the strides that a quarter turn leaves
    least = torch.minimum(torch.minimum(red, green), blue)
    most = torch.maximum(torch.maximum(red, green), blue)
    chroma = most - least
    hue = torch.where(most == green, 2 * chroma + blue - red, 4 * chroma + red - green)
    hue = torch.where(most == red, green - blue, hue)
    # where there is no chroma any hue will do
    hue = hue.div_(chroma.clamp(min=1e-12)).add_(6 * turn).remainder_(6)
    shares = ((hue - 3).abs_() - 1, 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_())
    return torch.stack([share.clamp_(0, 1).mul_(chroma).add_(least) for share in shares])


def _filled(layer: np.ndarray, size: int, fill: float) -> np.ndarray:
    missing = [(0, max(0, size - length)) for length in layer.shape]
    return np.pad(layer, missing, constant_values=fill) if any(m[1] for m in missing) else layer


def _tensor(array: np.ndarray) -> torch.Tensor:
    kind = np.float32 if array.dtype.kind == "f" else array.dtype
    return torch.from_numpy(np.ascontiguousarray(array, dtype=kind))


def _resized(layer: torch.Tensor, size: int, key: str) -> torch.Tensor:
    if key == "labels":
        return transform.resize(layer, [size, size], InterpolationMode.NEAREST_EXACT)
    if key == "known" and bool(layer.all()):
        return layer.new_ones(1, size, size)
    smooth = transform.resize(layer, [size, size], antialias=True)
    return (smooth > 0.999).float() if key == "known" else smooth
