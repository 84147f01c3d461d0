"""Figures of all experiments: their losses, and their scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

CURVES = {
    "cross_entropy": "cross-entropy",
    "ssim_loss": "1 − SSIM of the predicted depth",
    "depth_r": "its correlation with what it learns",
}
"""Column of a history → what it is."""

TITLES = {"miou": "mIoU", "oa": "OA"}

FEW = 10
"""Experiments that have the colours of a palette made for so many."""

IN_A_COLUMN = 12
"""Names in a column of a legend."""

MOST_LETTERS = 48
"""Letters of a name beside a bar."""

MARKERS = "osv^Dp*"

OTHERS = {"facecolor": "white", "edgecolor": "#7a4a1d", "hatch": "///"}
"""How a bar looks whose scores others have printed."""


def palette(count: int) -> list[tuple[float, float, float, float]]:
    """Return so many colours, no two of them alike."""
    if count <= FEW:
        return [matplotlib.colormaps["tab10"](place) for place in range(count)]
    return [tuple(one) for one in matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, count))]


def learning_curves(histories: Sequence[Path]) -> Figure:
    """Return the losses over steps; ``<experiment>/<run>/history.csv``, a colour an experiment.

    What is watched on validation scenes is dashed.
    """
    names = list(dict.fromkeys(path.parents[1].name for path in histories))
    columns = -(-len(names) // IN_A_COLUMN)
    figure = Figure(figsize=(10.4 + 1.6 * columns, 3.4), layout="constrained")
    axes = figure.subplots(1, len(CURVES))
    colours, seen = dict(zip(names, palette(len(names)), strict=True)), set()
    for path in histories:
        name, table = path.parents[1].name, pd.read_csv(path)
        for axis, (column, title) in zip(axes, CURVES.items(), strict=True):
            for key, style in ((column, "-"), (f"val_{column}", "--")):
                if key in table:
                    how = {"label": None if name in seen else name, "linestyle": style}
                    axis.plot(table["step"], table[key], color=colours[name], **how)
                    seen.add(name)
            axis.set(xlabel="step", title=title)
            axis.grid(alpha=0.3)
    figure.legend(frameon=False, fontsize=8, loc="outside right upper", ncols=columns)
    return figure


def bars(overall: pd.DataFrame) -> Figure:
    """Return mIoU, kappa and OA of every experiment, with their ± sd.

    Rows whose ``source``, if there is that column, is not "measured" are hatched.
    """
    source = overall["source"] if "source" in overall else pd.Series("measured", overall.index)
    is_ours = (source == "measured").to_numpy()
    places, names = np.arange(len(overall)), [_short(name) for name in overall["experiment"]]
    figure = Figure(figsize=(9, 0.5 * len(overall) + 1.6), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, score in zip(axes, ("miou", "kappa", "oa"), strict=True):
        for some, look in ((is_ours, {"color": "#4c78a8"}), (~is_ours, OTHERS)):
            spread = overall.loc[some, f"{score}_sd"].fillna(0)
            axis.barh(places[some], overall.loc[some, score], xerr=spread, **look)
        # kappa may be less than 0
        axis.set(title=TITLES.get(score, score), xlim=(min(0, overall[score].min()), 1))
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(places, names, parse_math=False)
    axes[0].invert_yaxis()
    if not is_ours.all():
        handles = [Patch(color="#4c78a8", label="measured"), Patch(**OTHERS, label="as reported")]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


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
    # the first on top
    axes[0].set_ylim(len(names) - 0.5, -0.5)
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
    columns = -(-bins["experiment"].nunique() // IN_A_COLUMN)
    figure = Figure(figsize=(6 + 1.4 * columns, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color="0.55", linewidth=1, linestyle="--")
    colours = palette(bins["experiment"].nunique())
    for place, (name, some) in enumerate(bins.groupby("experiment", sort=False)):
        look = {"color": colours[place], "marker": MARKERS[place % len(MARKERS)]}
        above.plot(some["confidence"], some["accuracy"], markersize=4, label=name, **look)
        middles = (some["from"] + some["to"]) / 2
        below.plot(middles, some["pixels"] / some["pixels"].sum(), markersize=3, **look)
    above.set(ylabel="share of pixels that are right", xlim=(0, 1), ylim=(0, 1))
    below.set(xlabel="confidence", ylabel="share of pixels")
    for axis in (above, below):
        axis.grid(alpha=0.3)
    legend = figure.legend(frameon=False, fontsize=8, loc="outside right upper", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure
