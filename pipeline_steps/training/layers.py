"""The arrays of one raster that a training reads, opened from scenes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.rasters.store import Limits, Scene, open_array, read
from pipeline_steps.rasters.windows import Window


@dataclasses.dataclass(frozen=True)
class Layers:
    """One raster's arrays: image [bands, H, W] in [0, 1], and what goes with it, [H, W] each.

    ``labels`` is uint8 with ``ignore`` where there is none; ``target`` is float, NaN where unknown:
    pseudo-depth in [0, 1], or elevation. One of them is None where the training has no use for it.
    ``factor`` is how many pixels of a crop, along a side, stand for one of the raster; ``name``
    says to a person which raster it is.
    """

    image: Any
    labels: Any | None
    target: Any | None = None
    factor: float = 1.0
    name: str = "raster"

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width."""
        return self.image.shape[1], self.image.shape[2]

    def beside(self, window: Window) -> dict[str, np.ndarray]:
        """Read what there is of ``labels`` and ``target`` in a window, cut off at the edges."""
        arrays = {"labels": self.labels, "target": self.target}
        return {key: read(one, window) for key, one in arrays.items() if one is not None}


def taught(found: dict[str, np.ndarray], ignore: int) -> np.ndarray:
    """Return where ``labels`` say something or, without them, ``target`` does; bool [h, w]."""
    return found["labels"] != ignore if "labels" in found else np.isfinite(found["target"])


def layers_of(
    scenes: Sequence[Scene],
    targets: Sequence[Path],
    limits: Limits | None,
    part: tuple[str, int | None],
    ignore: int,
    bands: str = "rgb",
) -> list[Layers]:
    """Open the rasters of ``scenes``, with ``targets``, a store for each scene, if there are any.

    ``bands`` says what of the image is opened: rgb, or all. Where a scene is divided, labels and
    targets outside ``part`` (its name and fold) are unknown.
    """
    rasters = []
    for number, scene in enumerate(scenes):
        for i, raster in enumerate(scene.rasters):
            labels = scene.within(scene.array("labels", i), i, *part, ignore)
            target = None
            if targets:
                target = scene.within(open_array(targets[number], i), i, *part, np.nan)
            name = f"scene {scene.name}" + (f", raster {raster}" if scene.is_folder else "")
            rasters.append(Layers(scene.picture(i, limits, bands), labels, target, name=name))
    return rasters


def held(rasters: Sequence[Layers], kept: Sequence[str], most: int) -> list[Layers]:
    """Return rasters with the layers ``kept`` in memory if these have at most ``most`` bytes.

    Reading the same chunks again costs more than a step.
    """
    arrays = [getattr(r, key) for r in rasters for key in kept if getattr(r, key) is not None]
    if sum(array.nbytes for array in arrays) > most:
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
