"""How a scene is divided: its image under its blocks."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline_steps.rasters.splits import PARTS, Division
from pipeline_steps.rasters.store import Scene
from pipeline_steps.rasters.windows import blocks

PANEL_PX = 512
MOST_PANELS = 12
COLOURS = {"train": "#4c78a8", "val": "#eeca3b", "test": "#e45756"}


def division_figure(scene: Scene, divisions: Sequence[Division]) -> Figure:
    """Return the image under its blocks, of each raster those of one division.

    With folds each fold has a colour, and the buffer is seen from the first.
    """
    shown, folds = divisions[:MOST_PANELS], divisions[0].folds
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4 * columns, 4 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    names = list(PARTS) if folds is None else [f"fold {i}" for i in range(folds)]
    colours = list(COLOURS.values())
    if folds is not None:
        colours = [matplotlib.colormaps["tab20"](i) for i in range(folds)]
    for axis in axes:
        axis.axis("off")
    for index, (axis, division) in enumerate(zip(axes, shown, strict=False)):
        step = max(1, -(-max(division.shape) // PANEL_PX))
        grey = np.asarray(scene.array("image", index)[:, ::step, ::step], np.float32).mean(axis=0)
        has_data = np.asarray(scene.array("valid", index)[::step, ::step]) > 0
        low, high = np.percentile(grey[has_data], (2, 98)) if has_data.any() else (0, 1)
        axis.imshow(grey, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
        codes, ends = _sampled(division, step, len(names)), (-0.5, len(names) - 0.5)
        axis.imshow(codes, cmap=ListedColormap(colours), vmin=ends[0], vmax=ends[1], alpha=0.55)
        axis.set_title(scene.rasters[index], fontsize=9, parse_math=False)
    patches = [Patch(color=c, label=n) for n, c in zip(names, colours, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=6, frameon=False)
    more = (
        f" (first {len(shown)} of {len(divisions)} rasters)" if len(divisions) > len(shown) else ""
    )
    figure.suptitle(scene.name + more, fontsize=11, parse_math=False)
    return figure


def _sampled(division: Division, step: int, count: int) -> np.ndarray:
    """Return the part or fold of every ``step``-th pixel as float [H, W], NaN in the buffer."""
    height, width = division.shape
    codes = np.full((-(-height // step), -(-width // step)), np.nan)
    for window in blocks(height, width, 64 * step):
        rows, columns = window.slices
        inner = (slice(rows.start // step, None), slice(columns.start // step, None))
        for code in range(count):
            part, fold = (PARTS[code], None) if division.folds is None else ("test", code)
            inside = division.mask(window, part, fold)[::step, ::step]
            place = codes[inner][: inside.shape[0], : inside.shape[1]]
            place[inside] = code
    return codes
