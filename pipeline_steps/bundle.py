"""Put a trained network and all that it needs to map a new image elsewhere into one folder.

What makes no training stale, as the colours of the classes, is told here and not by ``train``.
"""

import logging
import shutil
from pathlib import Path
from typing import Any

from pipeline_steps.rasters.place import gsd_m
from pipeline_steps.rasters.store import Scene
from pipeline_steps.study import cli
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.licences import is_restricted
from pipeline_steps.study.manifest import read_made, read_manifest, write_manifest
from pipeline_steps.study.params.bundle import Params
from pipeline_steps.study.params.predict import Params as Predict
from pipeline_steps.study.publish import publishing

log = logging.getLogger(__name__)

TRAINED = ("network", "bands", "dtype", "stretch")
"""What is told as ``train`` tells it."""


def run(
    name: str,
    model: Path,
    tiles: list[Path],
    encoders: list[Path],
    weights: Path,
    manifest: Path,
    looks: list[ClassLook],
    licences: dict[str, str],
    predict: Predict,
    params: Params,
) -> None:
    """Write a copy of the weights of ``model``, and the ``manifest`` that says how to use them.

    Paths in are manifests: of the training, of the scenes it learned from, and of where weights of
    its encoders come from. ``licences`` are theirs as far as the study states them; ``name`` is
    what the bundle calls itself. Raises ValueError where the training knows other classes.
    """
    facts, scenes = read_made(model), [Scene(path, read_manifest(path)) for path in tiles]
    if facts["classes"] != [look.name for look in looks]:
        raise ValueError(f"{model}: classes are {facts['classes']}, expected those of the study")
    licence = _licence([licences.get(str(p)) or read_manifest(p).get("license") for p in encoders])
    with publishing(weights) as (partial,):
        shutil.copyfile(model.with_name("model.safetensors"), partial)
    write_manifest(
        manifest,
        "pipeline_steps.bundle",
        params=params,
        made_from=[model, *tiles, *encoders],
        made=[weights],
        name=name,
        classes=[look.model_dump() for look in looks],
        depth_control=facts["params"]["depth_control"],
        rgb=scenes[0].facts["rgb"],
        nodata=scenes[0].facts["params"]["nodata"],
        gsd=_ends(scenes),
        licence=licence,
        predict=predict.model_dump(mode="json"),
        trained={key: facts[key] for key in ("code", "versions", "parameters", "made")},
        **{key: facts[key] for key in TRAINED},
    )
    if licence and is_restricted(licence):
        log.warning("%s: the encoder's weights are %s: not for commercial use", name, licence)
    log.info("%s: %s", name, manifest.parent)


def _licence(all_of_them: list[str | None]) -> str | None:
    """Return the licences of what a network is made of as one, if any is known."""
    return " and ".join(dict.fromkeys(filter(None, all_of_them))) or None


def _ends(scenes: list[Scene]) -> list[float] | None:
    """Return the finest and the coarsest ground sampling distance in metres, if any is known."""
    grids = (scene.grid(index) for scene in scenes for index in range(len(scene.rasters)))
    known: list[Any] = [found for found in map(gsd_m, grids) if found is not None]
    return [min(known), max(known)] if known else None


if __name__ == "__main__":
    cli.main(run)
