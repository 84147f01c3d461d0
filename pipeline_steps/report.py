"""Draw what was found, and write one page that opens from a file."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from pipeline_steps.presentation.ablation import ablation_figure
from pipeline_steps.presentation.blocks import (
    Extremes,
    blocks_figure,
    extremes,
    places_of,
    read_blocks,
    worst_first,
)
from pipeline_steps.presentation.charts import (
    bars,
    difference_chart,
    learning_curves,
    reliability_chart,
)
from pipeline_steps.presentation.confusion import class_figure, confusion_figure
from pipeline_steps.presentation.corruption_charts import corrupted_figure, corruption_chart
from pipeline_steps.presentation.depth import depth_figure
from pipeline_steps.presentation.division import division_figure
from pipeline_steps.presentation.gain import gain_figure, gains
from pipeline_steps.presentation.page import page_of
from pipeline_steps.presentation.panels import panels_figure
from pipeline_steps.presentation.provenance import origins
from pipeline_steps.presentation.saving import save
from pipeline_steps.presentation.scenes import scene_figure
from pipeline_steps.presentation.tables import read_table
from pipeline_steps.presentation.transfer_chart import transfer_chart
from pipeline_steps.presentation.viewer import Seen, viewed
from pipeline_steps.rasters.store import Limits, Scene, tiled
from pipeline_steps.study import cli
from pipeline_steps.study.about import About
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.manifest import intact, read_manifest, write_manifest, write_text
from pipeline_steps.study.params.report import Params
from pipeline_steps.study.prompts import Prompts
from pipeline_steps.study.publish import publishing

matplotlib.use("Agg")
log = logging.getLogger(__name__)

OF_TABLES: Mapping[str, Callable[[pd.DataFrame], Figure]] = {
    "overall": bars,
    "differences": difference_chart,
    "ablation": ablation_figure,
    "corruptions": corruption_chart,
    "classes": class_figure,
    "confusion": confusion_figure,
    "reliability": reliability_chart,
    "transfer": transfer_chart,
}
"""Table → the figure that is drawn of it, if it has any rows."""


def run(
    tiles: list[Path],
    depths: list[Path],
    maps: list[Path],
    confidences: list[Path],
    counts: list[Path],
    corruptions: list[Path],
    models: list[Path],
    weights: list[Path],
    histories: list[Path],
    panels: list[Path],
    tables: list[Path],
    splits: list[Path],
    stretch: Path,
    page: Path,
    figures: Path,
    template: Path,
    looks: list[ClassLook],
    prompts: list[Prompts],
    about: About,
    params: Params,
) -> None:
    """Write ``figures`` (PNG and PDF, of test scenes and of all together) and ``page``.

    ``tiles``, ``depths``, ``models`` and ``weights`` are manifests, ``maps`` class maps laid out as
    ``<experiment>/seed-<n>/<scene>/classes[.tif]``, as ``confidences`` are, ``counts`` what
    ``score`` wrote of them, ``corruptions`` what ``corrupt`` wrote of one run, ``histories`` and
    ``panels`` what trainings left; ``tables`` are CSV files of ``tabulate``, with HTML beside them,
    ``template`` is Jinja's, with captions in the folder above; ``prompts`` tells of experiments.
    """
    limits = read_manifest(stretch)["limits"]
    scenes, blocks = tiled(tiles, splits, read_manifest), read_blocks(counts)
    extreme = {experiment: extremes(some) for experiment, some in blocks.items()}
    rasters = worst_first(blocks, extreme, params.viewer_rasters)
    seen = [Seen.among(scene, depths, maps, confidences, rasters) for scene in scenes]
    with publishing(figures) as (partial,):
        partial.mkdir()
        for one in seen:
            _draw_scene(partial, one, limits, looks, params)
        _draw_all(partial, histories, panels, tables, prompts, params)
        _draw_corrupted(partial, scenes, corruptions, limits, params)
        _draw_blocks(partial, seen, extreme, limits, looks, params)
        view = viewed(seen, limits, looks, params.viewer_px, params.viewer_megapixels)
        view["windows"] = places_of(extreme, view)
        told = origins(about, looks, scenes, depths, models, weights, tables)
        # the viewer shows what a scene's figure shows
        pictures = [p for p in sorted(partial.glob("*.png")) if not p.stem.startswith("scene_")]
        write_text(page, page_of(template, pictures, tables, view, told))
    read = [*tiles, *depths, *maps, *confidences, *models, *weights, *counts, *splits, *tables]
    _tell(page, figures, [*read, *corruptions, stretch], template, params)


def _tell(page: Path, figures: Path, read: list[Path], template: Path, params: Params) -> None:
    """Write the manifest; what else trainings made is told by their own."""
    facts = {"params": params, "made_from": read, "made": (page, figures)}
    (facts["template"],) = intact([template.parent])
    write_manifest(page.with_name("manifest.json"), "pipeline_steps.report", **facts)
    log.info("report: %s", page)


def _draw_scene(
    folder: Path, seen: Seen, limits: Limits | None, looks: list[ClassLook], params: Params
) -> None:
    scene = seen.scene
    log.info("scene %s", scene.name)
    figure = scene_figure(scene, limits, seen.depths, seen.maps, looks, params.panel_px)
    save(figure, folder / f"scene_{scene.name}", params.dpi, params.formats)
    if seen.depths and scene.facts["has_elevation"]:
        figure = depth_figure(scene, limits, seen.depths, params.panel_px)
        save(figure, folder / f"depth_{scene.name}", params.dpi, params.formats)
    if scene.divided:
        divisions = [scene.division(index) for index in range(len(scene.rasters))]
        figure = division_figure(scene, divisions)
        save(figure, folder / f"split_{scene.name}", params.dpi, params.formats)


def _draw_all(
    folder: Path,
    histories: list[Path],
    panels: list[Path],
    tables: list[Path],
    prompts: list[Prompts],
    params: Params,
) -> None:
    """Draw what is of no single scene."""
    intact([*histories, *tables])
    read = {path.stem: read_table(path) for path in tables}
    save(learning_curves(histories), folder / "learning_curves", params.dpi, params.formats)
    if figure := panels_figure(panels):
        save(figure, folder / "networks_at_work", params.dpi, params.formats)
    for name, draw in OF_TABLES.items():
        if len(read.get(name, ())):
            save(draw(read[name]), folder / name, params.dpi, params.formats)
    found = gains(read["overall"], read["depth"], prompts)
    if len(found):
        save(gain_figure(found), folder / "teacher_quality", params.dpi, params.formats)


def _draw_corrupted(
    folder: Path, scenes: list[Scene], files: list[Path], limits: Limits | None, params: Params
) -> None:
    if files:
        figure = corrupted_figure(scenes, limits, files)
        save(figure, folder / "corrupted", params.dpi, params.formats)


def _draw_blocks(
    folder: Path,
    seen: list[Seen],
    extreme: Mapping[str, Extremes],
    limits: Limits | None,
    looks: list[ClassLook],
    params: Params,
) -> None:
    """Draw the worst and the best blocks of each experiment."""
    scenes = {one.scene.name: one.scene for one in seen}
    for experiment, (worst, best) in extreme.items():
        maps = {
            one.scene.name: path
            for one in seen
            for path in one.maps
            if path.parents[2].name == experiment
        }
        if worst:
            figure = blocks_figure(experiment, worst, best, scenes, maps, limits, looks)
            save(figure, folder / f"windows_{experiment}", params.dpi, params.formats)


if __name__ == "__main__":
    cli.main(run)
