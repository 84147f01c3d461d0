"""The plain mean of what overlaps, in two arrays of the raster's size: what tutorials teach."""

import numpy as np

from tests.benchmarks.peers.measuring import CLASSES


class Sums:
    """Probabilities added up per pixel, and how often."""

    def __init__(self, height: int, width: int) -> None:
        self.total = np.zeros((CLASSES, height, width), np.float32)
        self.count = np.zeros((height, width), np.uint8)

    def add(self, y: int, x: int, probabilities: np.ndarray) -> None:
        """Add one window, [classes, h, w], whose upper left pixel is at row y, column x."""
        high, wide = probabilities.shape[1:]
        self.total[:, y : y + high, x : x + wide] += probabilities
        self.count[y : y + high, x : x + wide] += 1

    def rows(self, first: int, last: int) -> np.ndarray:
        """Return the mean of some rows, [classes, rows, W]."""
        return self.total[:, first:last] / self.count[first:last]
