"""Tell the kinds of ground of one scene apart, once for all maps that are scored on it."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline_steps.presentation.strata import strata_figure
from pipeline_steps.rasters.near import bands
from pipeline_steps.rasters.shadow import darkest, luminance
from pipeline_steps.rasters.store import Scene, new_array, read, shard_size, written
from pipeline_steps.rasters.strata import Kinds
from pipeline_steps.rasters.views import Picture
from pipeline_steps.rasters.windows import blocks, grown
from pipeline_steps.study import cli
from pipeline_steps.study.manifest import read_manifest, write_manifest
from pipeline_steps.study.params.strata import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import publishing

log = logging.getLogger(__name__)

SAMPLE = 4_000_000
"""Pixels, evenly spread over all images, by which shadow is told."""


def run(
    tile: Path, stretch: Path, strata: Path, picture: Path, manifest: Path, params: Params
) -> None:
    """Write ``strata``, a store of one number a pixel, and a ``picture`` of what it says.

    ``tile`` is the scene's manifest. A scene without elevation has no bins of height, and one
    whose pixels are too much alike no shadow.
    """
    scene, limits = Scene(tile, read_manifest(tile)), read_manifest(stretch)["limits"]
    pictures = [scene.picture(index, limits) for index in range(len(scene.rasters))]
    least = darkest(_samples(scene, pictures)) if params.shadow else None
    heights = params.height_m if scene.facts["has_elevation"] else ()
    kinds = Kinds(params.boundary_px, least is not None, heights)
    with publishing(strata, picture) as (store, drawing):
        for index, seen in enumerate(pictures):
            _write(store, scene, index, seen, least, kinds)
        figure = strata_figure(scene, pictures[0], store, kinds)
        figure.savefig(drawing, dpi=110, format="png")
    write_manifest(
        manifest,
        "pipeline_steps.strata",
        params=params,
        made_from=(tile, stretch),
        made=(strata, picture),
        scene=scene.name,
        kinds=kinds.facts(),
        shadow=least,
    )
    log.info("%s: %d kinds of ground", scene.name, kinds.count)
    if least is not None:
        log.info("shadow: luminance below %.3f", least)


def _samples(scene: Scene, pictures: list[Picture]) -> Iterator[np.ndarray]:
    """Yield what is seen of every n-th row and column that has data, float32 [3, n]."""
    total = sum(raster["valid_pixels"] for raster in scene.facts["rasters"])
    step = max(1, int(np.ceil(np.sqrt(total / SAMPLE))))
    for index, picture in enumerate(pictures):
        for window in blocks(*picture.shape[1:], shard_size(256)):
            seen = read(picture, window)[:, ::step, ::step]
            valid = read(scene.array("valid", index), window)[::step, ::step] > 0
            yield seen[:, valid]


def _write(
    store: Path, scene: Scene, index: int, picture: Picture, least: float | None, kinds: Kinds
) -> None:
    """Write the kinds of raster ``index``, shard by shard."""
    labels, (_, height, width) = scene.array("labels", index), picture.shape
    side = shard_size(labels.chunks[-1])
    # read in large windows alone, where zarr takes longer for a chunk than for its pixels
    array = new_array(store, index, (height, width), "uint8", 0, side, per_shard=1)
    elevation = scene.array("elevation", index) if kinds.heights else None
    windows = list(blocks(height, width, side))
    reach = max(kinds.reaches, default=0)
    with written(array) as write:
        for window in track(windows, len(windows), scene.rasters[index], "blocks"):
            around, inner = grown(window, reach, height, width)
            near = bands(read(labels, around), kinds.reaches)[inner]
            shadow = None if least is None else luminance(read(picture, window)) < least
            above = None if elevation is None else read(elevation, window)
            write(window, kinds.joined(near, shadow, above))


if __name__ == "__main__":
    cli.main(run)
