"""The scores that follow from sums of confusion matrices, truth by row."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Scores:
    """What one matrix says; per-class arrays are float64 [classes], NaN where a class is absent."""

    iou: np.ndarray
    f1: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    support: np.ndarray
    miou: float
    kappa: float
    oa: float
    aa: float


def scores(matrix: np.ndarray) -> Scores:
    """Return the scores of a confusion matrix, int64 [classes, classes], truth by row.

    Sums are Python integers: row × column overflows int64 above 3·10⁹ pixels a class. A class
    absent from truth and prediction is left out of the mean IoU; one that is only predicted
    counts 0. Average accuracy is the mean recall of the classes in the truth. Kappa (Cohen 1960) is
    NaN where one class is all there is.
    """
    counts = np.asarray(matrix).astype(object)
    hit, truth, guess = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    total = int(counts.sum())
    iou = _share(hit, truth + guess - hit)
    hits, chance = int(hit.sum()), int((truth * guess).sum())
    recall = _share(hit, truth)
    return Scores(
        iou=iou,
        f1=_share(2 * hit, truth + guess),
        precision=_share(hit, guess),
        recall=recall,
        support=truth.astype(np.int64),
        miou=float(np.nanmean(iou)) if total else float("nan"),
        kappa=_ratio(total * hits - chance, total**2 - chance),
        oa=_ratio(hits, total),
        aa=float(np.nanmean(recall)) if total else float("nan"),
    )


def merged(matrix: np.ndarray, groups: Sequence[int]) -> np.ndarray:
    """Return a confusion matrix int64 [groups, groups] of one of classes int64 [classes, classes].

    ``groups`` has the number of the group for each class, from 0. Rows are added and columns are:
    the same as if truth and prediction had been relabelled before they were counted.
    """
    onto = np.eye(max(groups) + 1, dtype=np.int64)[list(groups)]
    return onto.T @ matrix @ onto


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.array([_ratio(int(p), int(w)) for p, w in zip(part, whole, strict=True)])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
