"""What the ``depth`` stage measured of its fields, by scene and by class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_steps.presentation.scores import Counted, mean_and_sd

MEASURES = (
    *("windows", "window_px", "disagreement_before", "disagreement"),
    *("seam_unblended", "seam", "low", "high"),
    *("spearman", "auc_tall", "delta1", "aligned_mae_m", "constant_mae_m"),
    *("aligned_rmse_m", "constant_rmse_m", "least_mae_m", "median_mae_m"),
)

HIDDEN_OF_DEPTH = (
    *("rasters", "windows", "window_px", "disagreement_before", "low", "high"),
    "constant_rmse_m",
)
"""Columns of ``depth_table`` that would make it too wide to read."""

DEPTH_NOTE = (
    "Means over the rasters of a scene; the CSV file has further columns. disagreement is by how"
    " much overlapping windows differ once aligned, in units of their standard deviation; seam is"
    " the step where windows meet over that elsewhere (1 is seamless), seam_unblended that of"
    " windows that are aligned but not blended. spearman and auc_tall (is it taller than 1 m?) need"
    " no scale. Aligned is depth in metres by the scale and shift of least squares, beside the best"
    " constant, the mean height; delta1 is the share of what is taller than 1 m that it meets"
    " within a factor of 1.25. Least means the least error that any scale and shift gives, beside"
    " that of any constant, the median height: the harder test where most of the ground is flat. Of"
    " a divided scene all is measured, with the ground that an adapted teacher may have learned"
    " from."
)

CLASSES_NOTE = (
    "Over all test scenes, on the pixels where depth was compared with elevation (every n-th row"
    " and column of a large raster), each raster weighted by its pixels of the class; the RMSE is"
    " the root of the mean square. One scale and shift (least squares) brings the depth of a raster"
    " to metres for all its classes; spearman is taken within the class, then averaged."
)

PREDICTED_NOTE = (
    "The depth that networks predict, means over the rasters of a scene and over seeds, measured on"
    " every n-th row and column of a large raster, of a divided scene where it is tested."
    " teacher_spearman and teacher_ssim (mean SSIM) compare it with the teacher's depth that it"
    " learned from, the other columns with elevation, as in the table “depth”."
)

PREDICTED = (
    *("teacher_spearman", "teacher_ssim", "spearman", "auc_tall", "delta1", "aligned_mae_m"),
    *("constant_mae_m", "aligned_rmse_m", "constant_rmse_m", "least_mae_m", "median_mae_m"),
)

CLASS_COLUMNS = ("mean_height_m", "spearman", "aligned_mae_m", "aligned_rmse_m")


def depth_table(qualities: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return a row for each teacher and scene: its rasters, and the mean of every measure.

    ``qualities`` are what ``depth`` says of a scene. A raster that lacks a measure does not count;
    NaN where all do.
    """
    rows = []
    for one in qualities:
        row = {"teacher": one["teacher"], "scene": one["scene"], "rasters": len(one["rasters"])}
        for measure in MEASURES:
            values = [raster.get(measure) for raster in one["rasters"]]
            row[measure] = _mean([(1, value) for value in values])
        rows.append(row)
    return pd.DataFrame(rows, columns=["teacher", "scene", "rasters", *MEASURES])


def depth_class_table(qualities: Sequence[dict[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    """Return a row for each teacher and class that it was measured on, in the order of ``names``.

    Means over all rasters are weighted by their pixels of the class, squares for the RMSE.
    """
    rows = []
    for teacher in dict.fromkeys(one["teacher"] for one in qualities):
        rasters = [r for one in qualities if one["teacher"] == teacher for r in one["rasters"]]
        for name in names:
            found = [r["classes"][name] for r in rasters if name in r["classes"]]
            if found:
                rows.append({"teacher": teacher, "class": name} | _pooled(found))
    return pd.DataFrame(rows, columns=["teacher", "class", "pixels", *CLASS_COLUMNS])


def predicted_table(found: Counted) -> pd.DataFrame:
    """Return a row for each experiment that maps depth, and scene: the mean over its seeds.

    That of a seed is the mean over rasters and folds that have the measure.
    """
    rasters: dict[tuple[str, str], dict[int | None, list[dict[str, Any]]]] = {}
    for one in found:
        if one["depth"]:
            seeds = rasters.setdefault((one["experiment"], one["scene"]), {})
            seeds.setdefault(one["seed"], []).extend(one["depth"])
    table = []
    for (experiment, scene), seeds in rasters.items():
        row = {"experiment": experiment, "scene": scene, "seeds": len(seeds)}
        for name in PREDICTED:
            each = [_mean([(1, raster[name]) for raster in some]) for some in seeds.values()]
            row |= mean_and_sd(name, each)
        table.append(row)
    columns = [name + end for name in PREDICTED for end in ("", "_sd")]
    return pd.DataFrame(table, columns=["experiment", "scene", "seeds", *columns])


def _pooled(found: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(column: str, power: int = 1) -> float:
        pairs = [(one["pixels"], one[column]) for one in found]
        return _mean([(n, None if x is None else x**power) for n, x in pairs])

    return {
        "pixels": sum(one["pixels"] for one in found),
        "mean_height_m": mean("mean_height_m"),
        "spearman": mean("spearman"),
        "aligned_mae_m": mean("aligned_mae_m"),
        "aligned_rmse_m": mean("aligned_rmse_m", 2) ** 0.5,
    }


def _mean(weighted: list[tuple[int, float | None]]) -> float:
    """Return the mean of (weight, value), NaN if no value is known."""
    known = [(weight, value) for weight, value in weighted if value is not None]
    if not known:
        return float("nan")
    weights, values = zip(*known, strict=True)
    return float(np.average(values, weights=weights))
