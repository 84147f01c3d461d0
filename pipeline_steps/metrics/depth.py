"""How much of real height relative depth tells, and how well its windows hide."""

import numpy as np
from scipy.stats import rankdata, spearmanr

TALL = 1.0
"""Metres above ground from which something is called tall."""


def height_quality(depth: np.ndarray, height: np.ndarray) -> dict[str, float | None]:
    """Compare relative depth with height in metres, both 1-D of the same pixels.

    Returns Spearman's ρ; the mean absolute error in metres after the best scale and shift
    (least squares), beside that of the best constant; and the area under the ROC curve of
    "taller than 1 m". None where a measure is not defined.
    """
    undefined = dict.fromkeys(("spearman", "aligned_mae_m", "constant_mae_m", "auc_tall"))
    if depth.size < 2 or np.ptp(depth) == 0:
        return undefined
    slope, shift = np.polyfit(depth.astype(np.float64), height.astype(np.float64), 1)
    tall = height > TALL
    return {
        "spearman": float(spearmanr(depth, height).statistic) if np.ptp(height) else None,
        "aligned_mae_m": float(np.abs(slope * depth + shift - height).mean()),
        "constant_mae_m": float(np.abs(np.median(height) - height).mean()),
        "auc_tall": _auc(depth, tall) if 0 < tall.sum() < tall.size else None,
    }


def seam(values: np.ndarray, rows: list[int], columns: list[int]) -> float | None:
    """Return the mean step across lines of the window grid over that off them; 1 is seamless.

    ``values`` is [H, W]; ``rows`` and ``columns`` are where windows begin and end. None where
    there is no line, or no step at all.
    """
    on, off = [], []
    for axis, lines in ((0, rows), (1, columns)):
        steps = np.abs(np.diff(values.astype(np.float64), axis=axis)).mean(axis=1 - axis)
        is_line = np.isin(np.arange(1, len(steps) + 1), lines)
        on.append(steps[is_line])
        off.append(steps[~is_line])
    across, beside = np.concatenate(on), np.concatenate(off)
    if not across.size or not beside.size or beside.mean() == 0:
        return None
    return float(across.mean() / beside.mean())


def _auc(score: np.ndarray, positive: np.ndarray) -> float:
    ranks, hits = rankdata(score), int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(score) - hits)))
