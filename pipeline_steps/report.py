"""Draw what was found, and write one page that opens from a file."""

import base64
import logging
import shutil
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.store import Limits, Scene, open_array
from pipeline_steps.rasters.windows import Window
from pipeline_steps.study import cli
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.manifest import read_manifest, write_text
from pipeline_steps.study.params.report import Params
from pipeline_steps.study.publish import publishing

matplotlib.use("Agg")
log = logging.getLogger(__name__)

NO_CLASS = (238, 238, 238)
MOST_COLUMNS = 6
OF_ALL = ("learning_curves", "overall")
"""Figures that are not of one scene; those come first."""

BAND = 64
"""Sampled rows that are read at a time."""


def run(
    tiles: list[Path],
    depths: list[Path],
    maps: list[Path],
    histories: list[Path],
    tables: list[Path],
    splits: list[Path],
    stretch: Path,
    page: Path,
    figures: Path,
    template: Path,
    looks: list[ClassLook],
    params: Params,
) -> None:
    """Write ``figures`` (PNG, one per test scene, of each division and of curves) and ``page``.

    ``tiles`` and ``depths`` are manifests, ``maps`` class maps laid out as
    ``<experiment>/seed-<n>/<scene>/classes[.tif]``, ``histories`` as
    ``<experiment>/seed-<n>/history.csv``; ``tables`` are CSV files of ``tabulate`` with their
    like in HTML beside them; ``template`` is the page's Jinja template.
    """
    limits = read_manifest(stretch)["limits"]
    with publishing(figures) as (partial,):
        partial.mkdir()
        for path in tiles:
            scene = Scene(path, read_manifest(path))
            fields = [d for d in depths if d.parent.name == scene.name]
            guesses = [m for m in maps if m.parent.name == scene.name]
            figure = _scene_figure(scene, limits, fields, guesses, looks, params)
            figure.savefig(partial / f"scene_{scene.name}.png", dpi=params.dpi)
        _curves(histories).savefig(partial / "learning_curves.png", dpi=params.dpi)
        _bars(tables).savefig(partial / "overall.png", dpi=params.dpi)
        for path in splits:
            shutil.copy(path.parent / "split.png", partial / f"split_{path.parent.name}.png")
        pictures = sorted(partial.glob("*.png"), key=lambda p: (p.stem in OF_ALL, p.stem))
        write_text(page, _page(pictures, tables, template))
    log.info("report: %s", page)


def _scene_figure(
    scene: Scene,
    limits: Limits | None,
    depths: list[Path],
    maps: list[Path],
    looks: list[ClassLook],
    params: Params,
) -> Figure:
    """Return image, labels, pseudo-depth and every map side by side: of a folder, its first."""
    step = max(1, -(-max(scene.grid(0).height, scene.grid(0).width) // params.panel_px))
    labels = _coloured(np.asarray(scene.array("labels", 0)[::step, ::step]), looks)
    panels: list[tuple[str, np.ndarray]] = [
        ("image", np.moveaxis(scene.picture(0, limits)[..., ::step, ::step], 0, -1)),
        ("labels", labels),
    ]
    for path in depths:
        field = open_array(path.parent / "depth.zarr", 0)[::step, ::step]
        panels.append((f"pseudo-depth\n{path.parent.parent.name}", np.asarray(field, np.float32)))
    for path in maps:
        file = path / f"{scene.rasters[0]}.tif" if scene.is_folder else path
        panels.append((f"prediction\n{path.parents[2].name}", _sampled(file, step, looks)))
    rows = -(-len(panels) // MOST_COLUMNS)
    columns = -(-len(panels) // rows)
    figure = Figure(figsize=(3 * columns, 3.3 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (title, picture) in zip(axes, panels, strict=False):
        axis.imshow(picture, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=10)
    figure.suptitle(scene.name, fontsize=11, parse_math=False)
    patches = [Patch(color=look.color, label=look.name) for look in looks]
    # about nine letters to the inch, beside a patch as wide as six
    entries = int(3 * columns * 9 / (6 + max(len(look.name) for look in looks)))
    place = {"loc": "outside lower center", "ncols": max(1, entries), "frameon": False}
    legend = figure.legend(handles=patches, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _sampled(file: Path, step: int, looks: list[ClassLook]) -> np.ndarray:
    """Return every ``step``-th pixel, the same ones that are taken of the labels."""
    with raster.opened(file) as source:
        height, width, band = source.height, source.width, BAND * step
        sampled = [
            raster.read(source, Window(y, 0, min(band, height - y), width), 1)[::step, ::step]
            for y in range(0, height, band)
        ]
    return _coloured(np.concatenate(sampled), looks)


def _coloured(indices: np.ndarray, looks: list[ClassLook]) -> np.ndarray:
    table = np.full((256, 3), NO_CLASS, np.uint8)
    table[: len(looks)] = [look.rgb for look in looks]
    return table[indices]


def _curves(histories: list[Path]) -> Figure:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    colours: dict[str, Any] = {}
    for path in histories:
        name, table = path.parents[1].name, pd.read_csv(path)
        for axis, column in zip(axes, ("cross_entropy", "ssim_loss"), strict=True):
            if column in table:
                label = None if name in colours else name
                line = axis.plot(table["step"], table[column], label=label, color=colours.get(name))
                colours[name] = line[0].get_color()
            axis.set(xlabel="step", title=column.replace("_", " "))
            axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _bars(tables: list[Path]) -> Figure:
    path = next(t for t in tables if t.stem == "overall")
    overall = pd.read_csv(path, dtype={"experiment": str}, keep_default_na=False, na_values=[""])
    figure = Figure(figsize=(9, 0.5 * len(overall) + 1.2), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, score in zip(axes, ("miou", "kappa", "oa"), strict=True):
        spread = overall[f"{score}_sd"].fillna(0)
        axis.barh(overall["experiment"], overall[score], xerr=spread, color="#4c78a8")
        axis.set(title={"miou": "mIoU", "oa": "OA"}.get(score, score), xlim=(0, 1))
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    return figure


def _page(pictures: list[Path], tables: list[Path], layout: Path) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(layout.read_text())
    note = next(t for t in tables if t.stem == "overall").with_suffix(".md").read_text()
    return template.render(
        note=note.rpartition("\n\n")[2].strip(),
        figures=[
            {"name": p.stem.replace("_", " "), "data": base64.b64encode(p.read_bytes()).decode()}
            for p in pictures
        ],
        tables=[
            {"name": t.stem, "html": Markup(t.with_suffix(".html").read_text())} for t in tables
        ],
    )


if __name__ == "__main__":
    cli.main(run)
