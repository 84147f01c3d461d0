"""The networks that a study names: whether they are here, and what their makers allow."""

import os
from pathlib import Path
from typing import Any

from pipeline_steps.inspection.findings import Findings
from pipeline_steps.study.layout import CONFIG, WEIGHTS, is_id, parts_of
from pipeline_steps.study.licences import UNKNOWN, is_restricted, licence_of
from pipeline_steps.study.manifest import read_manifest
from pipeline_steps.study.params.fetch import Model
from pipeline_steps.study.params.fetch import Params as Models


def look_at_models(models: Models, found: Findings) -> list[dict[str, Any]]:
    """Look whether every model has its files, and what its makers allow."""
    rows = []
    for name, model in models.models.items():
        where = f"fetch.models.{name}"
        fetched = Path("results/fetch") / name / "manifest.json"
        state = _state(model, where, fetched, found)
        licence = _licence(model, fetched)
        if is_restricted(licence):
            found.add("warning", where, f"{licence}: not for commercial use")
        if licence == UNKNOWN:
            found.add("note", where, "licence unknown", f"state it as {where}.license")
        source = model.source or "drawn at random"
        rows.append({"model": name, "source": source, "licence": licence, "state": state})
    return rows


def _state(model: Model, where: str, fetched: Path, found: Findings) -> str:
    """Return whether the weights are here or to fetch, and find what is wrong with them."""
    if model.source is None:
        return ""
    if os.path.exists(model.source):
        _look_at_files(model, where, found)
        return "here"
    if not is_id(model.source):
        what = f"is neither here nor an id on the hub, expected one for {where}"
        found.add("error", model.source, what)
        return "missing"
    if fetched.is_file():
        return "here"
    what = f"{model.source} is not fetched yet"
    found.add("warning", where, what, f"where there is internet: snakemake --cores 1 {fetched}")
    return "to fetch"


def _look_at_files(model: Model, where: str, found: Findings) -> None:
    source = Path(model.source)
    if source.is_dir():
        names = os.listdir(source)
        if model.file is None and CONFIG not in names:
            found.add("error", source, f"has no {CONFIG}, expected one for {where}")
        if not parts_of(names, model.file):
            found.add("error", source, f"has no {model.file or WEIGHTS}, expected one for {where}")
    if not model.sha256:
        found.add("note", where, "no sha256 stated, nothing is compared")


def _licence(model: Model, fetched: Path) -> str:
    """Return the licence; where the study and we know none, what `fetch` read on the card."""
    card = read_manifest(fetched).get("license") if fetched.is_file() else None
    return licence_of(model.source, model.license, card, model.file)
