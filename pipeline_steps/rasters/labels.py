"""From what a label file says to class indices."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

Key = int | str | tuple[int, int, int]

NOT_A_LABEL = -(2**40)
"""What label files of floating type say by NaN, and polygons by an empty field."""

NUMBER = re.compile(r"-?[0-9]{1,10}")
"""Letters that are a label value."""

WORDS = -(2**41)
"""Codes of words begin here and go down, out of the way of all label values."""


class Codebook:
    """Maps label values, words or colours to class indices, and counts those it does not know.

    ``classes`` lists for each class index all keys that mean it, if any: values and words, or RGB
    colours. ``ignored`` keys are known and become ``ignore`` in silence. A colour that differs
    by at most ``tolerance`` in each channel from a known one means the same as the nearest.
    """

    def __init__(
        self,
        classes: Sequence[Sequence[Key]],
        ignored: Sequence[Key],
        ignore: int,
        tolerance: int = 0,
    ) -> None:
        self.as_rgb = any(isinstance(key, tuple) for keys in classes for key in keys)
        self.ignore = ignore
        self.unlisted: Counter[Key] = Counter()
        self.tolerance = tolerance if self.as_rgb else 0
        self._words: list[str] = []
        pairs = [(self.code(key), index) for index, keys in enumerate(classes) for key in keys]
        pairs += [(self.code(key), ignore) for key in ignored]
        pairs += [] if self.as_rgb else [(NOT_A_LABEL, ignore)]
        pairs.sort()
        self._keys = np.array([key for key, _ in pairs], np.int64)
        self._indices = np.array([index for _, index in pairs], np.uint8)

    def code(self, key: Key) -> int:
        """Return the number by which ``encode`` knows a key; words get theirs when first seen."""
        if isinstance(key, tuple):
            return (key[0] << 16) | (key[1] << 8) | key[2]
        if isinstance(key, int) or NUMBER.fullmatch(key):
            return int(key)
        if key not in self._words:
            self._words.append(key)
        return WORDS - self._words.index(key)

    def encode(self, labels: np.ndarray, nodata: float | None = None) -> np.ndarray:
        """Return class indices uint8 [H, W] of codes [H, W] or colours uint8 [3, H, W].

        ``nodata`` is a value that a file calls no data: "ignore", unless it is a class.
        """
        codes = labels.astype(np.int64)
        if self.as_rgb:
            codes = (codes[0] << 16) | (codes[1] << 8) | codes[2]
        place = np.searchsorted(self._keys, codes).clip(max=len(self._keys) - 1)
        known = self._keys[place] == codes
        if self.tolerance and not known.all():
            place[~known], known[~known] = self._nearest(codes[~known])
        if not known.all():
            strange = codes[~known]
            for code, count in zip(*np.unique(strange, return_counts=True), strict=True):
                if self.as_rgb or int(code) != nodata:
                    self.unlisted[self._key(int(code))] += int(count)
        return np.where(known, self._indices[place], np.uint8(self.ignore)).astype(np.uint8)

    def _nearest(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for each code the place of the nearest key, and whether it is near enough."""
        colours, inverse = np.unique(codes, return_inverse=True)
        apart = abs(_channels(colours)[:, None] - _channels(self._keys)[None]).max(axis=2)
        nearest = apart.argmin(axis=1)
        is_near = apart.min(axis=1) <= self.tolerance
        return nearest[inverse], is_near[inverse]

    def describe(self, found: Counter[Key]) -> str:
        """Return what was found outside the table as words, the most frequent first."""
        shown = ", ".join(f"{key!r} ({count} pixels)" for key, count in found.most_common(5))
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        return f"has label {'colours' if self.as_rgb else 'values'} {shown}{more}"

    def _key(self, code: int) -> Key:
        if self.as_rgb:
            return (code >> 16, (code >> 8) & 255, code & 255)
        return self._words[WORDS - code] if code <= WORDS else code


def _channels(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], axis=-1)


def class_counts(counts: Sequence[Sequence[int]]) -> np.ndarray:
    """Return labelled pixels of every class, summed over scenes, int64 [classes]."""
    return np.sum(counts, axis=0, dtype=np.int64)
