"""The table of ablations, the experiments of grids by the values of their axes, and its figure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline_steps.metrics.bootstrap import difference
from pipeline_steps.presentation.charts import intervals
from pipeline_steps.presentation.differences import Unit, units_of
from pipeline_steps.presentation.scores import Counted
from pipeline_steps.study.cells import Cell

ABLATION_NOTE = (
    "delta_miou is the difference in mIoU to the row of the same grid that has the first value of"
    " the last axis, and the same values of the others; its ± is the root of the sum of both"
    " squares. delta_low and delta_high end its 95 % interval, by the paired bootstrap of the table"
    " “differences”; fewer than ten scenes or blocks have none. Scores are those of the table"
    " “overall”."
)


def ablation_table(
    overall: pd.DataFrame, cells: Sequence[Cell], found: Counted, unit: Unit
) -> pd.DataFrame:
    """Return a row for each experiment of a grid, one grid after another; an axis is a column.

    ``overall`` is the table of that name, ``found`` what it was made of. Raises KeyError where it
    lacks an experiment.
    """
    scores = overall.set_index("experiment")
    units = units_of(found, unit)
    axes = dict.fromkeys(axis for cell in cells for axis in cell.values)
    rows = []
    for cell in cells:
        mine, other = scores.loc[cell.experiment], scores.loc[_reference(cell, cells).experiment]
        row = {"grid": cell.grid} | {axis: cell.values.get(axis, "") for axis in axes}
        row |= mine.to_dict()
        row |= dict.fromkeys(("delta_miou", "delta_miou_sd", "delta_low", "delta_high"), np.nan)
        if mine.name != other.name:
            row["delta_miou"] = mine["miou"] - other["miou"]
            row["delta_miou_sd"] = np.hypot(mine["miou_sd"], other["miou_sd"])
            if units[mine.name].shape[1]:
                gap = difference(units[mine.name], units[other.name], "miou")
                row |= {"delta_low": gap.low, "delta_high": gap.high}
        rows.append(row)
    return pd.DataFrame(rows).astype({"seeds": int})


def ablation_figure(table: pd.DataFrame) -> Figure:
    """Return bars of mIoU with ± sd, and of the differences with their intervals, grid by grid."""
    axes = list(table.columns[1 : table.columns.get_loc("seeds")])
    shares = [len(some) for _, some in table.groupby("grid", sort=False)]
    height = 0.32 * sum(shares) + 0.9 * len(shares)
    figure = Figure(figsize=(9, height + 0.3), layout="constrained")
    grid = {"height_ratios": [share + 2 for share in shares], "squeeze": False}
    panels = figure.subplots(len(shares), 2, sharex="col", **grid)
    for (left, right), (name, some) in zip(panels, table.groupby("grid", sort=False), strict=True):
        words = some[axes].fillna("").astype(str)
        names = [" · ".join(filter(None, row)) for row in words.itertuples(index=False)]
        places = np.arange(len(some))
        left.barh(places, some["miou"], xerr=some["miou_sd"].fillna(0), color="#4c78a8")
        left.set_yticks(places, names, fontsize=8, parse_math=False)
        right.barh(places, some["delta_miou"].fillna(0), color="#f58518")
        intervals(right, places, some["delta_low"], some["delta_high"], "0.1")
        right.axvline(0, color="0.4", linewidth=1)
        right.set_yticks([])
        left.set_title(name, fontsize=10, loc="left", parse_math=False)
        for panel in (left, right):
            panel.invert_yaxis()
            panel.grid(axis="x", alpha=0.3)
    left.set_xlabel("mIoU, ± standard deviation over seeds")
    right.set_xlabel("difference to the first of its kind, 95 % interval")
    return figure


def _reference(cell: Cell, cells: Sequence[Cell]) -> Cell:
    """Return the first cell of the grid that differs from ``cell`` in the last axis at most."""
    others = list(cell.values.items())[:-1]
    return next(
        one for one in cells if one.grid == cell.grid and list(one.values.items())[:-1] == others
    )
