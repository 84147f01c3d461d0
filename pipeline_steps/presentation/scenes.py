"""A test scene's figure: image, labels, pseudo-depth and every map side by side."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline_steps.rasters.sampled import sampled, sampled_of
from pipeline_steps.rasters.store import Limits, Scene, open_array
from pipeline_steps.study.classes import IGNORE, ClassLook
from pipeline_steps.study.runs import Run

NO_CLASS = (238, 238, 238)
NO_VALUE = "#d4d4d4"
MOST_COLUMNS = 6


def scene_figure(
    scene: Scene,
    limits: Limits | None,
    depths: Sequence[Path],
    maps: Sequence[Path],
    looks: Sequence[ClassLook],
    panel_px: int,
) -> Figure:
    """Return the figure of a scene: of a folder, its first raster.

    ``depths`` are manifests of the scene's pseudo-depth, ``maps`` its class maps.
    """
    step = step_of(scene, panel_px)
    panels: list[tuple[str, np.ndarray]] = [
        ("image", picture_of(scene, limits, step)),
        ("labels", coloured(labels_of(scene, step), looks)),
    ]
    for path in depths:
        panels.append((f"pseudo-depth\n{path.parent.parent.name}", depth_of(path, step)))
    for path in maps:
        picture = coloured(map_of(scene, path, step), looks)
        panels.append((f"prediction\n{path.parents[2].name}", picture))
    rows = -(-len(panels) // MOST_COLUMNS)
    columns = -(-len(panels) // rows)
    height, width = panels[0][1].shape[:2]
    # a panel is as wide as any and as high as its scene asks, a strip no less than its title
    tall = 0.3 + 3 * min(max(height / width, 0.2), 2)
    figure = Figure(figsize=(3 * columns, tall * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (title, picture) in zip(axes, panels, strict=False):
        axis.imshow(picture, cmap=colours("magma"), vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=10, parse_math=False)
    figure.suptitle(scene.name, fontsize=11, parse_math=False)
    _add_legend(figure, looks, 3 * columns)
    return figure


def step_of(scene: Scene, panel_px: int, index: int = 0) -> int:
    """Return how many pixels of a raster of the scene become one of a panel."""
    grid = scene.grid(index)
    return max(1, -(-max(grid.height, grid.width) // panel_px))


def picture_of(scene: Scene, limits: Limits | None, step: int, index: int = 0) -> np.ndarray:
    """Return every ``step``-th pixel of the image, [H, W, 3]."""
    return np.moveaxis(scene.picture(index, limits)[..., ::step, ::step], 0, -1)


def depth_of(manifest: Path, step: int, index: int = 0) -> np.ndarray:
    """Return every ``step``-th pixel of pseudo-depth, float32 [H, W], NaN where there is none."""
    array = open_array(manifest.parent / "depth.zarr", index)
    return np.asarray(array[::step, ::step], np.float32)


def labels_of(scene: Scene, step: int, index: int = 0) -> np.ndarray:
    """Return every ``step``-th pixel of the labels, uint8 [H, W]."""
    return np.asarray(scene.array("labels", index)[::step, ::step])


def tested_labels_of(scene: Scene, path: Path, step: int, index: int = 0) -> np.ndarray:
    """Return the same, without those that the map at ``path`` is not tested on."""
    labels = scene.array("labels", index)
    return sampled_of(scene.within(labels, index, "test", fold_of(path), IGNORE), step)


def map_of(scene: Scene, path: Path, step: int, index: int = 0) -> np.ndarray:
    """Return every ``step``-th pixel of a map of the scene, the same that are taken of labels.

    ``path`` is a GeoTIFF, or for a scene of many images the folder of theirs.
    """
    return sampled(file_of(scene, path, index), step)


def fold_of(path: Path) -> int | None:
    """Return the fold of the run whose map lies at ``<run>/<scene>/<map>``."""
    return Run.named(path.parents[1].name).fold


def file_of(scene: Scene, path: Path, index: int) -> Path:
    """Return the file of raster ``index`` among the maps that lie at ``path``."""
    return path / f"{scene.rasters[index]}.tif" if scene.is_folder else path


def colours(name: str) -> Colormap:
    """Return one of matplotlib's colour maps that shows NaN as light grey."""
    return matplotlib.colormaps[name].with_extremes(bad=NO_VALUE)


def _add_legend(figure: Figure, looks: Sequence[ClassLook], inches: float) -> None:
    patches = [Patch(color=look.color, label=look.name) for look in looks]
    # about nine letters to the inch, beside a patch as wide as six
    entries = int(inches * 9 / (6 + max(len(look.name) for look in looks)))
    place = {"loc": "outside lower center", "ncols": max(1, entries), "frameon": False}
    legend = figure.legend(handles=patches, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)


def coloured(indices: np.ndarray, looks: Sequence[ClassLook]) -> np.ndarray:
    """Return class indices in their colours, uint8 [H, W, 3]; what has no class is light grey."""
    table = np.full((256, 3), NO_CLASS, np.uint8)
    table[: len(looks)] = [look.rgb for look in looks]
    return table[indices]
