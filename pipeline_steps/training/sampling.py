"""Where crops lie: anywhere by area, or on a grid of windows."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from pipeline_steps.rasters.store import read
from pipeline_steps.rasters.windows import CROPS_OVERLAP, Window, grid
from pipeline_steps.training.augment import TURNS, Augmentation
from pipeline_steps.training.layers import Layers, taught

TRIES = 10
"""Places from which the first that teaches something is taken."""


@dataclasses.dataclass(frozen=True)
class Place:
    """What a crop shows: ``window``, a square of ``size`` pixels cut off at its raster's edges.

    ``zoom`` is the crop's pixels for one of the raster, along a side; ``turn`` is as in ``turned``;
    ``variant`` is the number of an unzoomed window and turn on a grid, None elsewhere.
    """

    raster: int
    name: str
    window: Window
    size: int
    zoom: float
    turn: int = 0
    variant: int | None = None

    def __str__(self) -> str:
        y, x, height, width = self.window
        return f"{self.name}, rows {y}–{y + height}, columns {x}–{x + width}"


class Sampler(Protocol):
    """Draws places by a generator, and by nothing else that changes."""

    def draw(self, rng: np.random.Generator) -> Iterator[Place]:
        """Yield places, at least one: the first that teaches something is meant, or the last."""


class Positions:
    """What all samplers share: the crops that lie in rasters."""

    def __init__(self, rasters: Sequence[Layers], crop: int, augmentation: Augmentation) -> None:
        self.rasters, self.crop, self.augmentation = rasters, crop, augmentation

    def size(self, zoom: float) -> int:
        """Return how many pixels of a raster a crop is wide; one at least."""
        return max(1, round(self.crop / zoom))

    def zoom(self, index: int, rng: np.random.Generator) -> float:
        """Draw a zoom of a raster, as often in as out."""
        low, high = np.log(self.augmentation.scale)
        return float(np.exp(rng.uniform(low, high))) * self.rasters[index].factor

    def turn(self, rng: np.random.Generator) -> int:
        """Draw quarter turns and a flip, if there are turns."""
        return int(rng.integers(4) + 4 * rng.integers(2)) if self.augmentation.turns else 0

    def place(self, index: int, y: int, x: int, zoom: float) -> Place:
        """Return the crop whose upper left corner lies at a pixel."""
        raster, size = self.rasters[index], self.size(zoom)
        height, width = raster.size
        window = Window(y, x, min(size, height - y), min(size, width - x))
        return Place(index, raster.name, window, size, zoom)


class Anywhere(Positions):
    """Places anywhere; rasters are drawn by their area."""

    def __init__(self, rasters: Sequence[Layers], crop: int, augmentation: Augmentation) -> None:
        super().__init__(rasters, crop, augmentation)
        # in pixels of the crops: rasters of one area weigh alike, however fine they are
        self._areas = np.array([np.prod(r.size) * r.factor**2 for r in rasters], float)

    def draw(self, rng: np.random.Generator) -> Iterator[Place]:
        """Yield places of one raster."""
        index = _drawn(self._areas, rng)
        for _ in range(TRIES):
            place = self._anywhere(index, self.zoom(index, rng), rng)
            yield dataclasses.replace(place, turn=self.turn(rng))

    def elsewhere(self, place: Place, rng: np.random.Generator) -> Iterator[Place]:
        """Yield places of another raster or, where there is one alone, first those farthest off.

        They have the zoom of ``place``, and turns of their own.
        """
        others = self._areas * (np.arange(len(self._areas)) != place.raster)
        areas, drawn = others if others.any() else self._areas, []
        for _ in range(TRIES):
            index = _drawn(areas, rng)
            zoom = place.zoom * self.rasters[index].factor / self.rasters[place.raster].factor
            other = self._anywhere(index, zoom, rng)
            drawn.append(dataclasses.replace(other, turn=self.turn(rng)))
        yield from sorted(drawn, key=lambda other: _shared(place, other))

    def _anywhere(self, index: int, zoom: float, rng: np.random.Generator) -> Place:
        size = self.size(zoom)
        y, x = (int(rng.integers(max(1, length - size + 1))) for length in self.rasters[index].size)
        return self.place(index, y, x, zoom)


class OnGrid(Positions):
    """Windows that overlap by a quarter, in all turns if there are turns: a list with numbers.

    Windows that teach nothing are left out, unless all are such. A zoom leaves the middle of a
    window where it is, as far as the raster's edges let it.
    """

    def __init__(
        self, rasters: Sequence[Layers], crop: int, augmentation: Augmentation, ignore: int
    ) -> None:
        super().__init__(rasters, crop, augmentation)
        found = np.concatenate([row for i in range(len(rasters)) for row in self._rows(i, ignore)])
        teaches = found[:, 3] > 0
        self._corners = found[teaches] if teaches.any() else found
        self._turns = TURNS if augmentation.turns else 1

    @property
    def variants(self) -> int:
        """Return how many windows times turns there are."""
        return len(self._corners) * self._turns

    def draw(self, rng: np.random.Generator) -> Iterator[Place]:
        """Yield one variant, zoomed."""
        place = self.variant(int(rng.integers(self.variants)))
        zoom = self.zoom(place.raster, rng)
        size, (height, width) = self.size(zoom), self.rasters[place.raster].size
        y, x = (
            max(0, min(start + (place.size - size) // 2, length - size))
            for start, length in zip(place.window[:2], (height, width), strict=True)
        )
        zoomed = self.place(place.raster, y, x, zoom)
        yield dataclasses.replace(zoomed, turn=place.turn, variant=place.variant)

    def variant(self, number: int) -> Place:
        """Return a variant, not zoomed."""
        position, turn = divmod(number, self._turns)
        index, y, x, _ = map(int, self._corners[position])
        place = self.place(index, y, x, self.rasters[index].factor)
        return dataclasses.replace(place, turn=turn, variant=number)

    def _rows(self, index: int, ignore: int) -> Iterator[np.ndarray]:
        """Yield raster, row and column of windows, and 1 if they teach something, int32 [n, 4]."""
        raster = self.rasters[index]
        size, key = self.size(raster.factor), "target" if raster.labels is None else "labels"
        for row in grid(*raster.size, size, CROPS_OVERLAP):
            # in memory is one row of windows at a time
            strip = read(getattr(raster, key), Window(row[0].y, 0, size, raster.size[1]))
            columns = taught({key: strip}, ignore).any(axis=0)
            teach = (columns[window.slices[1]].any() for window in row)
            pairs = zip(row, teach, strict=True)
            yield np.array([(index, one.y, one.x, teaches) for one, teaches in pairs], np.int32)


def _drawn(areas: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.choice(len(areas), p=areas / areas.sum()))


def _shared(one: Place, other: Place) -> int:
    """Return how many pixels two places have in common."""
    if one.raster != other.raster:
        return 0
    area = 1
    for axis in (0, 1):
        first = max(place.window[axis] for place in (one, other))
        area *= max(0, min(p.window[axis] + p.window[axis + 2] for p in (one, other)) - first)
    return area
