"""Ours: the engine of ``pipeline_steps.predict``, with a network that all contestants share."""

from pathlib import Path

import numpy as np
import torch

from pipeline_steps.rasters.store import Scene, read
from pipeline_steps.rasters.windows import Window, blend
from pipeline_steps.rasters.writing import MapWriter
from pipeline_steps.study.manifest import read_manifest
from tests.benchmarks.peers.measuring import CLASSES, Job, contest
from tests.benchmarks.peers.networks import Forward


def work(job: Job, forward: Forward) -> None:
    """Write the maps of a tiled scene, as ``predict`` does."""
    manifest = Path(job.tiled)
    scene = Scene(manifest, read_manifest(manifest))
    image, valid, grid = scene.picture(0, None), scene.array("valid", 0), scene.grid(0)

    def network(windows: list[Window]) -> np.ndarray:
        pixels = np.stack([read(image, window) for window in windows])
        return forward(torch.from_numpy(pixels)).cpu().numpy()

    blended = blend(
        grid.height,
        grid.width,
        CLASSES,
        job.window,
        job.overlap / job.window,
        job.batch,
        network,
        lambda window: bool(read(valid, window).any()),
    )
    with (
        MapWriter(job.file("classes"), grid, "uint8", 255) as classes,
        MapWriter(job.file("confidence"), grid, "uint8", 255) as confidence,
    ):
        for top, rows in blended:
            is_valid = read(valid, Window(top, 0, rows.shape[1], grid.width)) > 0
            likeliest = rows.argmax(0).astype(np.uint8)
            sure = np.rint(rows.max(0) * 100).astype(np.uint8)
            classes.write(top, np.where(is_valid, likeliest, np.uint8(255)))
            confidence.write(top, np.where(is_valid, sure, np.uint8(255)))
        classes.close("mode")
        confidence.close("average")


if __name__ == "__main__":
    contest(work, Forward)
