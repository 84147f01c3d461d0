"""Ours: the engine of ``pipeline_steps.predict``, with a network that all contestants share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from pipeline_steps.models.device import keep_memory
from pipeline_steps.rasters.mapmaker import MapMaker, Network, Windows
from pipeline_steps.rasters.store import Scene
from pipeline_steps.rasters.walk import Sight
from pipeline_steps.study.manifest import read_manifest
from tests.benchmarks.peers.measuring import CLASSES, Job, contest
from tests.benchmarks.peers.networks import Forward

LOOKS = [(str(number), (40 * number, 40 * number, 40 * number)) for number in range(CLASSES)]


def work(job: Job, forward: Forward) -> None:
    """Write the maps of a tiled scene, as ``predict`` does."""
    if forward.device.type == "cpu":
        keep_memory()
    manifest = Path(job.tiled)
    scene = Scene(manifest, read_manifest(manifest))

    def start(inputs: Sequence[np.ndarray]) -> Callable[[], np.ndarray]:
        said = forward(torch.from_numpy(inputs[0]))
        return lambda: said.cpu().numpy()

    files = {name: Path(job.file(name)) for name in ("classes", "confidence")}
    folder = files["classes"].parent / "ours.partial"
    folder.mkdir()
    maker = MapMaker(
        [Sight(*scene.in_strips(0, None, job.window))],
        [scene.grid(0)],
        Windows(job.window, job.overlap / job.window, job.batch),
        list(files),
        LOOKS,
        folder,
    )
    network = Network(start, CLASSES, forward.device.type == "cuda")
    maker.make(network, lambda _: files, lambda work, _: work)


if __name__ == "__main__":
    contest(work, Forward)
