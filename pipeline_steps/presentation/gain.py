"""How much depth prompts gain, over how well their teacher knows height."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from pipeline_steps.study.prompts import Prompts

MEASURES = {"spearman": "Spearman's ρ", "auc_tall": "AUC, taller than 1 m"}

KINDS = {False: ("label in training", "o", "#1f6f8b"), True: ("fed to the network", "s", "#d1662a")}
"""Whether depth is fed → name, marker, colour."""

GAP = 9
"""Points between a mark and its label."""


def gains(overall: pd.DataFrame, depth: pd.DataFrame, prompts: Sequence[Prompts]) -> pd.DataFrame:
    """Return a row for each experiment with a teacher: its gain in mIoU, and the teacher's quality.

    The gain is over ``baseline``, the first experiment without depth prompts, and its ``sd`` over
    seeds the root of the sum of both squares. ``overall`` and ``depth`` are tables of
    ``tabulate``; a teacher's quality is the mean over the scenes that have elevation. Empty where
    there is no baseline, or no such scene.
    """
    scores, quality = overall.set_index("experiment"), depth.groupby("teacher")[list(MEASURES)]
    plain = [one.experiment for one in prompts if not one.is_prompted]
    rows = []
    for one in prompts if plain else ():
        if not one.is_prompted or one.teacher is None:
            continue
        mine, other = scores.loc[one.experiment], scores.loc[plain[0]]
        row = one.model_dump() | {"baseline": plain[0], "gain": mine["miou"] - other["miou"]}
        row["sd"] = np.hypot(mine["miou_sd"], other["miou_sd"])
        rows.append(row | quality.mean().loc[one.teacher].to_dict())
    found = pd.DataFrame(rows, columns=[*Prompts.model_fields, "baseline", "gain", "sd", *MEASURES])
    return found.dropna(subset=["gain"]).dropna(subset=list(MEASURES), how="all")


def gain_figure(found: pd.DataFrame) -> Figure:
    """Return gain over quality, by ρ and by AUC, of what ``gains`` found; it must not be empty.

    Lines lead from teacher to teacher, through the mean where several experiments share one.
    """
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    parts = [found.dropna(subset=[measure]) for measure in MEASURES]
    for axis, part, (measure, label) in zip(axes, parts, MEASURES.items(), strict=True):
        _draw(axis, part, measure)
        axis.set_xlabel(f"teacher's quality: {label}")
    baseline = found["baseline"].iloc[0]
    axes[0].set_ylabel(f"gain in mIoU over {baseline} (± sd over seeds)", parse_math=False)
    handles = _handles(found)
    place = {"loc": "outside lower center", "ncols": len(handles), "frameon": False}
    figure.legend(handles=handles, **place)
    names = [_name(*each) for each in zip(axes, parts, MEASURES, strict=True)]
    # only a layout tells where labels lie
    figure.draw_without_rendering()
    for axis, part, measure, labels in zip(axes, parts, MEASURES, names, strict=True):
        marks = axis.transData.transform(part[[measure, "gain"]].to_numpy(float))
        _part(labels, marks, figure.dpi / 72)
    return figure


def _draw(axis: Axes, found: pd.DataFrame, measure: str) -> None:
    axis.axhline(0, color="0.55", linewidth=1, linestyle="--", zorder=1)
    for is_fed, (_, marker, colour) in KINDS.items():
        kind = found[found["is_fed"] == is_fed]
        middle = kind.groupby(measure)["gain"].mean()
        axis.plot(middle.index, middle, color=colour, alpha=0.5, zorder=2)
        for one in kind.to_dict("records"):
            face = "white" if one["is_elevation"] else colour
            look = {"color": colour, "markerfacecolor": face, "markersize": 7, "capsize": 3}
            axis.errorbar(one[measure], one["gain"], one["sd"], fmt=marker, zorder=3, **look)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.1, y=0.12)


def _handles(found: pd.DataFrame) -> list[Line2D]:
    """Return what the legend explains: no more than there is to see."""
    handles = [
        Line2D([], [], color=colour, marker=marker, label=name)
        for is_fed, (name, marker, colour) in KINDS.items()
        if (found["is_fed"] == is_fed).any()
    ]
    if found["is_elevation"].any():
        look = {"marker": "o", "markerfacecolor": "white", "linestyle": "none", "color": "0.4"}
        handles.append(Line2D([], [], label="hollow: a scene's own elevation", **look))
    return handles


def _name(axis: Axes, found: pd.DataFrame, measure: str) -> list[Annotation]:
    """Name every mark, the lowest first, on the side where there is room."""
    middle = sum(axis.get_xlim()) / 2
    return [
        axis.annotate(
            one["experiment"],
            (one[measure], one["gain"]),
            (GAP if one[measure] < middle else -GAP, 0),
            textcoords="offset points",
            ha="left" if one[measure] < middle else "right",
            va="center",
            fontsize=8,
            color=KINDS[one["is_fed"]][2],
            parse_math=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0},
            zorder=4,
        )
        for one in found.sort_values("gain").to_dict("records")
    ]


def _part(labels: Sequence[Annotation], marks: np.ndarray, point: float) -> None:
    """Raise labels until none lies on another, or on a mark; [n, 2] in pixels, as is a point."""
    half = 5 * point
    placed = [Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half) for x, y in marks]
    for label in labels:
        # the extent of an annotation has its line in it, that of a text has not
        while Text.get_window_extent(label).count_overlaps(placed):
            x, y = label.get_position()
            label.set_position((x, y + 1))
        placed.append(Text.get_window_extent(label))
