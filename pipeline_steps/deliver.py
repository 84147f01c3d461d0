"""Make of one predicted scene what a GIS opens: polygons, a style, areas and a STAC item."""

import csv
import io
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline_steps.presentation import qml, stac
from pipeline_steps.rasters import class_map, polygon_files
from pipeline_steps.rasters.class_map import ClassMap
from pipeline_steps.rasters.ground_area import Ground
from pipeline_steps.rasters.patches import Patches, patches, placed
from pipeline_steps.rasters.sieve import settled, sieved
from pipeline_steps.study import cli
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.manifest import write_manifest, write_text
from pipeline_steps.study.params.deliver import Params, Polygons
from pipeline_steps.study.publish import publishing

log = logging.getLogger(__name__)

BATCH = 500_000
"""Corners of polygons that are written at a time."""

NEEDED = ("classes", "confidence")
"""Maps that polygons and areas are made of."""

Sums = tuple[np.ndarray, float | None]
"""Pixels, units of ground and per cent of each class, and what a unit is in m²."""


def run(
    maps: list[Path], delivery: Path, name: str, looks: list[ClassLook], params: Params
) -> None:
    """Write the folder ``delivery`` of the scene that a STAC item shall call ``name``.

    ``maps`` are GeoTIFFs, and Zarr for probabilities; or folders of them, and then each image has a
    folder of its own in the delivery, and ``areas.csv`` beside these is of all. Their names say
    what they are: `classes` and `confidence` must be among them. Raises ValueError naming the file
    where a map is none, or has a class that ``looks`` has not.
    """
    kinds = {path.stem: path for path in maps}
    for kind in NEEDED:
        if kind not in kinds:
            raise ValueError(f"maps are {', '.join(kinds)}, expected {kind}, too (predict.outputs)")
    with publishing(delivery) as (partial,):
        partial.mkdir()
        if not kinds["classes"].is_dir():
            _deliver(kinds, partial, delivery, name, looks, params)
        else:
            sums = []
            for image in _images(kinds["classes"]):
                own = {kind: _of_image(path, kind, image) for kind, path in kinds.items()}
                called = "_".join([name, *image.parts])
                folders = partial / image, delivery / image
                sums.append(_deliver(own, *folders, called, looks, params))
            if params.areas:
                write_text(partial / "areas.csv", _areas(sums, looks))
        write_manifest(
            delivery / "manifest.json",
            "pipeline_steps.deliver",
            params=params,
            made_from=maps,
            made=[delivery / file.name for file in sorted(partial.iterdir())],
            work=partial,
        )
    log.info("%s: %s", name, delivery)


def _images(classes: Path) -> list[Path]:
    """Return the names of a scene's images, which may have folders, without what they end in."""
    images = sorted(path.relative_to(classes) for path in classes.rglob("*.tif"))
    if not images:
        raise ValueError(f"{classes}: has no *.tif, expected the maps of a scene")
    return [image.with_suffix("") for image in images]


def _of_image(folder: Path, kind: str, image: Path) -> Path:
    return folder / image.with_name(image.name + Path(stac.MAPS[kind].file).suffix)


def _deliver(
    maps: dict[str, Path],
    folder: Path,
    final: Path,
    name: str,
    looks: list[ClassLook],
    params: Params,
) -> Sums:
    """Write into ``folder``, which is going to be ``final``, what is asked for of one image."""
    folder.mkdir(parents=True, exist_ok=True)
    with class_map.opened(*(maps[kind] for kind in NEEDED), len(looks)) as opened:
        grid, ground = opened.grid, Ground(opened.grid)
        sums = class_map.totals(opened.bands(), ground, len(looks)), ground.unit
        if params.polygons:
            _write_polygons(opened, ground, folder, looks, params.polygons)
    if params.maps:
        for kind, path in maps.items():
            _copy(path, folder / stac.MAPS[kind].file)
    if params.style:
        write_text(folder / "classes.qml", qml.style(looks, "class"))
    if params.areas:
        write_text(folder / "areas.csv", _areas([sums], looks))
    if params.item:
        here = {key: asset.file for key, asset in stac.ASSETS.items()}
        hrefs = {key: f"./{file}" for key, file in here.items() if (folder / file).exists()}
        for key, path in maps.items():
            hrefs.setdefault(key, Path(os.path.relpath(path, final)).as_posix())
        facts = stac.item(name, hrefs, looks, params.interval, grid)
        text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(folder / "item.json", text + "\n")
    return sums


def _copy(path: Path, target: Path) -> None:
    """Copy a map, which is a file or a store, without what Snakemake notes in a folder."""
    if path.is_dir():
        shutil.copytree(path, target, ignore=shutil.ignore_patterns(".snakemake_timestamp"))
    else:
        shutil.copyfile(path, target)


def _write_polygons(
    opened: ClassMap, ground: Ground, folder: Path, looks: list[ClassLook], params: Polygons
) -> None:
    """Write a map's patches, some at a time, into every file that is asked for."""
    bands, grid = opened.bands(), opened.grid
    if params.minimum_area:
        # units are whole; what is missing by rounding does not count
        least = math.ceil(params.minimum_area / (ground.unit or 1.0) - 1e-6)
        bands = sieved(bands, settled(opened.bands(), least, ground))
    found = patches(bands, ground, params.simplify / ground.side_m, params.corners)
    files = polygon_files.created(folder, params.files, grid.crs)
    names = np.array([look.name for look in looks], object)
    for some in _in_batches(found):
        shapes = placed(some.shapes, grid)
        for file in files:
            file.write(shapes, _columns(some, names, ground))
    for file in files:
        file.close()


def _in_batches(found: Iterator[Patches]) -> Iterator[Patches]:
    """Yield patches together until they are large; one batch even where there is none."""
    held: list[Patches] = []
    for some in found:
        held.append(some)
        if sum(one.corners for one in held) >= BATCH:
            yield Patches.together(held)
            held = []
    if held:
        yield Patches.together(held)


def _columns(some: Patches, names: np.ndarray, ground: Ground) -> dict[str, np.ndarray]:
    area = {"area_px": some.areas} if ground.unit is None else {"area_m2": some.areas * ground.unit}
    kinds = {"class": names[some.classes], "class_index": some.classes.astype(np.int32)}
    return kinds | area | {"confidence": some.confidence, "is_part": some.is_part}


def _areas(parts: list[Sums], looks: list[ClassLook]) -> str:
    """Return the table of classes over rasters; hectares only where all have a CRS."""
    counts = sum(sums for sums, _ in parts)
    has_ground = all(unit is not None for _, unit in parts)
    sizes = counts[:, 0].astype(float)
    if has_ground:
        sizes = sum(sums[:, 1] * unit / 1e4 for sums, unit in parts)
    whole = float(sizes.sum())
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    size = ["hectares"] if has_ground else []
    rows.writerow(["class_index", "class", "pixels", *size, "percent", "confidence"])
    for index, (look, (pixels, _, sure)) in enumerate(zip(looks, counts.tolist(), strict=True)):
        hectares = [float(sizes[index])] if has_ground else []
        percent = 100 * float(sizes[index]) / whole if whole else 0.0
        confidence = sure / pixels if pixels else ""
        rows.writerow([index, look.name, pixels, *hectares, percent, confidence])
    return text.getvalue()


if __name__ == "__main__":
    cli.main(run)
