"""How much ground pixels cover: in a projected CRS its plane's, in degrees the ellipsoid's.

Areas are whole numbers of a small unit, so that sums do not depend on the order of adding.
"""

import re

import numpy as np

from pipeline_steps.rasters.place import gsd_m
from pipeline_steps.rasters.raster import Grid, affine_of, unit_of

SHARE = 2**24
"""Units in the pixel at the centre of a raster in degrees: 1e-7 of its area is what rounds off."""

ELLIPSOID = re.compile(r'(?:SPHEROID|ELLIPSOID)\["[^"]*",\s*([0-9.]+),\s*([0-9.]+)')


class Ground:
    """The areas of a raster's pixels, in units of ``unit`` square metres, or pixels (None).

    In a CRS of degrees a pixel's area is that of its centre on the ellipsoid; elsewhere that of
    the plane, whatever its projection does to areas.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.unit: float | None = None
        self._is_round = False
        if grid.crs is None:
            return
        step, self._is_round = unit_of(grid.crs)
        a, b, _, d, e, _ = grid.transform
        self._pixel = abs(a * e - b * d) * step**2
        if not self._is_round:
            self.unit = self._pixel
            return
        found = ELLIPSOID.search(grid.crs)
        self._axis, inverse = (float(number) for number in found.groups())
        # a sphere's is written as 0
        flattening = 1 / inverse if inverse else 0.0
        self._eccentricity2 = flattening * (2 - flattening)
        self._radians = step
        middle = self._square_metres(np.array([grid.height // 2]), np.array([grid.width // 2]))
        self.unit = max(float(middle[0, 0]), np.finfo(float).tiny) / SHARE

    @property
    def side_m(self) -> float:
        """Return the side of a square as large as a pixel in metres; 1 where that is unknown."""
        if self.unit is None:
            return 1.0
        return gsd_m(self.grid) or 1.0 if self._is_round else float(np.sqrt(self.unit))

    def weights(self, top: int, rows: int) -> np.ndarray:
        """Return the units of pixels, int64 [rows, W], or [rows, 1] where a row has one for all."""
        if not self._is_round:
            return np.ones((rows, 1), np.int64)
        # turned against the graticule, every pixel has a latitude of its own
        columns = np.arange(self.grid.width if self.grid.transform[3] else 1)
        areas = self._square_metres(np.arange(top, top + rows), columns)
        return np.rint(areas / self.unit).astype(np.int64)

    def sums(self, labels: np.ndarray, top: int, count: int) -> np.ndarray:
        """Return the units of each label of int [rows, W], from row ``top`` on, int64 [n]."""
        if not self._is_round:
            return np.bincount(labels.ravel(), minlength=count)
        weights = np.broadcast_to(self.weights(top, len(labels)), labels.shape)
        # whole numbers below 2^53, which doubles hold exactly
        return np.bincount(labels.ravel(), weights.ravel(), count).astype(np.int64)

    def _square_metres(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return areas of pixels of a raster in degrees, float64 [rows, columns]."""
        place = affine_of(self.grid)
        latitudes = place.f + place.d * (columns[None] + 0.5) + place.e * (rows[:, None] + 0.5)
        sine = np.sin(np.clip(latitudes * self._radians, -np.pi / 2, np.pi / 2))
        # the radii of curvature along the meridian and across it, times the cosine
        axes = self._axis**2 * (1 - self._eccentricity2) / (1 - self._eccentricity2 * sine**2) ** 2
        return self._pixel * axes * np.sqrt(1 - sine**2)
