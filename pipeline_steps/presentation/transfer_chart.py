"""The figure of transfer: source by target, a heat map for each system."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

ACROSS = 4
"""Panels side by side."""

LABEL = "miou_"
DARK = 0.5
"""Share of the colours' range below which they are dark, and writing on them white."""


def transfer_chart(table: pd.DataFrame) -> Figure:
    """Return the table `transfer` as heat maps of mIoU, what is learned from down, what is tested
    across; cells of a domain that was learned from are outlined. Systems that all learned from one
    and the same share a map, a row each."""
    columns = [name for name in table if name.startswith(LABEL) and not name.endswith("_sd")]
    is_one = table["source"].nunique() == 1 and not table["system"].duplicated().any()
    by, rows = ("source", "system") if is_one else ("system", "source")
    systems = [(name, some) for name, some in table.groupby(by, sort=False)]
    across = min(ACROSS, len(systems))
    down, tallest = -(-len(systems) // across), max(len(some) for _, some in systems)
    size = (across * (1.1 * len(columns) + 1.6) + 1, down * (0.6 * tallest + 1.2) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    highest = float(np.nan_to_num(table[columns].to_numpy(float), nan=0.0).max()) or 1.0
    for axis, (name, some) in zip(axes, systems, strict=False):
        image = _panel(axis, some, columns, highest, rows)
        title = f"learned from {name}" if is_one else name
        axis.set_title(title, fontsize=10, parse_math=False)
    for axis in axes[len(systems) :]:
        axis.axis("off")
    figure.colorbar(image, ax=axes, label="mIoU", shrink=0.8)
    figure.supxlabel("tested on", fontsize=10)
    if not is_one:
        figure.supylabel("learned from", fontsize=10)
    return figure


def _panel(
    axis: Axes, some: pd.DataFrame, columns: list[str], highest: float, rows: str
) -> AxesImage:
    values, targets = some[columns].to_numpy(float), [name.removeprefix(LABEL) for name in columns]
    image = axis.imshow(values, vmin=0, vmax=highest, cmap="viridis", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            is_dark = image.norm(value) < DARK
            how = {"ha": "center", "va": "center", "color": "white" if is_dark else "black"}
            axis.text(column, row, f"{value:.3f}", fontsize=9, **how)
        if targets[column] in some["source"].iloc[row].split("+"):
            corner, look = (column - 0.47, row - 0.46), {"edgecolor": "#d62728", "linewidth": 2.5}
            axis.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, **look))
    for ticks, names in ((axis.set_xticks, targets), (axis.set_yticks, some[rows])):
        ticks(range(len(names)), labels=names, fontsize=9, parse_math=False)
    return image
