"""The report as one page that opens from a file: scripts, styles and pictures are all within it."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from pipeline_steps.presentation.tables import html_of, note_of

SCRIPTS = ("leaflet/leaflet.js", "tables.js", "viewer.js")
STYLES = ("leaflet/leaflet.css", "page.css")

DRAWN = ("confusion", "reliability")
"""Tables that are long, and that a figure shows better: the page has the figure alone."""

MOST = 24
"""Figures of one kind that the page shows; the folder of figures has all."""


def page_of(
    template: Path,
    figures: Sequence[Path],
    tables: Sequence[Path],
    viewer: Mapping[str, Any],
    origins: Mapping[str, pd.DataFrame],
) -> str:
    """Return the page in HTML; ``template`` is Jinja's, with scripts and styles beside it.

    Captions of figures and tables lie in the folder above, where Snakemake's own report finds them.
    ``figures`` are PNG files, ``tables`` CSV files with their like in HTML and Markdown beside
    them. The page forbids browsers every request and every script but its own.
    """
    captions = template.parents[1]
    shown = _figures(figures, captions / "figures.rst")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    scripts = [(template.parent / name).read_text(encoding="utf-8") for name in SCRIPTS]
    styles = [(template.parent / name).read_text(encoding="utf-8") for name in STYLES]
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        allowed=[_hash(script) for script in scripts],
        scripts=[Markup(script) for script in scripts],
        styles=[Markup(style) for style in styles],
        figures=shown,
        hidden=max(0, len(figures) - sum(map(len, shown.values()))),
        tables=_tables([table for table in tables if table.stem not in DRAWN], captions / "tables"),
        viewer=viewer,
        origins={name: Markup(one.to_html(index=False, border=0)) for name, one in origins.items()},
    )


def _hash(script: str) -> str:
    """Return what a content security policy calls a script by."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def caption_of(figure: str, captions: Path) -> str:
    """Return what a figure shows; ``captions`` is the template that Snakemake fills in for each."""
    template = jinja2.Template(captions.read_text(encoding="utf-8"))
    asked = SimpleNamespace(wildcards=SimpleNamespace(figure=figure))
    return " ".join(template.render(snakemake=asked).split())


def _figures(files: Sequence[Path], captions: Path) -> dict[str, list[dict[str, str]]]:
    """Return figures by their kind, the first word of their name."""
    found: dict[str, list[dict[str, str]]] = {}
    for file in files:
        some = found.setdefault(file.stem.partition("_")[0], [])
        if len(some) < MOST:
            facts = {
                "name": file.stem.replace("_", " "),
                "caption": caption_of(file.stem, captions),
            }
            some.append(facts | {"data": base64.b64encode(file.read_bytes()).decode()})
    return found


def _tables(files: Sequence[Path], captions: Path) -> dict[str, dict[str, Any]]:
    """Return tables by their name; a note that is said already is not said again."""
    found, said = {}, set()
    for file in files:
        note = note_of(file)
        found[file.stem] = {
            "html": Markup(html_of(file)),
            "caption": " ".join((captions / f"{file.stem}.rst").read_text("utf-8").split()),
            "note": "" if note in said else note,
        }
        said.add(note)
    return found
