"""Confusion matrices, truth by row, and the scores that follow from their sums."""

import dataclasses

import numpy as np


def confusion_matrix(truth: np.ndarray, guess: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by (true class, predicted class), int64 [classes, classes].

    Both are index arrays of one shape, already without ignored pixels. Raises ValueError for an
    index outside 0 … classes − 1: that is an error, not a miss.
    """
    for name, indices in (("truth", truth), ("prediction", guess)):
        outside = indices[(indices < 0) | (indices >= classes)]
        if outside.size:
            raise ValueError(f"{name} has class {outside.flat[0]}, expected 0 to {classes - 1}")
    pairs = truth.astype(np.int64) * classes + guess
    return np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes)


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


def scores(matrix: np.ndarray) -> Scores:
    """Return the scores of a confusion matrix, int64 [classes, classes], truth by row.

    Sums are Python integers: row × column overflows int64 above 3·10⁹ pixels a class. A class
    absent from truth and prediction is left out of the mean IoU; one that is only predicted
    counts 0. Kappa (Cohen 1960) is NaN where one class is all there is.
    """
    counts = np.asarray(matrix).astype(object)
    hit, truth, guess = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    total = int(counts.sum())
    iou = _share(hit, truth + guess - hit)
    hits, chance = int(hit.sum()), int((truth * guess).sum())
    return Scores(
        iou=iou,
        f1=_share(2 * hit, truth + guess),
        precision=_share(hit, guess),
        recall=_share(hit, truth),
        support=truth.astype(np.int64),
        miou=float(np.nanmean(iou)) if total else float("nan"),
        kappa=_ratio(total * hits - chance, total**2 - chance),
        oa=_ratio(hits, total),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.array([_ratio(int(p), int(w)) for p, w in zip(part, whole, strict=True)])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
