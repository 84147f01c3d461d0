"""What is called what: the table of confusions, and heat maps of it and of the classes' scores."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline_steps.presentation.scores import Counted, mean_and_sd, pooled

CONFUSION_NOTE = (
    "share is the part of a class's labelled pixels that the map calls so, the mean over seeds;"
    " pixels are those of all seeds together."
)

MOST_PANELS = 12
"""Experiments whose confusions are drawn."""

MOST_LETTERS = 24
"""Letters of a name that stand beside a row."""

MOST_WORDS = 12
"""Classes up to which every share is written into its cell."""


def confusion_table(found: Counted) -> pd.DataFrame:
    """Return a row for each experiment, class of the labels and class of the map."""
    names, rows = found[0]["classes"], []
    for experiment, seeds in pooled(found).items():
        shares = [matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1) for matrix in seeds]
        for i, truth in enumerate(names):
            is_there = any(matrix[i].any() for matrix in seeds)
            for k, said in enumerate(names):
                row = {"experiment": experiment, "truth": truth, "map": said}
                row |= mean_and_sd("share", [one[i, k] for one in shares] if is_there else [])
                rows.append(row | {"pixels": sum(int(matrix[i, k]) for matrix in seeds)})
    return pd.DataFrame(rows)


def confusion_figure(table: pd.DataFrame) -> Figure:
    """Return a heat map of shares for each of the first experiments, truth by row."""
    experiments = list(table["experiment"].unique())[:MOST_PANELS]
    names = list(table["truth"].unique())
    columns = min(3, len(experiments))
    rows = math.ceil(len(experiments) / columns)
    side = 1.6 + 0.42 * len(names)
    figure = Figure(figsize=(side * columns + 1.6, side * rows + 1), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis in axes[len(experiments) :]:
        axis.set_axis_off()
    for axis, experiment in zip(axes, experiments, strict=False):
        some = table[table["experiment"] == experiment]
        shares = some["share"].to_numpy().reshape(len(names), len(names))
        drawn = heat(axis, shares, names, names, len(names) <= MOST_WORDS)
        axis.set_title(experiment, fontsize=10, parse_math=False)
    figure.supylabel("labels", fontsize=10)
    figure.supxlabel("map", fontsize=10)
    figure.colorbar(drawn, ax=list(axes), shrink=0.7, label="share of the labels' pixels")
    return figure


def class_figure(classes: pd.DataFrame) -> Figure:
    """Return a heat map of IoU, a row for each experiment and a column for each class."""
    wide = classes.pivot(index="experiment", columns="class", values="iou")
    wide = wide.reindex(index=classes["experiment"].unique(), columns=classes["class"].unique())
    size = (3.4 + 0.75 * len(wide.columns), 2 + 0.34 * len(wide))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    drawn = heat(axis, wide.to_numpy(), list(wide.index), list(wide.columns), True)
    axis.set_title("IoU of every class", fontsize=10)
    figure.colorbar(drawn, ax=axis, label="IoU")
    return figure


def heat(
    axis: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], are_said: bool
) -> Any:
    """Draw values [rows, columns] from 0 to 1 as colours, and if wished as words too.

    Names are text, whatever stands in them; an unknown value is grey.
    """
    colours = "viridis"
    drawn = axis.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=1, aspect="auto")
    axis.set_facecolor("#d4d4d4")
    places = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    rows, columns = ([_short(name) for name in names] for names in (rows, columns))
    axis.set_xticks(range(len(columns)), columns, parse_math=False, fontsize=8, **places)
    axis.set_yticks(range(len(rows)), rows, parse_math=False, fontsize=8)
    axis.tick_params(length=0)
    for (y, x), value in np.ndenumerate(values):
        if are_said and not np.isnan(value):
            look = {"ha": "center", "va": "center", "fontsize": 7}
            axis.text(x, y, f"{value:.2f}", color="black" if value > 0.6 else "white", **look)
    return drawn


def _short(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"
