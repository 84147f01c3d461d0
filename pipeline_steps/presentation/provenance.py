"""What the results were made of, told from the manifests of what they were made of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline_steps.rasters.store import Scene
from pipeline_steps.study.manifest import read_manifest

SHOWN = 12
"""Letters of a digest that people see."""


def origins(
    scenes: Sequence[Scene],
    models: Sequence[Path],
    weights: Sequence[Path],
    tables: Sequence[Path],
) -> dict[str, pd.DataFrame]:
    """Return tables of words: trainings, pretrained weights, test scenes and library versions.

    ``models`` are the manifests of trainings, ``<experiment>/<run>/manifest.json``, ``weights``
    those that ``fetch`` wrote; beside ``tables`` lies what knows the study's digest.
    """
    trained = [(path, read_manifest(path)) for path in models]
    fetched = [read_manifest(path) for path in weights]
    manifests = [scene.facts for scene in scenes] + [one for _, one in trained] + fetched
    study = read_manifest(tables[0].with_name("manifest.json"))["study"]
    found = {
        "Trainings": [_training(path, one) for path, one in trained],
        "Weights": [_weights(one) for one in fetched],
        "Test scenes": [_scene(scene) for scene in scenes],
        "Versions": _versions(manifests),
        "Study": [{"digest": study}],
    }
    return {name: pd.DataFrame(rows) for name, rows in found.items() if rows}


def _training(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    params = facts["params"]
    network = params["network"]
    encoder = network.get("encoder")
    return {
        "experiment": path.parents[1].name,
        "run": path.parents[0].name,
        "network": network["model"],
        "encoder": encoder["name"] if isinstance(encoder, dict) else encoder,
        "teacher": (params["teacher"] if network.get("prompter") else None) or "–",
        "steps": params["steps"],
        "batch": params["batch"],
        "crop": params["crop"],
        "code": facts["code"][:SHOWN],
        "weights": facts["made"]["model.safetensors"][:SHOWN],
    }


def _weights(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": facts["model"],
        "source": facts["source"] or "–",
        "revision": facts["revision"] or "–",
        "licence": facts["license"] or "not stated",
    }


def _scene(scene: Scene) -> dict[str, Any]:
    grid, facts = scene.grid(0), scene.facts
    size = f"{grid.width}×{grid.height}"
    return {
        "scene": scene.name,
        "images": len(scene.rasters),
        "size": size if len(scene.rasters) == 1 else f"{size}, the first",
        "bands": len(facts["bands"]),
        "dtype": facts["dtype"],
        "labelled pixels": sum(facts["label_counts"]),
        "image": facts["made"]["image.zarr"][:SHOWN],
        "labels": facts["made"]["labels.zarr"][:SHOWN],
    }


def _versions(manifests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, set[str]] = {}
    for facts in manifests:
        for library, version in facts.get("versions", {}).items():
            found.setdefault(library, set()).add(version)
    return [{"library": name, "version": ", ".join(sorted(found[name]))} for name in sorted(found)]
