"""Draw what was found, and write one page that opens from a file."""

import base64
import logging
import shutil
from pathlib import Path

import jinja2
import matplotlib
import pandas as pd
from markupsafe import Markup

from pipeline_steps.presentation.charts import (
    bars,
    difference_chart,
    learning_curves,
    reliability_chart,
)
from pipeline_steps.presentation.depth import depth_figure
from pipeline_steps.presentation.gain import gain_figure, gains
from pipeline_steps.presentation.panels import panels_figure
from pipeline_steps.presentation.scenes import scene_figure
from pipeline_steps.presentation.tables import note_of
from pipeline_steps.presentation.transfer_chart import transfer_chart
from pipeline_steps.rasters.store import Limits, Scene
from pipeline_steps.study import cli
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.manifest import read_manifest, write_text
from pipeline_steps.study.params.report import Params
from pipeline_steps.study.prompts import Prompts
from pipeline_steps.study.publish import publishing

matplotlib.use("Agg")
log = logging.getLogger(__name__)

OF_ALL = (
    *("differences", "learning_curves", "networks_at_work", "overall", "reliability"),
    *("teacher_quality", "transfer"),
)
"""Figures that are not of one scene; those come first."""


def run(
    tiles: list[Path],
    depths: list[Path],
    maps: list[Path],
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
    params: Params,
) -> None:
    """Write ``figures`` (PNG, of test scenes, their depth and divisions, and of all) and ``page``.

    ``tiles`` and ``depths`` are manifests, ``maps`` class maps laid out as
    ``<experiment>/seed-<n>/<scene>/classes[.tif]``, ``histories`` as
    ``<experiment>/seed-<n>/history.csv``, ``panels`` folders beside some of them; ``tables`` are
    CSV files of ``tabulate`` with their like in HTML beside them; ``template`` is the page's Jinja
    template; ``prompts`` has a row for each experiment.
    """
    limits = read_manifest(stretch)["limits"]
    with publishing(figures) as (partial,):
        partial.mkdir()
        for path in tiles:
            scene = Scene(path, read_manifest(path))
            _draw_scene(partial, scene, limits, depths, maps, looks, params)
        _draw_all(partial, histories, panels, tables, prompts, params)
        for path in splits:
            shutil.copy(path.parent / "split.png", partial / f"split_{path.parent.name}.png")
        pictures = sorted(partial.glob("*.png"), key=lambda p: (p.stem in OF_ALL, p.stem))
        write_text(page, _page(pictures, tables, template))
    log.info("report: %s", page)


def _draw_scene(
    folder: Path,
    scene: Scene,
    limits: Limits | None,
    depths: list[Path],
    maps: list[Path],
    looks: list[ClassLook],
    params: Params,
) -> None:
    fields = [d for d in depths if d.parent.name == scene.name]
    guesses = [m for m in maps if m.parent.name == scene.name]
    figure = scene_figure(scene, limits, fields, guesses, looks, params.panel_px)
    figure.savefig(folder / f"scene_{scene.name}.png", dpi=params.dpi)
    if fields and scene.facts["has_elevation"]:
        figure = depth_figure(scene, limits, fields, params.panel_px)
        figure.savefig(folder / f"depth_{scene.name}.png", dpi=params.dpi)


def _draw_all(
    folder: Path,
    histories: list[Path],
    panels: list[Path],
    tables: list[Path],
    prompts: list[Prompts],
    params: Params,
) -> None:
    """Draw what is of no single scene."""
    overall = _read_table(tables, "overall")
    learning_curves(histories).savefig(folder / "learning_curves.png", dpi=params.dpi)
    if figure := panels_figure(panels):
        figure.savefig(folder / "networks_at_work.png", dpi=params.dpi)
    bars(overall).savefig(folder / "overall.png", dpi=params.dpi)
    for name, draw in (("differences", difference_chart), ("reliability", reliability_chart)):
        table = _read_table(tables, name)
        if len(table):
            draw(table).savefig(folder / f"{name}.png", dpi=params.dpi)
    found = gains(overall, _read_table(tables, "depth"), prompts)
    if len(found):
        gain_figure(found).savefig(folder / "teacher_quality.png", dpi=params.dpi)
    if any(table.stem == "transfer" for table in tables):
        transfer_chart(_read_table(tables, "transfer")).savefig(
            folder / "transfer.png", dpi=params.dpi
        )


def _read_table(tables: list[Path], name: str) -> pd.DataFrame:
    """Read a table whose names may look like numbers, or like nothing."""
    path = next(t for t in tables if t.stem == name)
    texts = ("experiment", "teacher", "scene", "baseline", "system", "source")
    words = dict.fromkeys(texts, str)
    return pd.read_csv(path, dtype=words, keep_default_na=False, na_values=[""])


def _page(pictures: list[Path], tables: list[Path], layout: Path) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(layout.read_text())
    notes = [note_of(table) for table in tables]
    return template.render(
        figures=[
            {
                "name": p.stem.replace("_", " "),
                "kind": p.stem.partition("_")[0],
                "data": base64.b64encode(p.read_bytes()).decode(),
            }
            for p in pictures
        ],
        tables=[
            {
                "name": table.stem.replace("_", " "),
                "html": Markup(table.with_suffix(".html").read_text()),
                # one that is said already is not said again
                "note": "" if note in notes[:number] else note,
            }
            for number, (table, note) in enumerate(zip(tables, notes, strict=True))
        ],
    )


if __name__ == "__main__":
    cli.main(run)
