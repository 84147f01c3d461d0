"""Predict a scene by blended windows, in bands, and write its maps."""

import logging
from pathlib import Path

from pipeline_steps.mapping.predicting import (
    begun_work,
    check_that_they_fit,
    make_maps,
    trained,
)
from pipeline_steps.rasters.store import Scene
from pipeline_steps.study import cli
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.manifest import read_manifest, write_manifest
from pipeline_steps.study.params.predict import Params
from pipeline_steps.study.publish import release

log = logging.getLogger(__name__)


def run(
    models: list[Path],
    tile: Path,
    depths: list[Path],
    maps: list[Path],
    looks: list[ClassLook],
    params: Params,
) -> None:
    """Write the class of every pixel, and what else is asked for; ``maps`` says where, by name.

    ``models``, ``tile`` and ``depths`` are manifests: several models are one ensemble; depths are
    those of the models that are fed, in their order. Maps are GeoTIFFs on the source's grid, but
    Zarr for probabilities, or for a scene of many images folders of one each. What a killed run
    has done is not done again. Raises ValueError where a model knows other classes or images.
    """
    networks, scene = [trained(model) for model in models], Scene(tile, read_manifest(tile))
    check_that_they_fit(networks, scene, looks)
    sources = [*models, tile, *depths]
    work = begun_work("pipeline_steps.predict", networks, sources, maps, looks, params)
    make_maps(networks, scene, depths, [one.stem for one in maps], looks, params, work)
    manifest = maps[0].with_name("manifest.json")
    modules = ("pipeline_steps.predict", *(one.module for one in networks))
    write_manifest(manifest, *modules, params=params, made_from=sources, made=maps, work=work)
    release(work, *maps, manifest)
    log.info("%s: %s", scene.name, maps[0])


if __name__ == "__main__":
    cli.main(run)
