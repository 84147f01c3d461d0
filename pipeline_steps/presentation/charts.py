"""Figures of all trainings: their losses, and their scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CURVES = {
    "cross_entropy": "cross-entropy",
    "ssim_loss": "1 − SSIM of the predicted depth",
    "depth_r": "its correlation with what it learns",
}
"""Column of a history → what it is."""

TITLES = {"miou": "mIoU", "oa": "OA"}


def learning_curves(histories: Sequence[Path]) -> Figure:
    """Return the losses over steps; ``<experiment>/<run>/history.csv``, a colour an experiment.

    What is watched on validation scenes is dashed.
    """
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes = figure.subplots(1, len(CURVES))
    colours: dict[str, Any] = {}
    for path in histories:
        name, table = path.parents[1].name, pd.read_csv(path)
        for axis, (column, title) in zip(axes, CURVES.items(), strict=True):
            for key, style in ((column, "-"), (f"val_{column}", "--")):
                if key in table:
                    label = None if name in colours else name
                    how = {"label": label, "color": colours.get(name), "linestyle": style}
                    colours[name] = axis.plot(table["step"], table[key], **how)[0].get_color()
            axis.set(xlabel="step", title=title)
            axis.grid(alpha=0.3)
    columns = -(-len(colours) // 12)
    figure.legend(frameon=False, fontsize=8, loc="outside right upper", ncols=columns)
    return figure


def bars(overall: pd.DataFrame) -> Figure:
    """Return mIoU, kappa and OA of every experiment, with their ± sd."""
    figure = Figure(figsize=(9, 0.5 * len(overall) + 1.2), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, score in zip(axes, ("miou", "kappa", "oa"), strict=True):
        spread = overall[f"{score}_sd"].fillna(0)
        axis.barh(overall["experiment"], overall[score], xerr=spread, color="#4c78a8")
        axis.set(title=TITLES.get(score, score), xlim=(0, 1))
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    return figure


def difference_chart(table: pd.DataFrame) -> Figure:
    """Return the differences of a table of ``tabulate``, with their intervals; it is not empty."""
    scores, names = table["score"].unique(), table["experiment"].unique()
    figure = Figure(figsize=(9, 0.4 * len(names) + 2), layout="constrained")
    axes = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axis, score in zip(axes, scores, strict=True):
        some = table[table["score"] == score]
        places = some["experiment"].map({name: place for place, name in enumerate(names)})
        axis.axvline(0, color="0.55", linewidth=1, linestyle="--")
        intervals(axis, places, some["low"], some["high"], "#4c78a8")
        axis.plot(some["difference"], places, "o", color="#4c78a8", markersize=5)
        axis.set_yticks(range(len(names)), names, parse_math=False)
        axis.set(title=TITLES.get(score, score))
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    figure.supxlabel(f"difference to {table['baseline'].iloc[0]}", fontsize=10, parse_math=False)
    return figure


def intervals(axis: Axes, places: Any, low: pd.Series, high: pd.Series, colour: str) -> None:
    """Draw lines from ``low`` to ``high`` at heights ``places``; none where they are not known.

    An interval of a bootstrap need not hold what it is of, so it is no error bar.
    """
    look = {"color": colour, "linewidth": 1.5, "zorder": 3}
    axis.hlines(places, low, high, **look)
    for ends in (low, high):
        axis.plot(ends, places, "|", markersize=7, markeredgewidth=1.5, color=colour, zorder=3)


def reliability_chart(bins: pd.DataFrame) -> Figure:
    """Return accuracy over confidence, and how many pixels each bin has; it is not empty."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="0.55", linewidth=1, linestyle="--")
    for name, some in bins.groupby("experiment", sort=False):
        above.plot(some["confidence"], some["accuracy"], marker="o", markersize=4, label=name)
        middles = (some["from"] + some["to"]) / 2
        below.plot(middles, some["pixels"] / some["pixels"].sum(), marker="o", markersize=3)
    above.set(ylabel="share of pixels that are right", xlim=(0, 1), ylim=(0, 1))
    below.set(xlabel="confidence", ylabel="share of pixels")
    for axis in (above, below):
        axis.grid(alpha=0.3)
    legend = above.legend(frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
