"""Crops of scenes, drawn so that crop number n is the same in every run."""

import dataclasses
import signal
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline_steps.models.layers import NO_DEPTH
from pipeline_steps.rasters.store import read
from pipeline_steps.training import sampling
from pipeline_steps.training.augment import (
    Augmentation,
    recoloured,
    resized,
    tensors_of,
    turned,
)
from pipeline_steps.training.layers import Layers, held, taught
from pipeline_steps.training.rare import RareClasses

HELD_IN_MEMORY = 2 * 1024**3
"""Bytes up to which all rasters of a training are read once and kept."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Where crops lie and whose depth goes with them; the fields are those of ``train``."""

    positions: Literal["anywhere", "grid"] = "anywhere"
    rare_classes: float | None = None
    depth_control: Literal["none", "constant", "shuffled"] = "none"


Tensors = dict[str, torch.Tensor]


class Crops(Dataset):
    """An endless-enough list of random crops; item n depends on the seed and n alone.

    Rasters that are small enough are held in memory, unless ``hold`` is false: worker processes
    would each get a copy. ``features`` are what a frozen encoder says of every variant of a grid,
    float16 [variants, taps, C, h, w]; images are then read only if they go ``beside``. Raises
    ValueError where there are features and no grid.
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
        drawing: Drawing = Drawing(),
        features: Any | None = None,
        beside: bool = False,
    ) -> None:
        if features is not None and drawing.positions != "grid":
            raise ValueError(
                f"positions is {drawing.positions}, but there are features: expected grid"
            )
        self.shows_image = features is None or beside
        kept = ("image", "labels", "target") if self.shows_image else ("labels", "target")
        self.rasters = held(rasters, kept, HELD_IN_MEMORY) if hold else list(rasters)
        self.crop, self.count, self.seed = crop, count, seed
        self.augmentation, self.ignore = augmentation, ignore
        self.drawing, self.features = drawing, features
        self._anywhere = sampling.Anywhere(self.rasters, crop, augmentation)
        self._sampler = self._chosen()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Return ``image`` float32 [bands, c, c] in [0, 1], ``taps``, what is cached, or both,
        and of what there is ``labels`` int64 [c, c], ``target`` float32 [1, c, c] and ``known``, 1
        where the target is."""
        rng = self._generator(number)
        place, arrays = self._drawn(rng)
        if self.shows_image:
            arrays["image"] = read(self.rasters[place.raster].image, place.window)
        layers = self._shown(arrays, place)
        if "target" in layers:
            layers |= self._controlled(layers["known"], place, number)
        if "image" in layers and self.augmentation.photometric:
            layers["image"] = recoloured(layers["image"], self.augmentation.photometric, rng)
        if "labels" in layers:
            layers["labels"] = layers["labels"][0].long()
        if self.features is not None:
            layers["taps"] = torch.from_numpy(np.asarray(self.features[place.variant]))
        return layers

    def place(self, number: int) -> sampling.Place:
        """Return what item ``number`` shows, to tell a person."""
        return self._drawn(self._generator(number))[0]

    @property
    def variants(self) -> int:
        """Return how many crops there are to draw on a grid; elsewhere 0, for no end."""
        return self._sampler.variants if isinstance(self._sampler, sampling.OnGrid) else 0

    def variant_of(self, number: int) -> int | None:
        """Return which of the ``variants`` item ``number`` is, the same for every seed, or None."""
        return next(self._sampler.draw(self._generator(number))).variant

    def image_of(self, variant: int) -> torch.Tensor:
        """Return what a grid's variant shows, neither zoomed nor recoloured, [bands, c, c]."""
        place = self._sampler.variant(variant)
        pixels = read(self.rasters[place.raster].image, place.window)
        return self._shown({"image": pixels}, place)["image"]

    def _chosen(self) -> sampling.Sampler:
        rasters, augmentation, ignore = self.rasters, self.augmentation, self.ignore
        if self.drawing.positions == "grid":
            return sampling.OnGrid(rasters, self.crop, augmentation, ignore)
        if self.drawing.rare_classes is not None:
            temperature = self.drawing.rare_classes
            return RareClasses(rasters, self.crop, augmentation, ignore, temperature)
        return self._anywhere

    def _generator(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, number])

    def _drawn(self, rng: np.random.Generator) -> tuple[sampling.Place, dict[str, np.ndarray]]:
        """Return the first place drawn that teaches something, and what lies beside its image."""
        for place in self._sampler.draw(rng):
            found = self.rasters[place.raster].beside(place.window)
            if taught(found, self.ignore).any():
                break
        return place, found

    def _shown(self, arrays: dict[str, np.ndarray], place: sampling.Place) -> Tensors:
        layers = resized(tensors_of(arrays, place.size, self.ignore), self.crop)
        return turned(layers, place.turn)

    def _controlled(self, known: torch.Tensor, place: sampling.Place, number: int) -> Tensors:
        """Return what becomes of the target: see ``depth_control``."""
        if self.drawing.depth_control == "constant":
            return {"target": NO_DEPTH * known}
        if self.drawing.depth_control == "none":
            return {}
        # a generator of its own: images and labels are those that are drawn without this control
        rng = np.random.default_rng([self.seed, number, 1])
        for other in self._anywhere.elsewhere(place, rng):
            target = read(self.rasters[other.raster].target, other.window)
            if np.isfinite(target).any():
                break
        return self._shown({"target": target}, other)


class _Share(Sampler[int]):
    """The numbers of the crops that one of several devices gets, ``each`` of every step."""

    def __init__(self, start: int, count: int, step: int, rank: int, each: int) -> None:
        self.start, self.count, self.step, self.rank, self.each = start, count, step, rank, each

    def __iter__(self) -> Iterator[int]:
        for first in range(self.start + self.rank * self.each, self.count, self.step):
            yield from range(first, min(first + self.each, self.count))

    def __len__(self) -> int:
        steps, left = divmod(max(0, self.count - self.start), self.step)
        return steps * self.each + min(self.each, max(0, left - self.rank * self.each))


def _outlive(_: int) -> None:
    """Let a worker leave SIGTERM to the training, which ends it: that has to be kept first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def batches(
    crops: Crops,
    size: int,
    workers: int,
    pin: bool,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
) -> DataLoader:
    """Return a loader of ``crops`` in order from number ``start`` on, ``size`` for each step.

    Device ``rank`` of ``world`` gets its share of every step: the crops k · size + rank · size /
    world … of step k. Raises ValueError where ``size`` cannot be shared out evenly.
    """
    if size % world:
        raise ValueError(f"batch is {size}, but devices are {world}: expected a multiple")
    each = size // world
    return DataLoader(
        crops,
        each,
        sampler=_Share(start, len(crops), size, rank, each),
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        # zarr's event loop does not survive a fork
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_outlive,
        # a loader draws from torch's own generator otherwise, once each time it begins
        generator=torch.Generator(),
    )
