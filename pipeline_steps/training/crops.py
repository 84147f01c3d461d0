"""Crops of scenes, drawn so that crop number n is the same in every run."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transform

from pipeline_steps.rasters.store import Limits, Scene, open_array, read
from pipeline_steps.rasters.windows import Window, padded

HELD_IN_MEMORY = 2 * 1024**3
"""Bytes up to which all rasters of a training are read once and kept."""


@dataclasses.dataclass(frozen=True)
class Layers:
    """One raster's arrays: image [3, H, W] in [0, 1], and what goes with it, [H, W] each.

    ``labels`` is uint8 with ``ignore`` where there is none; ``target`` is float, NaN where unknown:
    pseudo-depth in [0, 1], or elevation. One of them is None where the training has no use for it.
    ``factor`` is how many pixels of a crop, along a side, stand for one of the raster.
    """

    image: Any
    labels: Any | None
    target: Any | None = None
    factor: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width."""
        return self.image.shape[1], self.image.shape[2]


def layers_of(
    scenes: Sequence[Scene],
    targets: Sequence[Path],
    limits: Limits | None,
    part: tuple[str, int | None],
    ignore: int,
) -> list[Layers]:
    """Open the rasters of ``scenes``, with ``targets``, a store for each scene, if there are any.

    Where a scene is divided, labels and targets outside ``part`` (its name and fold) are unknown.
    """
    rasters = []
    for number, scene in enumerate(scenes):
        for i in range(len(scene.rasters)):
            labels = scene.within(scene.array("labels", i), i, *part, ignore)
            target = None
            if targets:
                target = scene.within(open_array(targets[number], i), i, *part, np.nan)
            rasters.append(Layers(scene.picture(i, limits), labels, target))
    return rasters


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to a crop: zoom and turns on all layers, photometric on the image alone."""

    scale: tuple[float, float] = (1.0, 1.0)
    turns: bool = False
    photometric: float = 0.0


class Crops(Dataset):
    """An endless-enough list of random crops; item n depends on the seed and n alone.

    Rasters that are small enough are held in memory, unless ``hold`` is false: worker processes
    would each get a copy.
    """

    def __init__(
        self,
        rasters: Sequence[Layers],
        crop: int,
        count: int,
        seed: int,
        augmentation: Augmentation,
        ignore: int,
        hold: bool = True,
    ) -> None:
        self.rasters = _held(rasters) if hold else list(rasters)
        self.crop, self.count, self.seed = crop, count, seed
        self.augmentation, self.ignore = augmentation, ignore
        # in pixels of the crops: rasters of one area weigh alike, however fine they are
        areas = np.array([np.prod(raster.size) * raster.factor**2 for raster in rasters], float)
        self._share = areas / areas.sum()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Return ``image`` float32 [3, c, c] in [0, 1], and of what there is ``labels`` int64
        [c, c], ``target`` float32 [1, c, c] and ``known``, 1 where the target is."""
        rng = np.random.default_rng([self.seed, number])
        raster = self.rasters[rng.choice(len(self.rasters), p=self._share)]
        layers = self._cut(raster, rng)
        if self.augmentation.turns:
            quarter, flip = rng.integers(4), rng.integers(2)
            layers = {key: _turned(layer, quarter, flip) for key, layer in layers.items()}
        if self.augmentation.photometric:
            layers["image"] = _recoloured(layers["image"], self.augmentation.photometric, rng)
        if "labels" in layers:
            layers["labels"] = layers["labels"][0].long()
        return layers

    def _cut(self, raster: Layers, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Return one crop, zoomed; one without anything to learn is drawn again, a few times."""
        low, high = np.log(self.augmentation.scale)
        for _ in range(10):
            zoom = np.exp(rng.uniform(low, high)) * raster.factor
            size = max(1, round(self.crop / zoom))
            window = _anywhere(raster.size, size, rng)
            beside = {"labels": raster.labels, "target": raster.target}
            found = {key: read(one, window) for key, one in beside.items() if one is not None}
            if self._teaches(found):
                break
        layers = {"image": _tensor(padded(read(raster.image, window), size))}
        if "labels" in found:
            layers["labels"] = _tensor(_filled(found["labels"], size, self.ignore)[None])
        if "target" in found:
            target = _tensor(_filled(found["target"], size, np.nan)[None])
            layers["known"] = target.isfinite().float()
            layers["target"] = target.nan_to_num()
        if size == self.crop:
            return layers
        return {key: _resized(layer, self.crop, key) for key, layer in layers.items()}

    def _teaches(self, found: dict[str, np.ndarray]) -> bool:
        if "labels" in found:
            return bool((found["labels"] != self.ignore).any())
        return bool(np.isfinite(found["target"]).any())


def batches(crops: Crops, size: int, workers: int, pin: bool) -> DataLoader:
    """Return a loader of ``crops`` in order, ``size`` at a time."""
    return DataLoader(
        crops,
        size,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        # zarr's event loop does not survive a fork
        multiprocessing_context="spawn" if workers else None,
    )


def _held(rasters: Sequence[Layers]) -> list[Layers]:
    """Return rasters in memory if all fit: reading the same chunks again costs more than a step."""
    kept = ("image", "labels", "target")
    arrays = [getattr(r, key) for r in rasters for key in kept if getattr(r, key) is not None]
    if sum(array.nbytes for array in arrays) > HELD_IN_MEMORY:
        return list(rasters)
    return [
        dataclasses.replace(r, **{key: _in_memory(getattr(r, key)) for key in kept})
        for r in rasters
    ]


def _in_memory(array: Any | None) -> Any | None:
    """Return an array, or a view of one, that reads no file."""
    if array is None:
        return None
    return array.held() if hasattr(array, "held") else array[:]


def _anywhere(shape: tuple[int, int], size: int, rng: np.random.Generator) -> Window:
    y, x = (int(rng.integers(max(1, length - size + 1))) for length in shape)
    return Window(y, x, min(size, shape[0] - y), min(size, shape[1] - x))


def _filled(layer: np.ndarray, size: int, fill: float) -> np.ndarray:
    missing = [(0, max(0, size - length)) for length in layer.shape]
    return np.pad(layer, missing, constant_values=fill) if any(m[1] for m in missing) else layer


def _tensor(array: np.ndarray) -> torch.Tensor:
    kind = np.float32 if array.dtype.kind == "f" else array.dtype
    return torch.from_numpy(np.ascontiguousarray(array, dtype=kind))


def _resized(layer: torch.Tensor, size: int, key: str) -> torch.Tensor:
    if key == "labels":
        return F.interpolate(layer[None].float(), (size, size), mode="nearest-exact")[0]
    smooth = F.interpolate(layer[None], (size, size), mode="bilinear", antialias=True)[0]
    # a pixel that mixes known and unknown is not known
    return (smooth > 0.999).float() if key == "known" else smooth


def _turned(layer: torch.Tensor, quarter: int, flip: int) -> torch.Tensor:
    layer = torch.rot90(layer, int(quarter), (-2, -1))
    return layer.flip(-1) if flip else layer


def _recoloured(image: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    image = transform.adjust_brightness(image, brightness)
    image = transform.adjust_contrast(image, contrast)
    image = transform.adjust_saturation(image, saturation)
    return transform.adjust_hue(image, 0.1 * strength * rng.uniform(-1, 1))
