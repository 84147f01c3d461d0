"""The table of ablations: the experiments of grids by the values of their axes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline_steps.study.cells import Cell

ABLATION_NOTE = (
    "delta_miou is the difference in mIoU to the row of the same grid that has the first value of"
    " the last axis, and the same values of the others; its ± is the root of the sum of both"
    " squares. Scores are those of the table “overall”."
)


def ablation_table(overall: pd.DataFrame, cells: Sequence[Cell]) -> pd.DataFrame:
    """Return a row for each experiment of a grid, one grid after another; an axis is a column.

    ``overall`` is the table of that name. Raises KeyError where it lacks an experiment.
    """
    # an axis may be called as the column that tells measured rows from others
    scores = overall.drop(columns="source", errors="ignore").set_index("experiment")
    axes = dict.fromkeys(axis for cell in cells for axis in cell.values)
    rows = []
    for cell in cells:
        mine, other = scores.loc[cell.experiment], scores.loc[_reference(cell, cells).experiment]
        row = {"grid": cell.grid} | {axis: cell.values.get(axis, "") for axis in axes}
        is_own = mine.name == other.name
        row |= mine.to_dict()
        row["delta_miou"] = np.nan if is_own else mine["miou"] - other["miou"]
        row["delta_miou_sd"] = np.nan if is_own else np.hypot(mine["miou_sd"], other["miou_sd"])
        rows.append(row)
    return pd.DataFrame(rows).astype({"seeds": int})


def _reference(cell: Cell, cells: Sequence[Cell]) -> Cell:
    """Return the first cell of the grid that differs from ``cell`` in the last axis at most."""
    others = list(cell.values.items())[:-1]
    return next(
        one for one in cells if one.grid == cell.grid and list(one.values.items())[:-1] == others
    )
