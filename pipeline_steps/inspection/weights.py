"""The networks that a study names: whether they are here, and what their makers allow."""

from pathlib import Path
from typing import Any

from pipeline_steps.inspection.findings import Findings
from pipeline_steps.study.params.fetch import Params as Models

KNOWN = {
    "depth-anything/Depth-Anything-V2-Small": "Apache-2.0",
    "depth-anything/Depth-Anything-V2-Base": "CC-BY-NC-4.0",
    "depth-anything/Depth-Anything-V2-Large": "CC-BY-NC-4.0",
    "LiheYoung/depth-anything-small": "Apache-2.0",
    "LiheYoung/depth-anything-base": "Apache-2.0",
    "LiheYoung/depth-anything-large": "Apache-2.0",
    "facebook/dinov2": "Apache-2.0",
    "timm/vit_small_patch14_dinov2": "Apache-2.0",
    "timm/vit_small_patch14_reg4_dinov2": "Apache-2.0",
    "timm/vit_base_patch14_dinov2": "Apache-2.0",
    "timm/vit_base_patch14_reg4_dinov2": "Apache-2.0",
    "timm/vit_large_patch14_dinov2": "Apache-2.0",
    "timm/vit_large_patch14_reg4_dinov2": "Apache-2.0",
    "timm/vit_giant_patch14_dinov2": "Apache-2.0",
    "timm/vit_giant_patch14_reg4_dinov2": "Apache-2.0",
}
"""Beginning of a hub id → SPDX name of its licence; the longest beginning counts."""


def licence_of(source: str | None, stated: str | None) -> str:
    """Return the licence of a model: what the study states, or what is known of its source."""
    if stated is not None:
        return stated
    if source is None:
        return "none needed: drawn at random"
    found = [start for start in KNOWN if source.startswith(start)]
    return KNOWN[max(found, key=len)] if found else "unknown"


def is_restricted(licence: str) -> bool:
    """Return whether a licence forbids commercial use."""
    return "-NC" in licence.upper() or "NONCOMMERCIAL" in licence.upper().replace("-", "")


def look_at_models(models: Models, found: Findings) -> list[dict[str, Any]]:
    """Look whether every model has its files, and what its makers allow."""
    rows = []
    for name, model in models.models.items():
        where, licence = f"fetch.models.{name}", licence_of(model.source, model.license)
        folder = Path(model.source) if model.source else None
        is_there = folder is None or folder.is_dir()
        for file in ("config.json", "model.safetensors") if folder and is_there else ():
            if not (folder / file).is_file():
                found.add("error", folder, f"has no {file}, expected one for {where}")
        if folder and is_there and not model.sha256:
            found.add("note", where, "no sha256 stated, nothing is compared")
        fetched = Path("results/fetch") / name / "manifest.json"
        if not is_there and not fetched.is_file():
            what = f"{model.source} is not fetched yet"
            found.add("warning", where, what, f"where there is internet: snakemake {fetched}")
        if is_restricted(licence):
            found.add("warning", where, f"{licence}: not for commercial use")
        if licence == "unknown":
            found.add("note", where, "licence unknown", f"state it as {where}.license")
        source = model.source or "drawn at random"
        is_here = is_there or fetched.is_file()
        state = "" if model.source is None else "here" if is_here else "to fetch"
        rows.append({"model": name, "source": source, "licence": licence, "state": state})
    return rows
