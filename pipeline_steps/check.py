"""Look at the whole study before any hour is spent: open every file, read a sample of pixels."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.inspection.findings import LEVELS, Findings, shown
from pipeline_steps.inspection.parts import look_for_leaks
from pipeline_steps.inspection.scene import Look
from pipeline_steps.inspection.weights import look_at_models
from pipeline_steps.models.sizes import sizes_of
from pipeline_steps.rasters.windows import CROPS_OVERLAP, starts
from pipeline_steps.study import cli
from pipeline_steps.study.classes import ClassCode
from pipeline_steps.study.domains import Reading
from pipeline_steps.study.manifest import digest_of, write_manifest, write_text
from pipeline_steps.study.params.check import Params
from pipeline_steps.study.params.fetch import Params as Models
from pipeline_steps.study.params.split import Params as Split
from pipeline_steps.study.params.tile import Params as Tile
from pipeline_steps.study.plan import GB, Cached, Plan, disk_gb, memory_gb
from pipeline_steps.study.progress import track
from pipeline_steps.study.scenes import read_scenes

log = logging.getLogger(__name__)

LEARNED = ("train", "blocks", "folds")
"""Splits of scenes that have ground to learn from."""

COARSER = 1.5
"""Scenes whose pixels differ by more than this factor are said to."""


def run(
    table: Path,
    root: str,
    findings: Path,
    record: Path,
    text: Path,
    readings: dict[str, Reading],
    models: Models,
    split: Split,
    plan: Plan,
    params: Params,
) -> None:
    """Write what every scene is and what is wrong with the study: ``record`` JSON, ``text`` tables.

    The scene table's paths are relative to ``root``; ``readings`` says how files are read, by their
    scene's domain. Raises ValueError with the first error, after both are written; ``findings``,
    the same as ``record``, is there only if there is none.
    """
    scenes, found = list(read_scenes(table, root).values()), Findings()
    looks = []
    for scene in track(scenes, len(scenes), "check", "scenes"):
        how = readings[scene.domain]
        looks.append(Look(scene, how.classes, how.tile, params, found))
        looks[-1].look()
    # every domain has the same bands, and the same classes by name
    classes, tile = looks[0].classes, looks[0].tile
    _compare(looks, tile, plan, found)
    leaks = look_for_leaks(looks, plan.taught, tile.bands, split, params, found)
    tables = {
        "scenes": [look.row() for look in looks],
        "classes": _class_shares(looks, classes, split, found),
        "leaks": leaks,
        "models": look_at_models(models, found),
        "networks": _networks(plan, len(classes), tile, found),
        "cost": [_cost(looks, tile, plan)],
    }
    levels = {level: [str(one) for one in found.of(level)] for level in LEVELS}
    said = [dataclasses.asdict(one) for one in found]
    result = json.dumps({"root": root, **tables, "findings": said}, indent=1)
    write_text(record, result + "\n")
    write_text(text, _page(tables, levels))
    _say(levels)
    write_text(findings, result + "\n")
    # of the scenes' files but a sample was read
    facts = {"params": params, "made_from": (), "made": [findings], "table": digest_of(table)}
    write_manifest(findings.with_name("manifest.json"), "pipeline_steps.check", **facts)


def _say(levels: dict[str, list[str]]) -> None:
    """Log what was found; raises ValueError with the first error."""
    for level, sentences in levels.items():
        for sentence in sentences:
            log.info("%s: %s", level, sentence)
    if errors := levels["error"]:
        more = f" (and {len(errors) - 1} more above)" if len(errors) > 1 else ""
        raise ValueError(errors[0] + more)


def _compare(looks: list[Look], tile: Tile, plan: Plan, found: Findings) -> None:
    """Find what does not agree between scenes, or between them and the study."""
    images = [(file, image) for look in looks for file, image in look.images.items()]
    by_type: dict[str, str] = {}
    for file, image in images:
        by_type.setdefault(image.dtype, file)
    if len(by_type) > 1:
        where = "; ".join(f"{file} is {dtype}" for dtype, file in by_type.items())
        found.add("error", "images", f"{where}, expected one type in a study")
    elif by_type and "uint8" not in by_type and not plan.is_stretched:
        (dtype, file) = next(iter(by_type.items()))
        found.add(
            "error",
            file,
            f"is {dtype}, and the study does not say which values become 0 and 1",
            "`stretch.percentiles: [2, 98]` takes them from the training scenes, stretch.limits"
            " states them",
        )
    if len(set(tile.rgb_positions)) < len(tile.bands):
        seen = ", ".join(str(tile.bands[place]) for place in tile.rgb_positions)
        found.add("note", "tile.bands", f"{len(tile.bands)} are kept, networks see {seen}")
    sizes = {look.scene.name: [i.gsd_m for i in look.images.values() if i.gsd_m] for look in looks}
    known = {name: float(np.median(gsds)) for name, gsds in sizes.items() if gsds}
    if known and max(known.values()) > COARSER * min(known.values()):
        low, high = min(known, key=known.get), max(known, key=known.get)
        found.add(
            "warning",
            "scenes",
            f"ground sampling distance is {known[low]:.3g} m in {low} and {known[high]:.3g} m in"
            f" {high}; networks learn sizes in pixels",
        )


def _class_shares(
    looks: list[Look], classes: Sequence[ClassCode], split: Split, found: Findings
) -> list[dict[str, Any]]:
    """Return each class's share of the sampled labels in every split, in per cent."""
    splits = list(dict.fromkeys(look.scene.split for look in looks if look.counts.any()))
    counts = {s: sum(look.counts for look in looks if look.scene.split == s) for s in splits}
    learned = [counts[s] for s in splits if s in LEARNED]
    for number, one in enumerate(classes):
        if learned and not sum(learned)[number]:
            found.add("warning", one.name, "is not in the sample of any training scene's labels")
    if not splits:
        return []
    return [
        {"class": one.name}
        | {s: round(100 * float(counts[s][n] / counts[s].sum()), 2) for s in splits}
        for n, one in enumerate(classes)
    ]


