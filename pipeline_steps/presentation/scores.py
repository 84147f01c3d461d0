"""Tables of what ``score`` counted: whole, by class, by scene, by kind of ground, by pair."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_steps.metrics.confusion import scores

Counted = Sequence[dict[str, Any]]
"""What ``score`` wrote of maps, as ``counts`` reads it, in the order of the experiments."""

OVERALL = ("miou", "kappa", "oa", "aa")
PER_CLASS = ("iou", "f1", "precision", "recall")
ALL = "all"

HIDDEN = ("aa",)
"""Columns of ``overall`` that people are spared."""

POLICY = (
    "Counts are summed over all test scenes before any score is taken; ± is the standard deviation"
    " over seeds. Ignored pixels count nowhere. A class that is neither in the labels nor in the"
    " map is left out of the mean; one that is only in the map counts 0. A score that one of the"
    " seeds does not have, such as the precision of a class that it never predicts, or kappa where"
    " there is but one class, is left empty."
    " block_miou is the mean of each block's or image's own mIoU, as some papers print it, and no"
    " miou. boundary_iou compares the rims of classes alone. Bold is the best of what is compared,"
    " underlined the second."
)


def pooled(found: Counted, of: str = ALL, scene: str | None = None) -> dict[str, list[np.ndarray]]:
    """Return for each experiment one summed matrix per seed, of one stratum and scene or all."""

    def matrix(one: dict[str, Any]) -> np.ndarray:
        return one["strata"][of]

    here = [one for one in found if scene in (None, one["scene"]) and of in one["strata"]]
    return summed(here, matrix)


def summed(
    found: Counted, get: Callable[[dict[str, Any]], np.ndarray]
) -> dict[str, list[np.ndarray]]:
    """Return for each experiment the sum over scenes and folds of what ``get`` finds, per seed."""
    sums: dict[str, dict[int | None, np.ndarray]] = {}
    for one in found:
        seeds = sums.setdefault(one["experiment"], {})
        seeds[one["seed"]] = seeds.get(one["seed"], 0) + get(one)
    return {experiment: list(seeds.values()) for experiment, seeds in sums.items()}


def overall_table(found: Counted) -> pd.DataFrame:
    """Return a row for each experiment: scores of pooled counts, and beside them those of blocks
    averaged."""
    table = score_table(pooled(found))
    rims = summed([one for one in found if one["rims"]], _rims)
    blocks = _block_mious(found)
    each = {
        "boundary_iou": {e: [_mean(_rim_iou(one)) for one in seeds] for e, seeds in rims.items()},
        "block_miou": {e: [_mean(one) for one in seeds if len(one)] for e, seeds in blocks.items()},
    }
    for column, values in each.items():
        if values:
            rows = [mean_and_sd(column, values.get(name, [])) for name in table["experiment"]]
            table = table.join(pd.DataFrame(rows))
    return table


def score_table(matrices: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    """Return a row for each experiment, from one matrix per seed."""
    rows = []
    for experiment, seeds in matrices.items():
        each = [scores(matrix) for matrix in seeds]
        row = {"experiment": experiment, "seeds": len(each)}
        for name in OVERALL:
            row |= mean_and_sd(name, [getattr(one, name) for one in each])
        rows.append(row)
    return pd.DataFrame(rows)


def class_table(found: Counted) -> pd.DataFrame:
    """Return a row for each experiment and class."""
    rims, rows = summed([one for one in found if one["rims"]], _rims), []
    for experiment, matrices in pooled(found).items():
        each = [scores(matrix) for matrix in matrices]
        for k, name in enumerate(found[0]["classes"]):
            row = {"experiment": experiment, "class": name}
            for score in PER_CLASS:
                row |= mean_and_sd(score, [getattr(one, score)[k] for one in each])
            if rims:
                edges = [_rim_iou(one)[k] for one in rims.get(experiment, [])]
                row |= mean_and_sd("boundary_iou", edges)
            rows.append(row | {"support": int(each[0].support[k])})
    return pd.DataFrame(rows)


def scene_table(found: Counted) -> pd.DataFrame:
    """Return a row for each scene and experiment."""
    names = dict.fromkeys(one["scene"] for one in found)
    parts = [score_table(pooled(found, ALL, name)).assign(scene=name) for name in names]
    return _first(pd.concat(parts, ignore_index=True), "scene")


def strata_table(found: Counted) -> pd.DataFrame:
    """Return a row for each kind of ground and experiment, with its labelled pixels."""
    parts = []
    for stratum in dict.fromkeys(name for one in found for name in one["strata"]):
        matrices = pooled(found, stratum)
        part = score_table(matrices).assign(stratum=stratum)
        part["pixels"] = [int(each[0].sum()) for each in matrices.values()]
        parts.append(part)
    return _first(pd.concat(parts, ignore_index=True), "stratum")


def pair_table(found: Counted, pairs: Iterable[Sequence[str]]) -> pd.DataFrame:
    """Return a row for each pair of classes and experiment: how much of one is called the other."""
    names, rows = found[0]["classes"], []
    for pair in pairs:
        a, b = (names.index(name) for name in pair)
        for experiment, matrices in pooled(found).items():
            row = {"pair": " / ".join(pair), "experiment": experiment, "seeds": len(matrices)}
            for column, (mine, other) in (("first_as_second", (a, b)), ("second_as_first", (b, a))):
                shares = [_ratio(m[mine, other], m[mine].sum()) for m in matrices]
                row |= mean_and_sd(column, shares)
            between = [m[np.ix_([a, b], [a, b])] for m in matrices]
            row |= mean_and_sd("oa_between", [_ratio(np.trace(m), m.sum()) for m in between])
            rows.append(row)
    return pd.DataFrame(rows)


def majority(found: Counted) -> str:
    """Say what the labels' most frequent class would score, predicted everywhere."""
    matrix = next(iter(pooled(found).values()))[0]
    support = matrix.sum(axis=1)
    constant = np.zeros_like(matrix)
    constant[:, support.argmax()] = support
    one = scores(constant)
    name = found[0]["classes"][int(support.argmax())]
    return f"Predicting {name!r} everywhere: mIoU {one.miou:.3f}, OA {one.oa:.3f}."


def mean_and_sd(name: str, values: Sequence[float]) -> dict[str, float]:
    """Return the mean, and the standard deviation of a sample, which one seed does not have."""
    mean = float(np.mean(values)) if len(values) else float("nan")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return {name: mean, f"{name}_sd": sd}


def _block_mious(found: Counted) -> dict[str, list[np.ndarray]]:
    """Return for each experiment and seed the mIoU of all blocks, over scenes and folds."""
    lists: dict[str, dict[int | None, list[np.ndarray]]] = {}
    for one in found:
        seeds = lists.setdefault(one["experiment"], {})
        seeds.setdefault(one["seed"], []).append(one["block_mious"])
    return {e: [np.concatenate(some) for some in seeds.values()] for e, seeds in lists.items()}


def _rims(one: dict[str, Any]) -> np.ndarray:
    return np.array([one["rims"][part] for part in ("both", "truth", "guess")], np.int64)


def _rim_iou(rims: np.ndarray) -> np.ndarray:
    """Return the boundary IoU of every class, NaN where it has no rim."""
    both, truth, guess = rims
    return np.array([_ratio(b, t + g - b) for b, t, g in zip(both, truth, guess, strict=True)])


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _ratio(part: Any, whole: Any) -> float:
    return int(part) / int(whole) if whole else float("nan")


def _first(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table[[column, *table.columns.drop(column)]]
