"""Draw a town: what covers the land, how tall it is, and how it looks from above.

Ground truth (`draw`) and picture (`render`) are apart, so that one town can be seen under
another sun. Roofs, plazas and roads share materials: height is what tells them apart.
"""

import dataclasses
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

CLASSES = ("building", "road", "plaza", "grass", "tree", "water", "bare soil")
BUILDING, ROAD, PLAZA, GRASS, TREE, WATER, SOIL = range(7)

SHARED = ((172, 168, 160), (128, 126, 124), (196, 184, 164), (176, 108, 84), (212, 208, 202))
OWN = {
    BUILDING: ((168, 84, 60), (142, 70, 56), (118, 96, 88), (92, 90, 96)),
    ROAD: ((98, 98, 100), (116, 114, 112), (84, 84, 88)),
    PLAZA: ((204, 186, 170), (190, 178, 182), (178, 172, 150)),
    GRASS: ((104, 128, 66), (120, 132, 72), (92, 116, 62), (136, 136, 84)),
    TREE: ((52, 80, 42), (62, 92, 48), (74, 92, 44)),
    WATER: ((54, 82, 88), (66, 92, 84), (48, 70, 92)),
    SOIL: ((150, 118, 84), (136, 108, 80), (168, 136, 100)),
}
VEIL = np.array([0.76, 0.79, 0.84], np.float32)
"""Light that haze scatters towards the camera."""

SNOW = (226, 232, 240)
SEASONS = {
    "autumn": {
        TREE: ((156, 96, 44), 0.75),
        GRASS: ((150, 138, 84), 0.6),
        SOIL: ((120, 96, 72), 0.5),
    },
    "winter": {
        BUILDING: (SNOW, 0.55),
        ROAD: (SNOW, 0.15),
        PLAZA: (SNOW, 0.45),
        GRASS: (SNOW, 0.85),
        TREE: ((116, 104, 96), 0.8),
        SOIL: (SNOW, 0.75),
    },
}
"""What classes look like, and how much of each does."""

BLOCKS = ("homes", "homes", "homes", "centre", "centre", "park", "yard")


@dataclasses.dataclass
class Town:
    """Classes uint8 [n, n], height in metres float32 [n, n], albedo float32 [n, n, 3] in [0, 1]."""

    labels: np.ndarray
    height: np.ndarray
    albedo: np.ndarray


@dataclasses.dataclass(frozen=True)
class Look:
    """How a town is seen; the fields are those of ``synthesize.shifts``."""

    sun: tuple[float, float] = (32.0, 58.0)
    season: str = "summer"
    haze: float = 0.0
    response: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur: float = 0.5
    noise: float = 0.012


def draw(size: int, gsd: float, shared_materials: float, rng: np.random.Generator) -> Town:
    """Draw a town of ``size`` pixels of ``gsd`` metres; see ``synthesize.Params`` for the rest."""
    return _Painter(size, gsd, shared_materials, rng).town()


def render(
    town: Town, gsd: float, rng: np.random.Generator, look: Look | None = None
) -> np.ndarray:
    """Return the town under a random sun, uint8 [3, n, n]: shading, cast shadows, haze, noise.

    Another ``look`` draws the same numbers: nothing differs but what it says.
    """
    look = look or Look()
    albedo = _in_season(town, look.season, rng.spawn(1)[0])
    azimuth, altitude = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(*look.sun))
    towards = np.array([np.sin(azimuth), np.cos(azimuth)])
    down, right = np.gradient(town.height, gsd)
    slope = np.clip(-(down * towards[0] + right * towards[1]), -1.5, 1.5)
    light = np.clip(1 + 0.45 * slope / np.tan(altitude), 0.55, 1.4)
    lit = gaussian_filter(1 - _shadow(town.height, gsd, towards, altitude), 0.6)[..., None]
    ambient = np.array([0.34, 0.38, 0.45], np.float32)
    picture = albedo * (ambient + (1 - ambient) * lit * light[..., None])
    picture *= rng.uniform(0.9, 1.1) * rng.uniform(0.95, 1.05, 3)
    picture = picture * rng.uniform(0.9, 1.0) + rng.uniform(0.0, 0.06)
    if look.haze:
        picture = picture * (1 - look.haze) + look.haze * VEIL
    if look.response != (1, 1, 1):
        picture = picture.clip(0) ** np.array(look.response, np.float32)
    picture = gaussian_filter(picture, (look.blur, look.blur, 0))
    picture = picture + rng.normal(0, look.noise, picture.shape)
    return np.moveaxis((picture * 255).clip(0, 255).astype(np.uint8), -1, 0)


