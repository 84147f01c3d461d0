"""A minimum mapping unit: patches that are too small become part of what surrounds them.

The smallest comes first. It takes the class with which it shares the longest border, counted in
sides of pixels over all neighbours of that class, and becomes one patch with them; that is done
until no patch is too small, but for those that nothing but nodata surrounds. What is large keeps
its class, so patches act on each other only through small ones between them, and a group of small
patches is settled, and forgotten, when no patch of it goes on below.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pipeline_steps.rasters.class_map import NOTHING, Band
from pipeline_steps.rasters.ground_area import Ground
from pipeline_steps.rasters.outlines import labelled


def settled(bands: Iterable[Band], least: int, ground: Ground) -> list[bytes]:
    """Return for each band the class that each of its patches shall have, a byte for each label.

    Labels are those of ``labelled``. Patches of less than ``least`` units of ``ground`` are too
    small.
    """
    sieve, above = _Sieve(least), None
    for band in bands:
        above = sieve.add(band.top, band.classes, above, ground)
    sieve.settle(())
    return [bytes(band) for band in sieve.decided]


def sieved(bands: Iterable[Band], decided: Iterable[bytes]) -> Iterator[Band]:
    """Yield the same bands with the classes that ``settled`` found for them."""
    for band, kinds in zip(bands, decided, strict=True):
        yield band._replace(classes=np.frombuffer(kinds, np.uint8)[labelled(band.classes)])


class _Small:
    """Patches that became one and are too small, or may be: what is yet to be known of them.

    ``near`` counts the sides that it shares with small patches (by their number) and with those
    large enough (by -1 - class).
    """

    __slots__ = ("area", "first", "kind", "near", "parts")

    def __init__(self, kind: int, area: int, first: int, part: tuple[int, int]) -> None:
        self.kind, self.area, self.first, self.parts = kind, area, first, [part]
        self.near: Counter[int] = Counter()


class _Sieve:
    """All groups of small patches that are not settled, by the number of each patch."""

    def __init__(self, least: int) -> None:
        self.least, self.decided = least, []
        self.small: dict[int, _Small] = {}
        self.next = 0
        self.into: dict[int, int] = {}

    def add(
        self,
        top: int,
        classes: np.ndarray,
        above: tuple[np.ndarray, np.ndarray] | None,
        ground: Ground,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take a band; return classes and keys of its last row, the next one's ``above``.

        A key is the number of a small patch, or -1 - class of a large one.
        """
        labels = labelled(classes)
        keys = self._begun(top, classes, labels, ground)
        pairs = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
        for one, other, sides in _borders([(keys[a], keys[b]) for a, b in pairs]):
            self._touch(one, other, sides)
        if above is not None:
            self._glue(above, (classes[0], keys[labels[0]]))
        last = keys[labels[-1]]
        open_keys, back = np.unique(last, return_inverse=True)
        now = np.array([self._find(int(key)) for key in open_keys])
        self.settle(now.tolist())
        return classes[-1], now[back]

    def _begun(
        self, top: int, classes: np.ndarray, labels: np.ndarray, ground: Ground
    ) -> np.ndarray:
        """Note the patches of a band and return their keys, int64 by label."""
        numbers = labels.ravel()
        count = int(numbers.max()) + 1
        first = np.empty(count, np.int64)
        first[numbers[::-1]] = np.arange(numbers.size)[::-1]
        kinds = classes.ravel()[first]
        areas = ground.sums(labels, top, count)
        self.decided.append(bytearray(kinds.tobytes()))
        keys = -1 - kinds.astype(np.int64)
        for label in np.flatnonzero((areas < self.least) & (kinds != NOTHING)).tolist():
            place = (len(self.decided) - 1, label)
            start = int(first[label]) + top * labels.shape[1]
            self.small[self.next] = _Small(int(kinds[label]), int(areas[label]), start, place)
            keys[label] = self.next
            self.next += 1
        return keys

    def _glue(
        self, above: tuple[np.ndarray, np.ndarray], below: tuple[np.ndarray, np.ndarray]
    ) -> None:
        """Join what hangs together across the line between two bands, and count the rest."""
        is_same = (above[0] == below[0]) & (above[0] != NOTHING)
        differs = above[0] != below[0]
        for one, other in np.unique(
            np.stack([above[1][is_same], below[1][is_same]], axis=1), axis=0
        ).tolist():
            self._unite(self._find(one), self._find(other))
        for one, other, sides in _borders([(above[1][differs], below[1][differs])]):
            self._touch(self._find(one), self._find(other), sides)

    def _find(self, key: int) -> int:
        """Return what a patch has become part of."""
        while key in self.into:
            key = self.into[key]
        return key

    def _touch(self, one: int, other: int, sides: int) -> None:
        for key, neighbour in ((one, other), (other, one)):
            if key >= 0 and neighbour != -1 - NOTHING:
                self.small[key].near[neighbour] += sides

    def _unite(self, one: int, other: int) -> int:
        """Make two patches of one class one; return its key."""
        if one == other:
            return one
        if min(one, other) < 0:
            return self._grown(max(one, other), min(one, other))
        kept, gone = self.small[one], self.small.pop(other)
        self.into[other] = one
        for key, sides in gone.near.items():
            if key >= 0:
                del self.small[key].near[other]
                self.small[key].near[one] += sides
            kept.near[key] += sides
        kept.area, kept.first = kept.area + gone.area, min(kept.first, gone.first)
        kept.parts += gone.parts
        return self._grown(one, -1 - kept.kind) if kept.area >= self.least else one

    def _grown(self, key: int, large: int) -> int:
        """Let a small patch become part of a large one, whose key is returned."""
        patch = self.small.pop(key)
        self.into[key] = large
        self._decide(patch)
        for neighbour, sides in patch.near.items():
            if neighbour >= 0:
                del self.small[neighbour].near[key]
                self.small[neighbour].near[large] += sides
        return large

    def _decide(self, patch: _Small) -> None:
        for band, label in patch.parts:
            self.decided[band][label] = patch.kind

    def settle(self, still_open: Iterable[int]) -> None:
        """Settle every group of which no patch is open."""
        waiting: set[int] = set()
        for key in still_open:
            if key in self.small and key not in waiting:
                waiting |= self._group(key)
        for key in [key for key in self.small if key not in waiting]:
            if key in self.small:
                self._settle_group(self._group(key))
        # keys of patches that are part of others are known to nobody now
        self.into.clear()

    def _group(self, key: int) -> set[int]:
        """Return a small patch and all that hang together with it through small ones."""
        found, pending = {key}, [key]
        while pending:
            new = {k for k in self.small[pending.pop()].near if k >= 0} - found
            found |= new
            pending += new
        return found

    def _settle_group(self, group: set[int]) -> None:
        queue = [(self.small[key].area, self.small[key].first, key) for key in group]
        heapq.heapify(queue)
        while queue:
            area, first, key = heapq.heappop(queue)
            patch = self.small.get(key)
            if patch is None or (patch.area, patch.first) != (area, first):
                continue
            if not patch.near:
                self._decide(self.small.pop(key))
                continue
            patch.kind = self._longest(patch)
            alike = [k for k in patch.near if self._kind(k) == patch.kind]
            for neighbour in alike:
                # they touched: what they shared is inside now
                del patch.near[neighbour]
                if neighbour >= 0:
                    del self.small[neighbour].near[key]
            for neighbour in alike:
                key = self._unite(key, neighbour)
            if key in self.small:
                heapq.heappush(queue, (self.small[key].area, self.small[key].first, key))

    def _longest(self, patch: _Small) -> int:
        """Return the class with which a patch shares most sides; of several the first."""
        sides: Counter[int] = Counter()
        for key, count in patch.near.items():
            sides[self._kind(key)] += count
        return min(sides, key=lambda kind: (-sides[kind], kind))

    def _kind(self, key: int) -> int:
        return self.small[key].kind if key >= 0 else -1 - key


def _borders(pairs: list[tuple[Any, Any]]) -> Iterator[tuple[int, int, int]]:
    """Yield pairs of keys, one of a small patch at least, and how many sides they share."""
    ones, others = (np.concatenate([np.ravel(pair[i]) for pair in pairs]) for i in (0, 1))
    differs = (ones != others) & (np.maximum(ones, others) >= 0)
    couples = np.stack([ones[differs], others[differs]], axis=1)
    couples.sort(axis=1)
    for (one, other), sides in zip(*np.unique(couples, axis=0, return_counts=True), strict=True):
        yield int(one), int(other), int(sides)
