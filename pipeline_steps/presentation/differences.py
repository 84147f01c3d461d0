"""How sure the differences between experiments are, and how far a map's confidence is to be
believed."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline_steps.metrics.bootstrap import (
    FEWEST,
    LEVEL,
    RESAMPLES,
    SCORES,
    difference,
    holm,
)
from pipeline_steps.presentation.scores import Counted, mean_and_sd, summed

ENOUGH = 10
"""Test scenes from which on they are resampled, and not their blocks."""

MANY = 20
"""Units from which on an interval is as sure as it says."""

FEW = " Of so few units an interval holds the truth in about nine of ten cases."
"""What a test measures of 12 units and 7 classes."""

BINS = 10
"""Bins of confidence."""

CALIBRATION_NOTE = (
    "ece is the expected calibration error: the mean over ten bins of confidence, weighted by their"
    " pixels, of how far the mean confidence of a bin is from the share of its pixels that are"
    " right. Positive over says that maps are surer than they are right."
)

Unit = Literal["auto", "scenes", "blocks"]


def difference_table(found: Counted, baseline: str, unit: Unit) -> pd.DataFrame:
    """Return a row for each experiment but ``baseline`` and each score: the difference to it.

    ``p_holm`` is corrected for all rows of the table.
    """
    units = units_of(found, unit)
    rows = []
    for score in SCORES:
        for name, ours in units.items():
            if name != baseline and ours.shape[1]:
                one = difference(ours, units[baseline], score)
                row = {"score": score, "experiment": name, "baseline": baseline}
                rows.append(row | one._asdict())
    columns = ["score", "experiment", "baseline", "value", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns).rename(columns={"value": "difference"})
    return table.assign(p_holm=holm(table["p"]))


def difference_note(found: Counted, unit: Unit) -> str:
    """Say what the table of differences is made by."""
    chosen = unit_of((one["scene"] for one in found), unit)
    count = next(iter(units_of(found, chosen).values())).shape[1]
    said = (
        f"Each difference by a paired bootstrap of {count} {chosen}, {RESAMPLES} draws: low and"
        f" high end the {LEVEL:.0%} interval (BCa), p is two-sided, p_holm corrected for all rows"
        " (Holm). It tells what other ground would change, not what other seeds would: scores are"
        " averaged over seeds first."
    )
    if count < FEWEST:
        return f"{said} Intervals and p are empty: {count} {chosen} are fewer than {FEWEST}."
    said += " Neighbouring blocks are alike, so intervals are too narrow." * (chosen == "blocks")
    return said + FEW * (count < MANY)


def calibration_tables(found: Counted) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row for each experiment, and for each experiment and bin of confidence.

    Only experiments whose maps have confidence have rows.
    """
    sure = [one for one in found if one["confidence"] is not None]
    levels = summed(sure, lambda one: one["confidence"])
    rows, bins = [], []
    for experiment, seeds in levels.items():
        each = [_calibration(one) for one in seeds]
        row = {"experiment": experiment, "seeds": len(each)}
        for name in ("ece", "over", "mean_confidence", "oa"):
            row |= mean_and_sd(name, [one[name] for one in each])
        rows.append(row)
        pooled = np.sum(seeds, axis=0)
        for number, (pixels, confidence, accuracy) in enumerate(_binned(pooled)):
            row = {"experiment": experiment, "from": number / BINS, "to": (number + 1) / BINS}
            bins.append(
                row | {"pixels": int(pixels), "confidence": confidence, "accuracy": accuracy}
            )
    columns = ["experiment", "seeds", "ece", "ece_sd"]
    wide = ["experiment", "from", "to", "pixels", "confidence", "accuracy"]
    return pd.DataFrame(rows, columns=None if rows else columns), pd.DataFrame(bins, columns=wide)


def unit_of(scenes: Iterable[str], unit: Unit) -> Literal["scenes", "blocks"]:
    """Return what is resampled of a study with these test scenes, whose names may come again."""
    if unit != "auto":
        return unit
    return "scenes" if len(set(scenes)) >= ENOUGH else "blocks"


def units_of(found: Counted, unit: Unit) -> dict[str, np.ndarray]:
    """Return for each experiment its matrices [seeds, units, classes, classes].

    Units are those that every run has seen; empty where there is none.
    """
    unit = unit_of((one["scene"] for one in found), unit)
    runs: dict[str, dict[int | None, dict[Any, list[Any]]]] = {}
    for one in found:
        key = one["scene"] if unit == "scenes" else (one["scene"], one["fold"])
        seeds = runs.setdefault(one["experiment"], {}).setdefault(one["seed"], {})
        seeds.setdefault(key, []).extend(one["blocks"])
    each = [blocks for seeds in runs.values() for blocks in seeds.values()]
    common = [key for key in each[0] if each[0][key] and all(key in blocks for blocks in each)]
    classes = len(found[0]["classes"])
    return {
        name: np.array([_stacked(blocks, common, unit) for blocks in seeds.values()]).reshape(
            len(seeds), -1, classes, classes
        )
        for name, seeds in runs.items()
    }


def _stacked(blocks: dict[Any, list[Any]], keys: list[Any], unit: str) -> list[np.ndarray]:
    arrays = [np.array(blocks[key], np.int64) for key in keys]
    if unit == "scenes":
        return [one.sum(axis=0) for one in arrays]
    return [matrix for one in arrays for matrix in one]


def _calibration(levels: np.ndarray) -> dict[str, float]:
    pixels, confidence, accuracy = np.array(_binned(levels)).T
    share = pixels / max(1, pixels.sum())
    gap = np.nan_to_num(confidence - accuracy)
    total = levels.sum(axis=1)
    mean = float(np.average(np.arange(len(total)) / 100, weights=total)) if total.any() else np.nan
    right = levels[:, 1].sum() / total.sum() if total.any() else np.nan
    return {
        "ece": float((share * np.abs(gap)).sum()),
        "over": float((share * gap).sum()),
        "mean_confidence": mean,
        "oa": float(right),
    }


def _binned(levels: np.ndarray) -> list[tuple[int, float, float]]:
    """Return pixels, mean confidence and share of right ones of every bin; NaN of an empty one."""
    bins = np.minimum(np.arange(len(levels)) * BINS // 100, BINS - 1)
    found = []
    for number in range(BINS):
        some = levels[bins == number]
        count = some.sum()
        if not count:
            found.append((0, np.nan, np.nan))
            continue
        centres = np.flatnonzero(bins == number) / 100
        confidence = float((some.sum(axis=1) * centres).sum() / count)
        found.append((int(count), confidence, float(some[:, 1].sum() / count)))
    return found


def names_of(found: Counted) -> Sequence[str]:
    """Return the experiments in their order."""
    return list(dict.fromkeys(one["experiment"] for one in found))
