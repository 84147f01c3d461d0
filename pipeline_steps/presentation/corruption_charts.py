"""Figures of corruptions: mIoU over severity, and what a scene looks like through each."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline_steps.rasters.corrupted import CorruptedScene, median_luminance
from pipeline_steps.rasters.store import Limits, Scene, read
from pipeline_steps.rasters.windows import Window
from pipeline_steps.study.manifest import read_manifest

ACROSS = 4
"""Panels side by side."""

STYLES = ("-", "--", ":", "-.")
COLOURS = 10
"""Lines until colours begin anew, in another style."""

CROP = 160
"""Height and width in pixels of what is shown of a scene."""

LABEL = "miou_"


def corruption_chart(table: pd.DataFrame) -> Figure:
    """Return the table `corruptions` as curves of mIoU over severity, 0 for the clean image: a
    panel for each kind, a line for each experiment, with a band of the deviation over seeds."""
    kinds = [(kind, some) for kind, some in table.groupby("kind", sort=False)]
    across = min(ACROSS, len(kinds))
    down = -(-len(kinds) // across)
    figure = Figure(figsize=(2.9 * across + 1.8, 2.5 * down + 0.5), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, (kind, some) in zip(axes, kinds, strict=False):
        _curves(axis, some)
        axis.set_title(kind, fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[len(kinds) :]:
        axis.axis("off")
    # below the last panel of each column, whose own may be empty
    for axis in axes[max(0, len(kinds) - across) : len(kinds)]:
        axis.tick_params(labelbottom=True)
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    legend = figure.legend(
        lines.values(), lines, frameon=False, fontsize=8, loc="outside right upper"
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.supxlabel("severity; 0 is the image as it is", fontsize=10)
    figure.supylabel("mIoU", fontsize=10)
    return figure


def _curves(axis: Axes, some: pd.DataFrame) -> None:
    columns = [f"{LABEL}clean", *_severities(some)]
    places = [0, *(int(name.removeprefix(LABEL)) for name in columns[1:])]
    looks = cycle((f"C{number}", style) for style in STYLES for number in range(COLOURS))
    for (_, row), (colour, style) in zip(some.iterrows(), looks, strict=False):
        mean = row[columns].to_numpy(float)
        spread = np.nan_to_num(row[[f"{name}_sd" for name in columns]].to_numpy(float))
        how = {"color": colour, "linestyle": style, "marker": "o", "markersize": 3}
        axis.plot(places, mean, label=row["experiment"], linewidth=1.4, **how)
        axis.fill_between(places, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    axis.set_xticks(places)
    axis.set_ylim(bottom=0)


def _severities(table: pd.DataFrame) -> list[str]:
    return [name for name in table if name.removeprefix(LABEL).isdecimal()]


def corrupted_figure(
    scenes: Sequence[Scene], limits: Limits | None, corruptions: Sequence[Path]
) -> Figure:
    """Return a crop of a scene's first raster: a row for each kind, a column for each severity.

    ``corruptions`` are what ``corrupt`` wrote: of ``scenes`` one is shown that has most kinds.
    """
    found = [read_manifest(path) for path in corruptions]
    shown = max(found, key=lambda one: len(one["kinds"]))
    scene = next(one for one in scenes if one.name == shown["scene"])
    kinds, severities = shown["kinds"], map(int, next(iter(shown["kinds"].values())))
    own, grid = scene.limits(limits), scene.grid(0)
    height, width = min(CROP, grid.height), min(CROP, grid.width)
    crop = Window((grid.height - height) // 2, (grid.width - width) // 2, height, width)
    median = median_luminance(scene, own)
    columns = [0, *severities]
    figure = Figure(figsize=(1.5 * len(columns) + 0.4, 1.5 * len(kinds) + 0.5))
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.02)
    axes = figure.subplots(len(kinds), len(columns), squeeze=False)
    for row, kind in zip(axes, kinds, strict=True):
        for axis, severity in zip(row, columns, strict=True):
            seen = CorruptedScene(scene, kind, severity, own, median) if severity else scene
            picture = read(seen.picture(0, own), crop)
            axis.imshow(np.moveaxis(picture, 0, -1), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(kind, fontsize=10)
    for axis, severity in zip(axes[0], columns, strict=True):
        axis.set_title(f"severity {severity}" if severity else "as it is", fontsize=9)
    figure.suptitle(scene.name, fontsize=10, parse_math=False)
    return figure
