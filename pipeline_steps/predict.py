"""Predict a scene by blended windows, in bands, and write its maps as Cloud Optimized GeoTIFFs."""

import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from pipeline_steps.models.device import autocast, pick_device
from pipeline_steps.models.layers import NO_DEPTH
from pipeline_steps.rasters.blending import blend
from pipeline_steps.rasters.store import Scene, open_array, read
from pipeline_steps.rasters.windows import Window, grid, padded, starts
from pipeline_steps.rasters.writing import MapWriter
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE, ClassLook
from pipeline_steps.study.manifest import read_manifest
from pipeline_steps.study.params.predict import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import publishing

log = logging.getLogger(__name__)

UNSURE = 255
"""Nodata of the confidence map, whose values are per cent."""


def run(
    model: Path,
    tile: Path,
    depth: Path | None,
    classes: Path,
    confidence: Path,
    looks: list[ClassLook],
    params: Params,
) -> None:
    """Write the class index and the blended probability of the likeliest class, per pixel.

    ``model``, ``tile`` and ``depth`` are manifests; ``depth`` is for networks that are fed.
    ``classes`` and ``confidence`` are GeoTIFFs on the source's grid, or for a scene of many
    images folders of one GeoTIFF each. Pixels without data are 255 in both.
    """
    facts = read_manifest(model)
    if facts["classes"] != [look.name for look in looks]:
        raise ValueError(f"{model}: classes are {facts['classes']}, expected those of the study")
    scene = Scene(tile, read_manifest(tile))
    found, expected = (
        f"{len(one['bands'])} bands of {one['dtype']}" for one in (scene.facts, facts)
    )
    if found != expected:
        raise ValueError(f"{tile}: image is {found}, expected {expected}, as trained on")
    network = _Network(model, facts, params)
    with publishing(classes, confidence) as partials:
        for index, name in enumerate(scene.rasters):
            files = partials
            if scene.is_folder:
                files = [folder / f"{name}.tif" for folder in partials]
            fed = open_array(depth.parent / "depth.zarr", index) if depth else None
            _predict(scene, index, network, fed, files, looks, params)
    log.info("%s: %s", scene.name, classes)


class _Network:
    """A trained network on its device: windows in, class probabilities out."""

    def __init__(self, model: Path, facts: dict[str, Any], params: Params) -> None:
        self.device, self.params, self.facts = pick_device(), params, facts
        settings = facts["network"]
        module = import_module(f"pipeline_steps.models.{settings['model']}")
        network: nn.Module = module.build(len(facts["classes"]), None, settings)
        network.load_state_dict(load_file(model.parent / "model.safetensors"))
        self.network = network.eval().to(self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, image: Any, fed: Any | None, windows: list[Window]) -> np.ndarray:
        """Return probabilities float32 [n, classes, size, size]."""
        size = self.params.window
        pixels = np.stack([padded(read(image, w), size) for w in windows])
        batch = torch.from_numpy(pixels).to(self.device)
        depth = None
        if fed is not None:
            height = np.stack([padded(read(fed, w), size) for w in windows])[:, None]
            depth = torch.from_numpy(height).to(self.device).float()
            depth = self._controlled(depth).nan_to_num()
        with autocast(self.device, self.params.precision):
            logits = self.network(batch.contiguous(memory_format=torch.channels_last), depth).logits
        return logits.float().softmax(1).cpu().numpy()

    def _controlled(self, depth: torch.Tensor) -> torch.Tensor:
        """Return what a network was fed in training: see ``depth_control``."""
        is_constant = self.facts["params"]["depth_control"] == "constant"
        return torch.where(depth.isfinite(), NO_DEPTH, depth) if is_constant else depth


def _predict(
    scene: Scene,
    index: int,
    network: _Network,
    fed: Any | None,
    files: list[Path],
    looks: list[ClassLook],
    params: Params,
) -> None:
    bands = network.facts["network"]["encoder"]["bands"]
    image = scene.picture(index, network.facts["stretch"], bands)
    valid, ground = scene.array("valid", index), scene.grid(index)
    place = (ground.height, ground.width)
    size, wanted = params.window, []
    for row in grid(*place, size, params.overlap):
        wanted += [window for window in row if read(valid, window).any()]

    def answers() -> Iterator[np.ndarray]:
        for first in range(0, len(wanted), params.batch):
            yield from network(image, fed, wanted[first : first + params.batch])

    said, worth = answers(), set(wanted).__contains__
    blended = blend(*place, len(looks), size, params.overlap, lambda _: next(said), worth)
    count = len(starts(ground.height, params.window, params.overlap))
    with (
        MapWriter(files[0], ground, "uint8", IGNORE) as classes,
        MapWriter(files[1], ground, "uint8", UNSURE) as confidence,
    ):
        classes.describe([look.name for look in looks], [look.rgb for look in looks])
        for top, rows in track(blended, count, scene.rasters[index], "bands"):
            window = Window(top, 0, rows.shape[1], ground.width)
            is_valid = read(valid, window) > 0
            likeliest = rows.argmax(0).astype(np.uint8)
            sure = np.rint(rows.max(0) * 100).astype(np.uint8)
            classes.write(top, np.where(is_valid, likeliest, np.uint8(IGNORE)))
            confidence.write(top, np.where(is_valid, sure, np.uint8(UNSURE)))
        classes.close("mode")
        confidence.close("average")


if __name__ == "__main__":
    cli.main(run)
