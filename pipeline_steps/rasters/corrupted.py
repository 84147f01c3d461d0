"""A tiled scene as a corruption shows it: nothing is stored, its image is corrupted as it is read.

The view takes the place of the store, so whatever maps a scene maps it as it maps any other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline_steps.rasters import corruption
from pipeline_steps.rasters.corruption import BLOCK, LUMINANCE, VALUES
from pipeline_steps.rasters.place import pixel_m
from pipeline_steps.rasters.store import Limits, Scene, read, shard_size
from pipeline_steps.rasters.windows import Window, blocks, grown

SAMPLE = 4_000_000
"""Pixels, evenly spread over all rasters, whose median luminance is taken."""

LEVELS = 4096
"""Steps in which luminance is counted."""


PIECE = 1024
"""Height and width of what is corrupted at a time, so that rows may be of any width."""


class CorruptedScene(Scene):
    """A scene whose ``image`` is corrupted; all else is the scene's own.

    ``limits`` are the values of every band that become 0 and 1, ``median`` the luminance of
    ``median_luminance``, which shadow alone asks for. Indexed as the store, in its own type.
    """

    def __init__(
        self, scene: Scene, kind: str, severity: int, limits: Limits, median: float = 0.5
    ) -> None:
        super().__init__(scene.folder / "manifest.json", scene.facts, scene.divided)
        self.name = f"{scene.name}, {kind} {severity}"
        self.kind, self.value = kind, VALUES[kind][severity - 1]
        self._limits, self._median = limits, median

    def array(self, store: str, index: int) -> Any:
        """Open one of the scene's stores of raster ``index``, or the corrupted image."""
        own = super().array(store, index)
        if store != "image":
            return own
        return Corrupted(self, index, own, self.kind, self.value, self._limits, self._median)


def why_not(scene: Scene, kind: str) -> str | None:
    """Return what a scene lacks that a kind of corruption needs; None where it lacks nothing."""
    if kind != "sun":
        return None
    if not scene.facts["has_elevation"]:
        return "has no elevation"
    grids = (scene.grid(index) for index in range(len(scene.rasters)))
    return None if all(pixel_m(grid) for grid in grids) else "has no georeference"


def median_luminance(scene: Scene, limits: Limits) -> float:
    """Return the median luminance in [0, 1] of what a scene shows, of every n-th row and column."""
    total = sum(raster["valid_pixels"] for raster in scene.facts["rasters"])
    step, counts = max(1, int(np.ceil(np.sqrt(total / SAMPLE)))), np.zeros(LEVELS, np.int64)
    for index in range(len(scene.rasters)):
        picture, valid = scene.picture(index, limits), scene.valid(index)
        for window in blocks(*picture.shape[1:], shard_size(256)):
            seen = read(picture, window)[:, ::step, ::step]
            level = np.einsum("b,bhw->hw", np.array(LUMINANCE), seen)
            known = slice(None) if valid is None else read(valid, window)[::step, ::step] > 0
            numbers = np.rint(level[known] * (LEVELS - 1)).astype(np.intp)
            counts += np.bincount(numbers.ravel(), minlength=LEVELS)
    middle = np.searchsorted(np.cumsum(counts), counts.sum() / 2)
    return float(middle) / (LEVELS - 1)


