"""From what a label file says to class indices."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipeline_steps.rasters.store import Scene

Key = int | tuple[int, int, int]


class Codebook:
    """Maps label values or colours to class indices, and counts those it does not know.

    ``classes`` lists for each class index all keys that mean it: values, or RGB colours.
    ``ignored`` keys are known and become ``ignore`` in silence.
    """

    def __init__(
        self, classes: Sequence[Sequence[Key]], ignored: Sequence[Key], ignore: int
    ) -> None:
        pairs = [(_packed(key), index) for index, keys in enumerate(classes) for key in keys]
        pairs += [(_packed(key), ignore) for key in ignored]
        pairs.sort()
        self.as_rgb = isinstance(classes[0][0], tuple)
        self.ignore = ignore
        self.unlisted: Counter[Key] = Counter()
        self._keys = np.array([key for key, _ in pairs], np.int64)
        self._indices = np.array([index for _, index in pairs], np.uint8)

    def encode(self, labels: np.ndarray) -> np.ndarray:
        """Return class indices uint8 [H, W] of values [H, W] or colours uint8 [3, H, W]."""
        codes = labels.astype(np.int64)
        if self.as_rgb:
            codes = (codes[0] << 16) | (codes[1] << 8) | codes[2]
        place = np.searchsorted(self._keys, codes).clip(max=len(self._keys) - 1)
        known = self._keys[place] == codes
        if not known.all():
            for code, count in zip(*np.unique(codes[~known], return_counts=True), strict=True):
                self.unlisted[self._unpacked(int(code))] += int(count)
        return np.where(known, self._indices[place], np.uint8(self.ignore)).astype(np.uint8)

    def describe(self, found: Counter[Key]) -> str:
        """Return what was found outside the table as words, the most frequent first."""
        shown = ", ".join(f"{key} ({count} pixels)" for key, count in found.most_common(5))
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        return f"has label {'colours' if self.as_rgb else 'values'} {shown}{more}"

    def _unpacked(self, code: int) -> Key:
        return (code >> 16, (code >> 8) & 255, code & 255) if self.as_rgb else code


def _packed(key: Key) -> int:
    return (key[0] << 16) | (key[1] << 8) | key[2] if isinstance(key, tuple) else key


def class_counts(scenes: Sequence[Scene]) -> np.ndarray:
    """Return the labelled pixels of every class over ``scenes``, int64 [classes]."""
    return np.sum([scene.facts["label_counts"] for scene in scenes], axis=0, dtype=np.int64)
