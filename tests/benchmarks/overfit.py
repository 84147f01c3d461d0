"""Whether DepthForge can learn a few real crops by heart: ``python -m tests.benchmarks.overfit``.

Crops of Dubai's first tile, both encoders drawn at random and frozen, Mask2Former's head with our
queries. The last line is JSON: ``oa`` of the labelled pixels after the last step, ``loss`` by step.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from pipeline_steps.models.depthforge import build
from pipeline_steps.rasters.store import tiled
from pipeline_steps.study.classes import IGNORE, ClassCode
from pipeline_steps.study.manifest import read_manifest
from pipeline_steps.study.params.network import DepthForge
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Crops, batches
from pipeline_steps.training.fabric import new_fabric
from pipeline_steps.training.layers import layers_of
from pipeline_steps.training.loop import Recipe, Training
from pipeline_steps.training.objective import Objective
from pipeline_steps.training.optimiser import adamw, polynomial
from tests.conftest import REAL, ROOT
from tests.data.tiling import tile_scene

VIT = {"patch_size": 8, "embed_dim": 128, "depth": 6, "num_heads": 4, "img_size": 128}
NETWORK = {
    "encoder": {"name": "vit_small_patch14_dinov2", "arguments": VIT, "token_stride": 8},
    **{"token_count": 50, "width": 128, "layers": 6, "pixel_layers": 3, "points": 4096},
}
TEACHER = {"name": "vit_small_patch14_dinov2", "mean": [0.5] * 3, "std": [0.25] * 3}
TEACHER |= {"arguments": VIT | {"embed_dim": 64, "depth": 4}}


def main() -> None:
    """Learn, and print how much of it is right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=4)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    print(json.dumps(overfitted(asked.crops, asked.size, asked.steps)))


def overfitted(count: int, size: int, steps: int) -> dict[str, Any]:
    """Return what ``steps`` on the same ``count`` crops of ``size`` pixels lead to."""
    with tempfile.TemporaryDirectory() as folder:
        batch = _crops(Path(folder), count, size)
    torch.manual_seed(0)
    stated = DepthForge.model_validate_json(json.dumps(NETWORK)).model_dump(mode="json")
    network = build(5, None, stated | {"depth_encoder": TEACHER})
    recipe = Recipe(polynomial(steps, steps // 10, 0.9), 1.0, report_every=max(1, steps // 10))
    objective = Objective(IGNORE, points=stated["points"])
    training = Training(new_fabric("auto"), network, adamw(network, 2e-3, 0.0), objective, recipe)
    history = training.run([batch] * steps, steps)
    with training.as_result() as result:
        said = result(batch["image"]).logits.argmax(1)
    labelled = batch["labels"] != IGNORE
    return {
        "oa": float((said == batch["labels"])[labelled].float().mean()),
        "labelled": float(labelled.float().mean()),
        "loss": dict(zip(history["step"].tolist(), history["loss"].tolist(), strict=True)),
    }


def _crops(folder: Path, count: int, size: int) -> dict[str, torch.Tensor]:
    study = yaml.safe_load((ROOT / "config" / "studies" / "dubai.yaml").read_text())
    classes = [ClassCode(name=one["name"], rgb=tuple(one["rgb"])) for one in study["classes"]]
    tile = REAL / "dubai" / "tile_1"
    files = {"image": tile / "images" / "*.jpg", "labels": tile / "masks" / "*.png"}
    how = {"ignore_labels": ((155, 155, 155),), "unlisted_labels": "ignore"}
    scenes = tiled([tile_scene(folder, classes, "train", **files, **how)], [], read_manifest)
    rasters = layers_of(scenes, [], None, ("train", None), IGNORE)
    return next(
        iter(batches(Crops(rasters, size, count, 0, Augmentation(), IGNORE), count, 0, False))
    )


if __name__ == "__main__":
    main()
