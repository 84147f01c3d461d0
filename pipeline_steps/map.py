"""Map a new image with trained networks that left their study as bundles: no study is needed."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from pipeline_steps.mapping.predicting import (
    Trained,
    begun_work,
    check_that_they_fit,
    kind_of,
    make_maps,
)
from pipeline_steps.mapping.tiling import STORES, carried
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.layers import check_image
from pipeline_steps.rasters.place import gsd_m
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import Scene as Tiled
from pipeline_steps.study import cli
from pipeline_steps.study.bundles import Bundle, read_bundle
from pipeline_steps.study.classes import ClassCode
from pipeline_steps.study.licences import is_restricted
from pipeline_steps.study.manifest import write_manifest, write_text
from pipeline_steps.study.params.map import Params
from pipeline_steps.study.publish import release, remove
from pipeline_steps.study.scenes import Scene, scene_of
from pipeline_steps.study.sidecars import sidecars_of

log = logging.getLogger(__name__)


def run(
    name: str, image: str, models: list[Path], maps: list[Path], manifest: Path, params: Params
) -> None:
    """Write the maps of an image, or of all that a pattern matches, and what they were made from.

    ``models`` are the files of bundles, which are one ensemble. Nothing is written elsewhere: the
    image is tiled beside the maps, for as long as that takes. Raises ValueError where the image
    is not like those of the trainings, or weights are not those that a bundle was written with.
    """
    scene, bundles = scene_of(name, image), [read_bundle(model) for model in models]
    for path in map(Path, scene.images):
        for bundle in bundles:
            _check(path, bundle, params)
    trained = [_trained(model, bundle) for model, bundle in zip(models, bundles, strict=True)]
    beside = [other for file in scene.files for other in sidecars_of(file)]
    sources = list(map(Path, [*scene.files, *beside, *models]))
    looks = list(bundles[0].classes)
    work = begun_work("pipeline_steps.map", trained, sources, maps, looks, params)
    tiled = _tiled(scene, bundles[0], work / "tile")
    check_that_they_fit(trained, tiled, looks)
    make_maps(trained, tiled, [], [one.stem for one in maps], looks, params, work)
    write_manifest(
        manifest,
        "pipeline_steps.map",
        *(one.module for one in trained),
        params=params,
        made_from=sources,
        made=maps,
        work=work,
        image=os.path.relpath(image, manifest.parent),
        networks=[{"name": one.name, "licence": one.licence} for one in bundles],
        classes=[look.model_dump() for look in looks],
    )
    release(work, *maps, manifest)
    for bundle in bundles:
        if bundle.licence and is_restricted(bundle.licence):
            log.warning("%s: weights are %s: not for commercial use", bundle.name, bundle.licence)
    log.info("%s: %s", name, maps[0])


def _check(path: Path, bundle: Bundle, params: Params) -> None:
    """Raise ValueError where an image is not like those that a network was trained on."""
    as_trained = f"as the images that {bundle.name} was trained on"
    raster.refuse_strays(path, None)
    with raster.opened(path) as source:
        if source.count < max(bundle.bands):
            raise ValueError(
                f"{path}: has {source.count} bands, expected {max(bundle.bands)}, {as_trained}"
            )
        dtype, own = check_image(path, source, bundle.bands), gsd_m(Grid.of(source))
    if dtype != bundle.dtype:
        raise ValueError(f"{path}: is {dtype}, expected {bundle.dtype}, {as_trained}")
    if own is None or bundle.gsd is None:
        log.warning("%s: the ground sampling distance is not compared: no CRS tells it", path)
        return
    (low, high), factor = bundle.gsd, bundle.params.gsd_factor
    if low / factor <= own <= high * factor or params.gsd == "any":
        return
    raise ValueError(
        f"{path}: ground sampling distance is {own:.3g} m, expected {low / factor:.3g} to"
        f" {high * factor:.3g} m, {as_trained}: resample it (gdalwarp -tr), or let it pass with"
        " --config gsd=any"
    )


def _trained(model: Path, bundle: Bundle) -> Trained:
    weights = model.with_name("model.safetensors")
    kind = kind_of(bundle.bands, bundle.dtype)
    names = [look.name for look in bundle.classes]
    rest = (bundle.network, bundle.depth_control, names, kind, bundle.stretch)
    return Trained(model, weights, *rest)


def _tiled(scene: Scene, bundle: Bundle, folder: Path) -> Tiled:
    """Return the image as stores, which a killed run may have left."""
    manifest = folder / "manifest.json"
    if not manifest.exists():
        remove(folder)
        folder.mkdir()
        codes = [ClassCode(name=look.name, value=i) for i, look in enumerate(bundle.classes)]
        stores = [folder / f"{name}.zarr" for name in STORES]
        facts: dict[str, Any] = carried(scene, stores, codes, bundle.tile)
        write_text(manifest, json.dumps(facts))
    return Tiled(manifest, json.loads(manifest.read_text()))


if __name__ == "__main__":
    cli.main(run)
