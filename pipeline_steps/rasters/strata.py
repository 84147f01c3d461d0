"""The kinds of ground of a scene: near a boundary, in shadow, so high; one number a pixel."""

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

ALL = "all"


@dataclasses.dataclass(frozen=True)
class Kinds:
    """How many kinds there are, and what they are called.

    A kind is boundary band + bands · (lit or shadow + 2 · height bin). ``reaches`` are half-widths
    of bands in pixels, ``heights`` where bins end in metres; without them, and without a rule for
    shadow, there is one band, one bin and no shadow.
    """

    reaches: tuple[int, ...]
    has_shadow: bool
    heights: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return how many height bins (the last one unknown), lights and bands there are."""
        bins = len(self.heights) + 2 if self.heights else 1
        return bins, 1 + self.has_shadow, len(self.reaches) + 1

    @property
    def count(self) -> int:
        """Return how many kinds there are."""
        return int(np.prod(self.shape))

    def joined(
        self, bands: np.ndarray, shadow: np.ndarray | None, height: np.ndarray | None
    ) -> np.ndarray:
        """Return the kind of every pixel, uint8 [H, W].

        ``bands`` is how many reaches see no other class, ``shadow`` bool, ``height`` in metres,
        NaN where unknown; None where kinds do not know it.
        """
        kinds = bands.astype(np.uint8)
        _, lights, width = self.shape
        if shadow is not None:
            kinds += np.uint8(width) * shadow
        if height is not None:
            bins = np.digitize(height, self.heights)
            bins[np.isnan(height)] = len(self.heights) + 1
            kinds += (bins * (lights * width)).astype(np.uint8)
        return kinds

    def strata(self, counts: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the sums of ``counts`` [kinds, …] over the kinds of each stratum, with its name.

        Bands are within one another: the narrowest, the next with it, and what is beyond all.
        """
        cube = counts.reshape(*self.shape, *counts.shape[1:])
        yield ALL, cube.sum(axis=(0, 1, 2))
        bands = cube.sum(axis=(0, 1))
        for number, reach in enumerate(self.reaches):
            yield f"boundary, {reach} px", bands[: number + 1].sum(axis=0)
        if self.reaches:
            yield f"interior, beyond {self.reaches[-1]} px", bands[-1]
        if self.has_shadow:
            lit, shadow = cube.sum(axis=(0, 2))
            yield from (("lit", lit), ("shadow", shadow))
        bins = cube.sum(axis=(1, 2))
        yield from zip(self.bin_names(), bins, strict=False)

    def bin_names(self) -> list[str]:
        """Return what the known bins of height are called."""
        if not self.heights:
            return []
        first, *_ = ends = [f"{end:g}" for end in self.heights]
        between = [f"height {a} to {b} m" for a, b in pairwise(ends)]
        return [f"height below {first} m", *between, f"height from {ends[-1]} m"]

    def facts(self) -> dict[str, Any]:
        """Return what a manifest says of them."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Kinds":
        """Return what a manifest tells of."""
        reaches, heights = tuple(facts["reaches"]), tuple(facts["heights"])
        return cls(reaches, facts["has_shadow"], heights)
