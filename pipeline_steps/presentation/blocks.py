"""Where a map is best and where it is worst, block by block."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from pipeline_steps.presentation.scenes import NO_CLASS, coloured, file_of, fold_of
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.store import Limits, Scene
from pipeline_steps.rasters.windows import Window
from pipeline_steps.study.classes import IGNORE, ClassLook
from pipeline_steps.study.manifest import read_manifest

EACH = 4
"""Blocks that are shown as the worst, and as the best."""

LABELLED = 0.5
"""What a block must have of the largest one's area in its raster, and of the fullest one's share
of labelled pixels."""

MOST_PX = 256
"""Longest side of a block's picture."""


class Block(NamedTuple):
    """A block of a test scene, and the share of its labelled pixels that a map has right."""

    scene: str
    raster: int
    window: Window
    pixels: int
    oa: float

    @property
    def area(self) -> int:
        """Return its pixels, with a label or without."""
        return self.window.height * self.window.width


def blocks_of(counted: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of one map, of which ``counted`` is what ``score`` wrote."""
    found = []
    for block in counted["blocks"]:
        matrix = np.array(block["counts"], np.int64)
        window = Window(*(block[side] for side in Window._fields))
        pixels, right = int(matrix.sum()), int(np.trace(matrix))
        found.append(Block(counted["scene"], block["raster"], window, pixels, right / pixels))
    return found


Extremes = tuple[list[Block], list[Block]]
"""The worst blocks of one experiment's maps, and the best."""


def extremes(blocks: Sequence[Block]) -> Extremes:
    """Return the worst blocks of one experiment's maps, and the best; no block is both.

    Blocks with few labels are passed over, and what is left over at a scene's edges.
    """
    largest: dict[tuple[str, int], int] = {}
    for one in blocks:
        place = one.scene, one.raster
        largest[place] = max(one.area, largest.get(place, 0))
    fullest = max((one.pixels / one.area for one in blocks), default=0)
    full = [
        one
        for one in blocks
        if one.area >= LABELLED * largest[one.scene, one.raster]
        and one.pixels / one.area >= LABELLED * fullest
    ]
    full.sort(key=lambda block: block.oa)
    half = min(EACH, len(full) // 2)
    return full[: len(full) - half][:EACH], full[len(full) - half :][::-1]


def read_blocks(counts: Sequence[Path]) -> dict[str, list[Block]]:
    """Return the blocks of each experiment's maps, of whose counts one file is read at a time.

    Raises ValueError naming one that is not what it was.
    """
    found: dict[str, list[Block]] = {}
    for path in counts:
        facts = read_manifest(path)
        found.setdefault(facts["experiment"], []).extend(blocks_of(facts))
    return found


def worst_first(
    blocks: Mapping[str, Sequence[Block]], extreme: Mapping[str, Extremes], most: int
) -> dict[str, list[int]]:
    """Return so many rasters of each scene, those first where a map is at its worst or best.

    The others follow by the mean of what maps have right, the worst first.
    """
    rights: dict[tuple[str, int], list[float]] = {}
    for one in itertools.chain(*blocks.values()):
        rights.setdefault((one.scene, one.raster), []).append(one.oa)
    kinds = zip(*extreme.values(), strict=True)
    first = ((b.scene, b.raster) for kind in kinds for some in kind for b in some)
    rest = sorted(rights, key=lambda place: float(np.mean(rights[place])))
    found: dict[str, dict[int, None]] = {}
    for scene, index in (*first, *rest):
        found.setdefault(scene, {})[index] = None
    return {scene: list(rasters)[:most] for scene, rasters in found.items()}


def places_of(extreme: Mapping[str, Extremes], view: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the worst and the best blocks that the viewer can show."""
    shown = {(one["name"], r["index"]) for one in view["scenes"] for r in one["rasters"]}
    return [
        {"experiment": experiment, "kind": kind, "scene": one.scene, "oa": one.oa}
        | {"raster": one.raster}
        | one.window._asdict()
        for experiment, both in extreme.items()
        for kind, some in zip(("worst", "best"), both, strict=True)
        for one in some
        if (one.scene, one.raster) in shown
    ]


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

    ``maps`` are the experiment's, by scene. Of a divided scene there is only what is tested.
    """
    words = ("worst", "best") if best else ("measured", "")
    parts = [(name, some) for name, some in zip(words, (worst, best), strict=True) if some]
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
    window, index = block.window, block.raster
    step = max(1, -(-max(window.height, window.width) // MOST_PX))
    places = tuple(slice(one.start, one.stop, step) for one in window.slices)
    image = np.moveaxis(scene.picture(index, limits)[(..., *places)], 0, -1)
    labels = np.asarray(scene.array("labels", index)[places])
    with raster.opened(file_of(scene, path, index)) as source:
        guess = raster.read(source, window, 1)[::step, ::step].copy()
    division = scene.division(index)
    if division is not None:
        is_other = ~division.mask(window, "test", fold_of(path))[::step, ::step]
        labels[is_other] = guess[is_other] = IGNORE
        image[is_other] = np.array(NO_CLASS) / 255
    return [image, coloured(labels, looks), coloured(guess, looks)]
