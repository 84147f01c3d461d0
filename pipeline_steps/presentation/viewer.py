"""What the viewer shows of every test scene: pictures in layers, sampled to a bounded size."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image

from pipeline_steps.presentation.scenes import (
    depth_of,
    labels_of,
    map_of,
    picture_of,
    step_of,
    tested_labels_of,
)
from pipeline_steps.rasters.store import Limits, Scene
from pipeline_steps.study.classes import ClassLook

LEAST_PX = 64
"""Longest side of a layer, however many there are."""

ENOUGH_PX = 256
"""Longest side that a layer keeps, or fewer rasters of a scene are seen."""

WRONG = "#d7263d"
SCALES = {"depth": "magma", "confidence": "viridis"}
"""Kind of a layer → the colours between which its values run."""

NOTHING = 255
"""Place of transparency in a palette."""


class Seen(NamedTuple):
    """A test scene, its pseudo-depths (manifests), maps, and where there are any confidences.

    Maps and confidences are laid out as ``<experiment>/<run>/<scene>/<file>``. ``rasters`` are the
    numbers of those that shall be seen, the first of them first.
    """

    scene: Scene
    depths: Sequence[Path]
    maps: Sequence[Path]
    confidences: Sequence[Path]
    rasters: Sequence[int] = (0,)

    @classmethod
    def among(
        cls,
        scene: Scene,
        depths: list[Path],
        maps: list[Path],
        confidences: list[Path],
        rasters: Mapping[str, list[int]],
    ) -> "Seen":
        """Return a scene with those of all files that are of it; ``rasters`` are told by scene."""
        files = depths, maps, confidences
        here = [[path for path in some if path.parent.name == scene.name] for some in files]
        return cls(scene, *here, rasters.get(scene.name, [0]))

    @property
    def count(self) -> int:
        """Return how many layers a raster has: a map has its errors too."""
        return 2 + len(self.depths) + 2 * len(self.maps) + len(self.confidences)


def viewed(
    scenes: Sequence[Seen],
    limits: Limits | None,
    looks: Sequence[ClassLook],
    viewer_px: int,
    megapixels: float,
) -> dict[str, Any]:
    """Return what the viewer needs, to be written as JSON: legends, and of each scene its layers.

    A layer's longest side is ``viewer_px`` at most, and less where all layers of all scenes would
    have more than so many ``megapixels`` together; before it is less than ``ENOUGH_PX`` fewer
    rasters of a scene of many images are seen, the first of them.
    """
    most, side = _fitting(scenes, viewer_px, megapixels)
    return {
        "classes": [{"name": look.name, "color": look.color} for look in looks],
        "wrong": WRONG,
        "scales": {kind: _stops(name) for kind, name in SCALES.items()},
        "scenes": [
            {
                "name": seen.scene.name,
                "rasters": [_raster(seen, limits, looks, side, i) for i in seen.rasters[:most]],
            }
            for seen in scenes
        ],
    }


def _fitting(scenes: Sequence[Seen], viewer_px: int, megapixels: float) -> tuple[int, int]:
    """Return how many rasters of a scene are seen at most, and the longest side of a layer."""
    most, side = 1, viewer_px
    for most in range(max((len(seen.rasters) for seen in scenes), default=1), 0, -1):
        layers = sum(seen.count * len(seen.rasters[:most]) for seen in scenes)
        side = min(viewer_px, math.isqrt(int(megapixels * 1e6 / max(1, layers))))
        if side >= min(viewer_px, ENOUGH_PX):
            break
    return most, max(LEAST_PX, side)


def _raster(
    seen: Seen, limits: Limits | None, looks: Sequence[ClassLook], side: int, index: int
) -> dict[str, Any]:
    scene, step = seen.scene, step_of(seen.scene, side, index)
    labels = labels_of(scene, step, index)
    classes = _palette([look.rgb for look in looks])
    layers = [
        _layer("image", "image", _photograph(picture_of(scene, limits, step, index))),
        _layer("labels", "classes", _drawing(labels, classes)),
    ]
    for path in seen.depths:
        data = _shades(depth_of(path, step, index), SCALES["depth"])
        layers.append(_layer(f"depth: {path.parents[1].name}", "depth", data))
    for path in seen.maps:
        name, guess = path.parents[2].name, map_of(scene, path, step, index)
        layers.append(_layer(f"map: {name}", "classes", _drawing(guess, classes), name))
        tested = tested_labels_of(scene, path, step, index)
        is_wrong = (tested < len(looks)) & (guess != tested)
        errors = np.where(is_wrong, 0, NOTHING).astype(np.uint8)
        data = _drawing(errors, _palette([list(bytes.fromhex(WRONG[1:]))]))
        layers.append(_layer(f"errors: {name}", "errors", data, name))
    for path in seen.confidences:
        name = path.parents[2].name
        share = map_of(scene, path, step, index).astype(np.float32)
        share[share > 100] = np.nan
        data = _shades(share / 100, SCALES["confidence"])
        layers.append(_layer(f"confidence: {name}", "confidence", data, name))
    rows, columns = labels.shape
    # in pixels of the raster, which the last of those sampled may pass
    size = {"height": rows * step, "width": columns * step}
    return {"name": scene.rasters[index], "index": index, "layers": layers} | size


def _layer(name: str, kind: str, data: str, experiment: str | None = None) -> dict[str, Any]:
    return {"name": name, "kind": kind, "experiment": experiment, "data": data}


def _stops(name: str) -> list[str]:
    colours = matplotlib.colormaps[name](np.linspace(0, 1, 9), bytes=True)[:, :3]
    return ["#" + bytes(rgb).hex() for rgb in colours]


def _palette(colours: Sequence[Sequence[int]]) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    return table


def _shades(values: np.ndarray, name: str) -> str:
    """Return values from 0 to 1 in colours; what is not known is transparent."""
    palette = matplotlib.colormaps[name](np.linspace(0, 1, NOTHING), bytes=True)[:, :3]
    steps = np.nan_to_num(np.clip(values, 0, 1)) * (NOTHING - 1)
    indices = np.where(np.isnan(values), NOTHING, np.round(steps)).astype(np.uint8)
    return _drawing(indices, _palette(palette))


def _drawing(indices: np.ndarray, palette: np.ndarray) -> str:
    """Return indices [H, W] as a PNG with ``palette``, in an address of its own."""
    picture = Image.fromarray(indices, "P")
    picture.putpalette(palette.tobytes())
    return _address(picture, "png", transparency=NOTHING, optimize=True)


def _photograph(picture: np.ndarray) -> str:
    """Return a picture [H, W, 3] from 0 to 1, lossy."""
    pixels = np.round(picture * 255).astype(np.uint8)
    return _address(Image.fromarray(pixels, "RGB"), "webp", quality=85)


def _address(picture: Image.Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