class Corrupted:
    """The image of one raster [bands, H, W] in its own type, corrupted as it is read.

    What has no data stays as it is, bit for bit; what lies beyond the limits becomes these, which
    is what networks see.
    """

    def __init__(
        self,
        scene: Scene,
        index: int,
        image: Any,
        kind: str,
        value: float,
        limits: Limits,
        median: float,
    ) -> None:
        self.image, self.kind, self.value, self.median = image, kind, value, median
        self.shape, self.dtype, self.chunks = image.shape, image.dtype, image.chunks
        self.valid, self.rgb, self.number = scene.valid(index), scene.facts["rgb"], index
        low, high = np.array(limits, np.float64).T[:, :, None, None]
        self._low, self._range = low.astype(np.float32), (high - low).astype(np.float32)
        if kind == "sun":
            self.elevation = scene.array("elevation", index)
            self.metres = pixel_m(scene.grid(index))
            self._reach = corruption.reach_of_sun(self._highest(), self.metres, value)

    def __getitem__(self, index: tuple[Any, ...]) -> np.ndarray:
        *others, rows, columns = index
        spans = [one.indices(n) for one, n in zip((rows, columns), self.shape[1:], strict=True)]
        (top, bottom, down), (left, right, across) = spans
        size = max(0, bottom - top), max(0, right - left)
        found = np.empty((self.shape[0], *size), self.dtype)
        for part in blocks(*size, PIECE):
            place = Window(top + part.y, left + part.x, part.height, part.width)
            found[(..., *part.slices)] = self._window(place)
        return found[(*others, slice(None, None, down), slice(None, None, across))]

    def _window(self, window: Window) -> np.ndarray:
        around, inner = self._around(window)
        pixels = read(self.image, around)
        valid = None if self.valid is None else read(self.valid, around) > 0
        share = ((pixels.astype(np.float32) - self._low) / self._range).clip(0, 1)
        share = np.nan_to_num(share) if pixels.dtype.kind == "f" else share
        share = self._corrupted(share, around, valid)[(..., *inner)]
        values, old = share * self._range + self._low, pixels[(..., *inner)]
        if self.dtype.kind in "ui":
            ends = np.iinfo(self.dtype)
            values = np.rint(values).clip(ends.min, ends.max)
        values = values.astype(self.dtype)
        return values if valid is None else np.where(valid[inner], values, old)

    def _around(self, window: Window) -> tuple[Window, tuple[slice, slice]]:
        """Return what is read for a window, and where in it the window lies."""
        height, width = self.shape[1:]
        if self.kind != "jpeg":
            return grown(window, corruption.reach_of(self.kind, self.value), height, width)
        y, x = window.y // BLOCK * BLOCK, window.x // BLOCK * BLOCK
        bottom = min(height, -(-(window.y + window.height) // BLOCK) * BLOCK)
        right = min(width, -(-(window.x + window.width) // BLOCK) * BLOCK)
        inner = Window(window.y - y, window.x - x, window.height, window.width)
        return Window(y, x, bottom - y, right - x), inner.slices

    def _corrupted(
        self, picture: np.ndarray, window: Window, valid: np.ndarray | None
    ) -> np.ndarray:
        value, place, size = self.value, (window.y, window.x), self.shape[1:]
        match self.kind:
            case "haze":
                return corruption.haze(picture, value, self.rgb)
            case "shadow":
                return corruption.shadow(picture, value, self.rgb, self.median)
            case "sun":
                return corruption.sun(picture, self._light(window), self.rgb)
            case "season":
                return corruption.season(picture, value, self.rgb)
            case "noise":
                return corruption.noise(picture, value, place, self.number)
            case "blur":
                return corruption.blur(picture, value, valid)
            case "gsd":
                return corruption.gsd(picture, value, place, size, valid)
            case "jpeg":
                return corruption.jpeg(picture, value, self.rgb)
        raise ValueError(f"kind is {self.kind!r}, expected one of {', '.join(VALUES)}")

    def _light(self, window: Window) -> np.ndarray:
        """Return the sunlight on a window, for which heights towards the sun are read as well."""
        height, width = self.shape[1:]
        y, right = max(0, window.y - 1), min(width, window.x + window.width + 1)
        x = max(0, window.x - self._reach)
        bottom = min(height, window.y + window.height + self._reach)
        heights = read(self.elevation, Window(y, x, bottom - y, right - x))
        light = corruption.sunlight(heights, self.metres, self.value)
        return light[Window(window.y - y, window.x - x, window.height, window.width).slices]

    def _highest(self) -> float:
        """Return the largest height above ground."""
        parts: Sequence[Window] = list(blocks(*self.shape[1:], shard_size(256)))
        highest = (np.nan_to_num(read(self.elevation, part)).max() for part in parts)
        return float(max(highest, default=0.0))
