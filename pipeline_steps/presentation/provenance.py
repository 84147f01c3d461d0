"""What the results were made of, told from the manifests of what they were made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline_steps.rasters.store import Scene
from pipeline_steps.study.about import About
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.manifest import read_manifest

SHOWN = 12
"""Letters of a digest that people see."""


def origins(
    about: About,
    looks: Sequence[ClassLook],
    scenes: Sequence[Scene],
    depths: Sequence[Path],
    models: Sequence[Path],
    weights: Sequence[Path],
    tables: Sequence[Path],
) -> dict[str, pd.DataFrame]:
    """Return tables of words: the study, its classes, teachers, trainings, scenes and versions.

    ``depths`` are manifests of pseudo-depth, ``<teacher>/<scene>/manifest.json``, ``models`` those
    of trainings, ``<experiment>/<run>/manifest.json``, ``weights`` those that ``fetch`` wrote;
    beside ``tables`` lies what knows the study's digest.
    """
    trained = [(path, read_manifest(path)) for path in models]
    fetched = [read_manifest(path) for path in weights]
    # of a teacher its first field tells as much as all of them
    fields = {path.parents[1].name: path for path in reversed(depths)}
    seen = [read_manifest(path) for path in fields.values()]
    manifests = [*(scene.facts for scene in scenes), *(one for _, one in trained), *fetched, *seen]
    digest = read_manifest(tables[0].with_name("manifest.json"))["study"]
    found = {
        "Study": [{"files": " + ".join(about.files) or "–", "digest": digest}],
        "Classes": _classes(looks, scenes),
        "Trainings": [_training(path, one) for path, one in trained],
        "Training scenes": _training_scenes(about, [one for _, one in trained]),
        "Test scenes": [_scene(scene) for scene in scenes],
        "Teachers": [_teacher(*one) for one in zip(fields, seen, strict=True)][::-1],
        "Weights": [_weights(one) for one in fetched],
        "Versions": _versions(manifests),
    }
    return {name: pd.DataFrame(rows) for name, rows in found.items() if rows}


def _classes(looks: Sequence[ClassLook], scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    tested = [sum(counts) for counts in zip(*map(_tested, scenes), strict=True)]
    return [
        {"index": index, "class": look.name, "color": look.color, "tested pixels": pixels}
        for index, (look, pixels) in enumerate(zip(looks, tested, strict=True))
    ]


def _tested(scene: Scene) -> list[int]:
    """Return the labelled pixels of every class that some run is tested on."""
    folds = (scene.divided or {}).get("folds")
    counts = [scene.label_counts("test", k) for k in ([None] if folds is None else range(folds))]
    return [sum(some) for some in zip(*counts, strict=True)]


def _training_scenes(about: About, trained: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the scenes that trainings see, with the digests of their tiles."""
    tiles: dict[str, str] = {}
    for facts in trained:
        for way, digest in facts["made_from"].items():
            *_, stage, scene, name = ("", "", *way.split("/"))
            if (stage, name) == ("tile", "manifest.json"):
                tiles[scene] = digest[:SHOWN]
    parts = {"learned from": about.learned, "watched": about.watched}
    return [
        {"scene": scene, "use": use, "tile": tiles.get(scene, "–")}
        for use, scenes in parts.items()
        for scene in scenes
    ]


def _teacher(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a teacher was asked; what it is of lies in a folder of ``fetch`` or ``adapt``."""
    params, made = facts["params"], [way.split("/") for way in facts["made_from"]]
    network = [f"{way[-3]} {way[-2]}" for way in made if way[-3:-2] in (["fetch"], ["adapt"])]
    return {
        "teacher": name,
        "network": ", ".join(network) or "none: the scene's elevation",
        "window": params["window"] if network else "–",
        "overlap": params["overlap"] if network else "–",
        "gsd": params["gsd"] or "–",
        "ground": params["ground"],
        "arithmetic": facts["arithmetic"] or "–",
        "code": facts["code"][:SHOWN],
    }


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
        "tested pixels": sum(_tested(scene)),
        "image": facts["made"]["image.zarr"][:SHOWN],
        "labels": facts["made"]["labels.zarr"][:SHOWN],
    }


def _versions(manifests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, set[str]] = {}
    for facts in manifests:
        for library, version in facts.get("versions", {}).items():
            found.setdefault(library, set()).add(version)
    return [{"library": name, "version": ", ".join(sorted(found[name]))} for name in sorted(found)]
