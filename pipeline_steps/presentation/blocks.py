"""Where a map is best and where it is worst, block by block."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from pipeline_steps.presentation.scenes import coloured, file_of
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.store import Limits, Scene, read
from pipeline_steps.rasters.windows import Window
from pipeline_steps.study.classes import ClassLook

EACH = 4
"""Blocks that are shown as the worst, and as the best."""

LABELLED = 0.5
"""Labelled pixels that a block must have, as a share of the fullest one's."""

MOST_PX = 256
"""Longest side of a block's picture."""


class Block(NamedTuple):
    """A block of a test scene, and the share of its labelled pixels that a map has right."""

    scene: str
    raster: int
    window: Window
    oa: float


def extremes(counted: Sequence[Mapping[str, Any]]) -> tuple[list[Block], list[Block]]:
    """Return the worst blocks of one experiment's maps, and the best; no block is both.

    ``counted`` is what ``score`` wrote of them. Blocks with few labels are passed over.
    """
    found, pixels = [], []
    for one in counted:
        for block in one["blocks"]:
            matrix = np.array(block["counts"], np.int64)
            window = Window(*(block[side] for side in Window._fields))
            oa = float(np.trace(matrix) / matrix.sum())
            found.append(Block(one["scene"], block["raster"], window, oa))
            pixels.append(int(matrix.sum()))
    enough = LABELLED * max(pixels, default=0)
    full = [block for block, count in zip(found, pixels, strict=True) if count >= enough]
    full.sort(key=lambda block: block.oa)
    half = min(EACH, len(full) // 2)
    return full[: len(full) - half][:EACH], full[len(full) - half :][::-1]


def blocks_figure(
    experiment: str,
    worst: Sequence[Block],
    best: Sequence[Block],
    scenes: Mapping[str, Scene],
    maps: Mapping[str, Path],
    limits: Limits | None,
    looks: Sequence[ClassLook],
) -> Figure:
    """Return image, labels and map of each block, a column a block; the worst left, the best right.

    ``maps`` are the experiment's, by scene.
    """
    parts = [(name, some) for name, some in (("worst", worst), ("best", best)) if some]
    columns = sum(len(some) for _, some in parts)
    figure = Figure(figsize=(1.6 * columns + 0.8, 6.2), layout="constrained")
    ratios = {"width_ratios": [len(some) for _, some in parts], "squeeze": False}
    for part, (name, some) in zip(
        figure.subfigures(1, len(parts), **ratios)[0], parts, strict=True
    ):
        axes = part.subplots(3, len(some), squeeze=False)
        part.suptitle(f"{experiment}: where it is {name}", fontsize=11, parse_math=False)
        for axis in axes.ravel():
            axis.set(xticks=[], yticks=[], anchor="N")
            axis.spines[:].set_visible(False)
        for column, block in zip(axes.T, some, strict=True):
            scene = scenes[block.scene]
            pictures = _pictures(block, scene, maps[block.scene], limits, looks)
            for axis, picture in zip(column, pictures, strict=True):
                axis.imshow(picture, interpolation="nearest")
            place = f"{block.scene}\n{_place(block, scene)}"
            column[0].set_title(f"{place}\nOA {block.oa:.2f}", fontsize=8, parse_math=False)
        for axis, word in zip(axes[:, 0], ("image", "labels", "map"), strict=True):
            axis.set_ylabel(word, fontsize=9)
    return figure


def _place(block: Block, scene: Scene) -> str:
    if scene.is_folder:
        return scene.rasters[block.raster]
    return f"row {block.window.y}, column {block.window.x}"


def _pictures(
    block: Block, scene: Scene, path: Path, limits: Limits | None, looks: Sequence[ClassLook]
) -> list[np.ndarray]:
    window = block.window
    step = max(1, -(-max(window.height, window.width) // MOST_PX))
    image = read(scene.picture(block.raster, limits), window)[:, ::step, ::step]
    labels = read(scene.array("labels", block.raster), window)[::step, ::step]
    with raster.opened(file_of(scene, path, block.raster)) as source:
        guess = raster.read(source, window, 1)[::step, ::step]
    return [np.moveaxis(image, 0, -1), coloured(labels, looks), coloured(guess, looks)]
