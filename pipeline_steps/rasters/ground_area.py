"""How much ground pixels cover: in degrees, and where a projection enlarges, the ellipsoid's.

Areas are whole numbers of a small unit, so that sums do not depend on the order of adding.
"""

import re

import numpy as np

from pipeline_steps.rasters.place import gsd_m, plane_around
from pipeline_steps.rasters.raster import Grid, affine_of, moved, unit_of

SHARE = 2**24
"""Units in the pixel at the centre of a raster in degrees: 1e-7 of its area is what rounds off."""

FAITHFUL = 0.01
"""By what share of the ground's a projection may make areas larger or smaller that are its own."""

KNOTS = 33
"""Columns at which the ground is measured where it changes along rows, and between them linear."""

ELLIPSOID = re.compile(r'(?:SPHEROID|ELLIPSOID)\["[^"]*",\s*([0-9.]+),\s*([0-9.]+)')


class Ground:
    """The areas of a raster's pixels, in units of ``unit`` square metres, or pixels (None).

    A pixel's area is that of its plane, whose projection is thought to keep areas. In a CRS of
    degrees, and where a projection does not, as Web Mercator's, it is that of its ground.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.unit: float | None = None
        self._true: _Graticule | _Enlarged | None = None
        if grid.crs is None:
            return
        step, is_round = unit_of(grid.crs)
        a, b, _, d, e, _ = grid.transform
        self.unit = abs(a * e - b * d) * step**2
        if is_round:
            self._true = _Graticule(grid, step, self.unit)
        elif (plane := plane_around(grid)) is not None:
            enlarged = _Enlarged(grid, plane)
            self._true = None if enlarged.is_like(self.unit) else enlarged
        if self._true is not None:
            middle = self._true.areas(np.array([grid.height // 2]), np.array([grid.width // 2]))
            self.unit = max(float(middle[0, 0]), np.finfo(float).tiny) / SHARE

    @property
    def side_m(self) -> float:
        """Return the side of a square as large as a pixel in metres; 1 where that is unknown."""
        if self.unit is None:
            return 1.0
        return float(np.sqrt(self.unit)) if self._true is None else gsd_m(self.grid) or 1.0

    def weights(self, top: int, rows: int) -> np.ndarray:
        """Return the units of pixels, int64 [rows, W], or [rows, 1] where a row has one for all."""
        if self._true is None:
            return np.ones((rows, 1), np.int64)
        width = self.grid.width
        columns = np.arange(width) if self._true.varies_along_rows else np.array([width // 2])
        areas = self._true.areas(np.arange(top, top + rows), columns)
        return np.rint(areas / self.unit).astype(np.int64)

    def sums(self, labels: np.ndarray, top: int, count: int) -> np.ndarray:
        """Return the units of each label of int [rows, W], from row ``top`` on, int64 [n]."""
        if self._true is None:
            return np.bincount(labels.ravel(), minlength=count)
        weights = np.broadcast_to(self.weights(top, len(labels)), labels.shape)
        # whole numbers below 2^53, which doubles hold exactly
        return np.bincount(labels.ravel(), weights.ravel(), count).astype(np.int64)


class _Graticule:
    """The ground under pixels of a raster in degrees, each of which covers ``pixel`` radians²."""

    def __init__(self, grid: Grid, radians: float, pixel: float) -> None:
        found = ELLIPSOID.search(grid.crs)
        self._axis, inverse = (float(number) for number in found.groups())
        # a sphere's is written as 0
        flattening = 1 / inverse if inverse else 0.0
        self._eccentricity2 = flattening * (2 - flattening)
        self._place, self._radians, self._pixel = affine_of(grid), radians, pixel
        # turned against the graticule, every pixel has a latitude of its own
        self.varies_along_rows = bool(self._place.d)

    def areas(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return square metres of pixels, float64 [rows, columns]."""
        place = self._place
        latitudes = place.f + place.d * (columns[None] + 0.5) + place.e * (rows[:, None] + 0.5)
        sine = np.sin(np.clip(latitudes * self._radians, -np.pi / 2, np.pi / 2))
        # the radii of curvature along the meridian and across it, times the cosine
        axes = self._axis**2 * (1 - self._eccentricity2) / (1 - self._eccentricity2 * sine**2) ** 2
        return self._pixel * axes * np.sqrt(1 - sine**2)


class _Enlarged:
    """The ground under pixels of a raster in any projection, measured on an equal-area plane."""

    def __init__(self, grid: Grid, plane: str) -> None:
        self._grid, self._plane = grid, plane
        height, width = grid.height - 1, grid.width - 1
        self._some = self.areas(np.array([0, height / 2, height]), np.array([0, width / 2, width]))
        apart = np.ptp(self._some, axis=1).max()
        self.varies_along_rows = bool(apart > 1e-6 * self._some.mean())

    def is_like(self, pixel: float) -> bool:
        """Return whether pixels' ground is ``pixel`` m² all over the raster, or is unknown."""
        off = np.abs(pixel / self._some - 1)
        return not (np.isfinite(off).all() and off.max() > FAITHFUL)

    def areas(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return square metres of pixels, float64 [rows, columns]."""
        if len(columns) > KNOTS:
            knots = np.linspace(columns[0], columns[-1], KNOTS)
            return np.stack([np.interp(columns, knots, row) for row in self.areas(rows, knots)])
        x, y = (part.ravel() for part in np.meshgrid(columns, rows))
        corners = [
            self._moved(x + right, y + down) for right, down in ((0, 0), (1, 1), (1, 0), (0, 1))
        ]
        (ax, ay), (bx, by) = (corners[1] - corners[0]).T, (corners[3] - corners[2]).T
        return np.abs(ax * by - ay * bx).reshape(len(rows), len(columns)) / 2

    def _moved(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        a, b, c, d, e, f = self._grid.transform
        points = np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)
        return moved(points, self._grid.crs, self._plane)
