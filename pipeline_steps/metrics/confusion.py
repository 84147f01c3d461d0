"""Confusion matrices, truth by row, and the scores that follow from their sums."""

import dataclasses

import numpy as np


def confusion_matrix(truth: np.ndarray, guess: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by (true class, predicted class), int64 [classes, classes].

    Both are index arrays of one shape, already without ignored pixels. Raises ValueError for an
    index outside 0 … classes − 1: that is an error, not a miss.
    """
    for name, indices in (("truth", truth), ("prediction", guess)):
        if indices.size and indices.max() >= classes:
            raise ValueError(f"{name} has class {indices.max()}, expected 0 to {classes - 1}")
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
    agreed = int(hit.sum()) / total if total else float("nan")
    expected = int((truth * guess).sum()) / total**2 if total else float("nan")
    return Scores(
        iou=iou,
        f1=_share(2 * hit, truth + guess),
        precision=_share(hit, guess),
        recall=_share(hit, truth),
        support=truth.astype(np.int64),
        miou=float(np.nanmean(iou)) if total else float("nan"),
        kappa=(agreed - expected) / (1 - expected) if expected < 1 else float("nan"),
        oa=agreed,
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    pairs = zip(part, whole, strict=True)
    return np.array([int(p) / int(w) if w else float("nan") for p, w in pairs])
