"""Figures of all trainings: their losses, and their scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

CURVES = {
    "cross_entropy": "cross-entropy",
    "ssim_loss": "1 − SSIM of the predicted depth",
    "depth_r": "its correlation with what it learns",
}
"""Column of a history → what it is."""


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
        axis.set(title={"miou": "mIoU", "oa": "OA"}.get(score, score), xlim=(0, 1))
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    return figure