def _in_season(town: Town, season: str, rng: np.random.Generator) -> np.ndarray:
    """Return the albedo in summer, as it was drawn, in autumn or in winter."""
    if season == "summer":
        return town.albedo
    shades = SEASONS[season]
    albedo, noise = town.albedo.copy(), rng.standard_normal(town.labels.shape, np.float32)
    mottle = _normal(gaussian_filter(noise, 2)) + _normal(gaussian_filter(noise, 12))
    for kind, (colour, share) in shades.items():
        covered = town.labels == kind
        if not covered.any():
            continue
        # the larger its share, the more of a class has turned; patches have soft rims
        turned = 1 / (1 + np.exp(-3 * (mottle / np.sqrt(2) + norm.ppf(share))))
        turned = (turned * covered)[..., None]
        # what is darker stays darker
        grey = albedo.mean(-1, keepdims=True) / max(albedo[covered].mean(), 1e-6)
        albedo = albedo * (1 - turned) + turned * np.array(colour, np.float32) / 255 * grey**0.5
    return albedo.clip(0, 1)


def _shadow(height: np.ndarray, gsd: float, towards: np.ndarray, altitude: float) -> np.ndarray:
    """Return 1 where something towards the sun stands in the light, marching pixel by pixel."""
    reach = int(height.max() / np.tan(altitude) / gsd) + 1
    edge = np.pad(height, reach + 1, mode="constant")
    n, dark = len(height), np.zeros(height.shape, bool)
    for step in range(1, reach + 1):
        dy, dx = np.rint(towards * step).astype(int) + reach + 1
        dark |= edge[dy : dy + n, dx : dx + n] > height + step * gsd * np.tan(altitude) + 0.3
    return dark.astype(np.float32)