def _networks(plan: Plan, classes: int, tile: Tile, found: Findings) -> list[dict[str, Any]]:
    """Return how large every network is, in millions of parameters, and find what makes none."""
    rows = []
    for one in plan.networks:
        settings = one.network.model_dump(mode="json")
        try:
            sizes = sizes_of(settings, classes, len(tile.bands), tile.rgb_positions)
        except ValueError as error:
            found.add("error", f"train.network of {one.training}", str(error))
            continue
        keys = ("parameters_m", "trained_m")
        millions = (round(size / 1e6, 2) for size in sizes)
        rows.append({"network": one.training} | dict(zip(keys, millions, strict=True)))
    return rows


def _cost(looks: list[Look], tile: Tile, plan: Plan) -> dict[str, Any]:
    """Return the jobs of a run from nothing, its disk at most, and the memory of its largest."""
    images = [(look.scene, image) for look in looks for image in look.images.values()]
    tiled = pixels = largest = 0
    for scene, image in images:
        area = image.grid.height * image.grid.width
        depth = len(tile.bands) * np.dtype(image.dtype).itemsize + 1
        tiled += area * (depth + bool(scene.labels) + 4 * bool(scene.elevation))
        pixels, largest = pixels + area, max(largest, area)
    sizes = [(i.grid.height, i.grid.width) for scene, i in images if scene.split in LEARNED]
    features = max((_features_gb(one, sizes) for one in plan.cached), default=0.0)
    return {
        "jobs": plan.jobs,
        "disk_gb": round(disk_gb(plan, tiled, pixels, largest) + features, 3),
        **({"features_gb": round(features, 3)} if features else {}),
        "memory_gb": round(memory_gb(plan, (i.grid.width for _, i in images)), 2),
    }


def _features_gb(cached: Cached, sizes: list[tuple[int, int]]) -> float:
    """Return about how much disk features take while a training learns rasters of these sizes."""
    counts = (
        [len(starts(length, cached.crop, CROPS_OVERLAP)) for length in size] for size in sizes
    )
    return min(cached.bytes * sum(rows * columns for rows, columns in counts), cached.most) / GB


def _page(tables: dict[str, list[dict[str, Any]]], levels: dict[str, list[str]]) -> str:
    parts = [f"{name}\n\n{shown(rows, ('pair',))}" for name, rows in tables.items() if rows]
    said = [f"{level}: {one}" for level in reversed(LEVELS) for one in levels[level]]
    verdict = f"errors: {len(levels['error'])}, warnings: {len(levels['warning'])}"
    return "\n".join([*parts, *said, verdict, ""])


if __name__ == "__main__":
    cli.main(run)
