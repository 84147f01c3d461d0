"""Raw relative depth made height above ground in [0, 1]: one look learns how, a second does it."""

import numpy as np

from pipeline_steps.rasters.ground import Ground

SAMPLE = 2**18
"""Pixels, evenly spread, from which percentiles are taken."""

FLAT = 1e-5
"""Range that is no relief, as a share of the largest number: rounding makes as much."""


class Relief:
    """A raw field [H, W], shown from top to bottom, NaN where it is unknown.

    Once it is settled, ``sample`` is every ``step``-th row and column of it without its
    ground, and ``low`` and ``high`` are the ``percentiles`` thereof that become 0 and 1.
    """

    def __init__(
        self, height: int, width: int, ground: Ground, percentiles: tuple[float, float]
    ) -> None:
        self.height, self.width = height, width
        self.step = int(np.ceil(np.sqrt(height * width / SAMPLE)))
        self.ground, self.percentiles = ground, percentiles
        self.low = self.high = self._largest = 0.0
        self._top, self._sampled = 0, []

    def look(self, rows: np.ndarray) -> None:
        """Take the next rows float32 [rows, W] into account."""
        self.ground.look(self._top, rows)
        self._sampled.append(rows[-self._top % self.step :: self.step, :: self.step].copy())
        self._top += len(rows)

    def settle(self) -> None:
        """Decide on ground and percentiles, when all rows were shown."""
        sample = np.concatenate(self._sampled)
        y, x = np.ogrid[0 : self.height : self.step, 0 : self.width : self.step]
        known = np.isfinite(sample)
        places = [place[known] for place in np.broadcast_arrays(y, x)]
        self.ground.settle(*places, sample[known])
        self.sample = sample - self.ground.at(y, x)
        if known.any():
            self._largest = float(np.abs(sample[known]).max())
            some = self.sample[known]
            self.low, self.high = map(float, np.percentile(some, self.percentiles))
            if self.is_flat:
                # a village in a plain: what stands out is rarer than the percentiles
                self.low, self.high = float(some.min()), float(some.max())

    @property
    def is_flat(self) -> bool:
        """Return whether nothing rises above anything."""
        return self.high - self.low <= FLAT * self._largest

    def normalised(self, top: int, rows: np.ndarray) -> np.ndarray:
        """Return rows that begin at row ``top`` as float16 in [0, 1], NaN where unknown."""
        y, x = np.ogrid[top : top + len(rows), 0 : self.width]
        return self.scaled(rows - np.float32(self.ground.at(y, x)))

    def scaled(self, above: np.ndarray) -> np.ndarray:
        """Return what stands above the ground as float16 in [0, 1], NaN where unknown or flat."""
        if self.is_flat:
            return np.full(above.shape, np.nan, np.float16)
        share = (above - np.float32(self.low)) / np.float32(self.high - self.low)
        return share.clip(0, 1).astype(np.float16)
