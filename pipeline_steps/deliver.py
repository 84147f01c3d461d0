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
from pipeline_steps.study.manifest import write_text
from pipeline_steps.study.params.deliver import Params, Polygons
from pipeline_steps.study.publish import publishing

log = logging.getLogger(__name__)

BATCH = 10_000
"""Polygons that are written at a time."""

Sums = tuple[np.ndarray, float | None]
"""Pixels, units of ground and per cent of each class, and what a unit is in m²."""


def run(
    classes: Path,
    confidence: Path,
    delivery: Path,
    name: str,
    looks: list[ClassLook],
    params: Params,
) -> None:
    """Write the folder ``delivery`` of the scene that a STAC item shall call ``name``.

    ``classes`` and ``confidence`` are GeoTIFFs; or folders of them, and then each image has a
    folder of its own in the delivery, and ``areas.csv`` beside these is of all. Raises ValueError
    naming the file where a map is none, or has a class that ``looks`` has not.
    """
    with publishing(delivery) as (partial,):
        partial.mkdir()
        if not classes.is_dir():
            _deliver((classes, confidence), partial, delivery, name, looks, params)
        else:
            images = sorted(path.relative_to(classes) for path in classes.rglob("*.tif"))
            if not images:
                raise ValueError(f"{classes}: has no *.tif, expected the maps of a scene")
            sums = []
            for image in images:
                pair, inner = (classes / image, confidence / image), image.with_suffix("")
                called = "_".join([name, *inner.parts])
                folders = partial / inner, delivery / inner
                sums.append(_deliver(pair, *folders, called, looks, params))
            if params.areas:
                write_text(partial / "areas.csv", _areas(sums, looks))
    log.info("%s: %s", name, delivery)


def _deliver(
    maps: tuple[Path, Path],
    folder: Path,
    final: Path,
    name: str,
    looks: list[ClassLook],
    params: Params,
) -> Sums:
    """Write into ``folder``, which is going to be ``final``, what is asked for of one image."""
    folder.mkdir(parents=True, exist_ok=True)
    with class_map.opened(*maps, len(looks)) as opened:
        grid, ground = opened.grid, Ground(opened.grid)
        sums = class_map.totals(opened.bands(), ground, len(looks)), ground.unit
        if params.polygons:
            _write_polygons(opened, ground, folder, looks, params.polygons)
    names = [stac.ASSETS[kind][0] for kind in ("classes", "confidence")]
    if params.maps:
        for path, file in zip(maps, names, strict=True):
            shutil.copyfile(path, folder / file)
    if params.style:
        write_text(folder / "classes.qml", qml.style(looks))
    if params.areas:
        write_text(folder / "areas.csv", _areas([sums], looks))
    if params.item:
        hrefs = {key: file for key, (file, *_) in stac.ASSETS.items() if (folder / file).exists()}
        hrefs = {key: f"./{file}" for key, file in hrefs.items()}
        for key, path in zip(("classes", "confidence"), maps, strict=True):
            hrefs.setdefault(key, Path(os.path.relpath(path, final)).as_posix())
        facts = stac.item(name, hrefs, looks, params.interval, grid)
        text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(folder / "item.json", text + "\n")
    return sums


def _write_polygons(
    opened: ClassMap, ground: Ground, folder: Path, looks: list[ClassLook], params: Polygons
) -> None:
    """Write a map's patches, some at a time, into every file that is asked for."""
    bands, grid = opened.bands(), opened.grid
    if params.minimum_area:
        # units are whole; what is missing by rounding does not count
        least = math.ceil(params.minimum_area / (ground.unit or 1.0) - 1e-6)
        bands = sieved(bands, settled(opened.bands(), least, ground))
    found = patches(bands, ground, params.simplify / ground.side_m)
    files = polygon_files.created(folder, params.files, grid.crs)
    names = np.array([look.name for look in looks], object)
    for some in _in_batches(found):
        shapes = placed(some.shapes, grid)
        for file in files:
            file.write(shapes, _columns(some, names, ground))
    for file in files:
        file.close()


def _in_batches(found: Iterator[Patches]) -> Iterator[Patches]:
    """Yield patches together until there are many; something even where there is none."""
    held: list[Patches] = []
    for some in found:
        held.append(some)
        if sum(map(len, held)) >= BATCH:
            yield Patches.together(held)
            held = []
    yield Patches.together(held)


def _columns(some: Patches, names: np.ndarray, ground: Ground) -> dict[str, np.ndarray]:
    area = {"area_px": some.areas} if ground.unit is None else {"area_m2": some.areas * ground.unit}
    kinds = {"class": names[some.classes], "class_index": some.classes.astype(np.int32)}
    return kinds | area | {"confidence": some.confidence}


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