class _Painter:
    """Paints block by block in a street grid that is turned against the image."""

    def __init__(self, size: int, gsd: float, shared: float, rng: np.random.Generator) -> None:
        self.rng, self.shared, self.size = rng, shared, size
        angle = rng.uniform(0, np.pi / 2)
        y, x = np.mgrid[:size, :size].astype(np.float32) * gsd
        self.u = x * np.cos(angle) + y * np.sin(angle)
        self.v = y * np.cos(angle) - x * np.sin(angle)
        self.labels = np.full((size, size), GRASS, np.uint8)
        self.height = np.zeros((size, size), np.float32)
        self.albedo = np.empty((size, size, 3), np.float32)
        self.albedo[:] = self._colour(GRASS)
        self.gsd = gsd
        self._to_pixels = np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )

    def town(self) -> Town:
        """Draw streets and blocks, then roughen all surfaces."""
        across, along = (self._streets(axis.min(), axis.max()) for axis in (self.u, self.v))
        for u0, u1 in across:
            for v0, v1 in along:
                if self._box(u0, v0, u1, v1):
                    getattr(self, f"_{self.rng.choice(BLOCKS)}")(u0, v0, u1, v1)
        for lines, axis, other in ((across, self.u, along), (along, self.v, across)):
            self._pave(lines, axis, other)
        self._roughen()
        return Town(self.labels, self.height, self.albedo.clip(0, 1))

    def _streets(self, low: float, high: float) -> list[tuple[float, float]]:
        """Return the spans of blocks between streets 7 to 12 metres wide."""
        spans, at = [], low - self.rng.uniform(0, 60)
        while at < high:
            end = at + self.rng.uniform(46, 92)
            spans.append((at, end))
            at = end + self.rng.uniform(7, 12)
        return spans

    def _pave(
        self,
        lines: list[tuple[float, float]],
        axis: np.ndarray,
        crossing: list[tuple[float, float]],
    ) -> None:
        """Pave between blocks, in another grey from one crossing to the next."""
        other = self.v if axis is self.u else self.u
        for (_, low), (high, _) in pairwise(lines):
            street = (axis >= low) & (axis < high)
            for start, end in pairwise(crossing):
                part = street & (other >= start[0]) & (other < end[0])
                self._fill((slice(None), slice(None)), part, ROAD, 0, self._colour(ROAD))

    def _homes(self, u0: float, v0: float, u1: float, v1: float) -> None:
        self._ground(u0, v0, u1, v1, GRASS)
        step = self.rng.uniform(22, 32)
        for u in np.arange(u0 + 3, u1 - 12, step):
            for v in (v0 + self.rng.uniform(3, 6), v1 - self.rng.uniform(19, 25)):
                if self.rng.random() < 0.85:
                    self._house(u, v, self.rng.uniform(11, step - 2), self.rng.uniform(9, 17))
        if self.rng.random() < 0.4:
            self._patch(u0, v0, u1, v1, self.rng.choice([PLAZA, SOIL]))
        self._trees(u0, v0, u1, v1, self.rng.integers(4, 22))

    def _centre(self, u0: float, v0: float, u1: float, v1: float) -> None:
        self._ground(u0 + 2, v0 + 2, u1 - 2, v1 - 2, PLAZA)
        if self.rng.random() < 0.5:
            self._patch(u0, v0, u1, v1, GRASS)
        for u in np.arange(u0 + 5, u1 - 16, self.rng.uniform(26, 44)):
            for v in np.arange(v0 + 5, v1 - 16, self.rng.uniform(26, 44)):
                if self.rng.random() < 0.75:
                    self._house(u, v, self.rng.uniform(13, 28), self.rng.uniform(13, 28), 24)
        self._trees(u0, v0, u1, v1, self.rng.integers(0, 8))

    def _park(self, u0: float, v0: float, u1: float, v1: float) -> None:
        self._ground(u0, v0, u1, v1, GRASS)
        for _ in range(self.rng.integers(1, 3)):
            self._pond(self.rng.uniform(u0 + 12, u1 - 12), self.rng.uniform(v0 + 12, v1 - 12))
        if self.rng.random() < 0.5:
            self._patch(u0, v0, u1, v1, PLAZA)
        self._trees(u0, v0, u1, v1, self.rng.integers(15, 60))

    def _yard(self, u0: float, v0: float, u1: float, v1: float) -> None:
        self._ground(u0, v0, u1, v1, SOIL)
        if self.rng.random() < 0.6:
            size = self.rng.uniform(12, 26, 2)
            self._house(u0 + 5, v0 + 5, *size, 12)
        if self.rng.random() < 0.5:
            self._patch(u0, v0, u1, v1, GRASS)
        self._trees(u0, v0, u1, v1, self.rng.integers(0, 10))

    def _ground(self, u0: float, v0: float, u1: float, v1: float, kind: int) -> None:
        if box := self._box(u0, v0, u1, v1):
            inside = self._inside(box, u0, v0, u1, v1)
            self._fill(box, inside, kind, 0, self._colour(kind))

    def _patch(self, u0: float, v0: float, u1: float, v1: float, kind: int) -> None:
        """Lay another ground over a part of the block, round what stands there."""
        a, b = np.sort(self.rng.uniform(u0, u1, 2)), np.sort(self.rng.uniform(v0, v1, 2))
        if box := self._box(a[0], b[0], a[1], b[1]):
            inside = self._inside(box, a[0], b[0], a[1], b[1]) & (self.height[box] == 0)
            self._fill(box, inside, kind, 0, self._colour(kind))

    def _house(self, u: float, v: float, wide: float, deep: float, tallest: float = 9) -> None:
        """Build a flat or gabled house, sometimes L-shaped, with a few things on a flat roof."""
        box = self._box(u, v, u + wide, v + deep)
        if not box:
            return
        inside = self._inside(box, u, v, u + wide, v + deep)
        if self.rng.random() < 0.3:
            inside &= ~self._inside(box, u + wide / 2, v + deep / 2, u + wide, v + deep)
        height = np.full(inside.shape, self.rng.uniform(3, tallest), np.float32)
        if self.rng.random() < 0.5:
            along_u = wide > deep
            across = (self.v[box] - v) / deep if along_u else (self.u[box] - u) / wide
            height += (0.5 - np.abs(across - 0.5)) * 0.8 * min(wide, deep)
        elif wide > 10 and deep > 10:
            for _ in range(self.rng.integers(0, 4)):
                a, b = u + self.rng.uniform(1, wide - 4), v + self.rng.uniform(1, deep - 4)
                height[self._inside(box, a, b, a + 2.5, b + 2)] += self.rng.uniform(1, 2.5)
        self._fill(box, inside, BUILDING, height, self._colour(BUILDING))

    def _trees(self, u0: float, v0: float, u1: float, v1: float, count: int) -> None:
        for _ in range(count):
            u, v = self.rng.uniform(u0 + 2, u1 - 2), self.rng.uniform(v0 + 2, v1 - 2)
            radius = self.rng.uniform(1.6, 4.2)
            if box := self._box(u - radius, v - radius, u + radius, v + radius):
                far = np.hypot(self.u[box] - u, self.v[box] - v) / radius
                crown = (far < 1) & np.isin(self.labels[box], (GRASS, PLAZA, SOIL, TREE))
                dome = self.rng.uniform(1.8, 3.2) * radius * np.sqrt(1 - far.clip(0, 1) ** 2)
                tops = np.maximum(dome + 0.8, self.height[box])
                self._fill(box, crown, TREE, tops, self._colour(TREE))

    def _pond(self, u: float, v: float) -> None:
        radius = self.rng.uniform(9, 18)
        if box := self._box(u - radius, v - radius, u + radius, v + radius):
            du, dv = self.u[box] - u, self.v[box] - v
            bulge = 1 + 0.2 * np.sin(3 * np.arctan2(dv, du) + self.rng.uniform(0, 6))
            pond = (np.hypot(du, dv) < 0.8 * radius * bulge) & (self.height[box] == 0)
            self._fill(box, pond, WATER, 0, self._colour(WATER))

    def _fill(
        self,
        box: tuple[slice, slice],
        inside: np.ndarray,
        kind: int,
        height: np.ndarray | float,
        colour: np.ndarray,
    ) -> None:
        self.labels[box][inside] = kind
        self.height[box][inside] = height[inside] if isinstance(height, np.ndarray) else height
        self.albedo[box][inside] = colour

    def _colour(self, kind: int) -> np.ndarray:
        """Return an albedo: of the shared palette, or of the class's own."""
        is_shared = kind in (BUILDING, PLAZA, ROAD) and self.rng.random() < self.shared
        palette = SHARED if is_shared else OWN[kind]
        colour = np.array(palette[self.rng.integers(len(palette))], np.float32) / 255
        return colour * self.rng.uniform(0.88, 1.12) * self.rng.uniform(0.96, 1.04, 3)

    def _roughen(self) -> None:
        """Mottle what grows and lies open more than what is built."""
        grain = np.array([0.03, 0.03, 0.03, 0.09, 0.16, 0.02, 0.08], np.float32)[self.labels]
        noise = self.rng.standard_normal((3, self.size, self.size), np.float32)
        texture = sum(
            _normal(gaussian_filter(layer, sigma))
            for layer, sigma in zip(noise, (0.7, 3, 14), strict=True)
        )
        self.albedo *= 1 + (grain * texture / 1.7)[..., None]

    def _inside(self, box: tuple, u0: float, v0: float, u1: float, v1: float) -> np.ndarray:
        u, v = self.u[box], self.v[box]
        return (u >= u0) & (u < u1) & (v >= v0) & (v < v1)

    def _box(self, u0: float, v0: float, u1: float, v1: float) -> tuple[slice, slice] | None:
        """Return the image's part round a rectangle of the street grid, or None outside."""
        corners = np.array([[u0, u0, u1, u1], [v0, v1, v0, v1]])
        x, y = self._to_pixels @ corners / self.gsd
        box = tuple(slice(max(0, int(c.min())), min(self.size, int(c.max()) + 2)) for c in (y, x))
        return box if all(part.start < part.stop for part in box) else None


def _normal(noise: np.ndarray) -> np.ndarray:
    return noise / noise.std()
