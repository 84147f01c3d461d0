"""A scene's kinds of ground: image, boundary bands, shadow and height bins side by side."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline_steps.rasters.store import Scene, open_array
from pipeline_steps.rasters.strata import Kinds
from pipeline_steps.rasters.views import Picture

PANEL_PX = 512


def strata_figure(scene: Scene, picture: Picture, store: Path, kinds: Kinds) -> Figure:
    """Return the figure of a scene's first raster, whose kinds lie in ``store``."""
    step = max(1, -(-max(picture.shape[1:]) // PANEL_PX))
    codes = np.asarray(open_array(store, 0)[::step, ::step])
    bins, lights, bands = np.unravel_index(codes, kinds.shape)
    panels = [("boundary bands", bands, _band_names(kinds))] if kinds.reaches else []
    if kinds.has_shadow:
        panels.append(("shadow", lights, ["lit", "shadow"]))
    if kinds.heights:
        panels.append(("height above ground", bins, [*kinds.bin_names(), "unknown"]))
    figure = Figure(figsize=(3.6 * (1 + len(panels)), 5.6), layout="constrained")
    axes = figure.subplots(1, 1 + len(panels), squeeze=False)[0]
    axes[0].imshow(np.moveaxis(picture[:, ::step, ::step], 0, -1), interpolation="nearest")
    axes[0].set_title("image", fontsize=10)
    for axis, (title, values, names) in zip(axes[1:], panels, strict=True):
        colours = matplotlib.colormaps["viridis"](np.linspace(1, 0, len(names)))
        axis.imshow(colours[values], interpolation="nearest")
        axis.set_title(title, fontsize=10)
        patches = [Patch(color=c, label=n) for c, n in zip(colours, names, strict=True)]
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.02)}
        axis.legend(handles=patches, fontsize=8, frameon=False, **place)
    for axis in axes:
        axis.axis("off")
    figure.suptitle(scene.name, fontsize=11, parse_math=False)
    return figure


def _band_names(kinds: Kinds) -> list[str]:
    within = [f"within {reach} px" for reach in kinds.reaches]
    return [*within, "beyond"]
