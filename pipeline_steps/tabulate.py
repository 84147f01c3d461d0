"""Add counts over scenes and seeds, and print the tables: CSV, Markdown, LaTeX and HTML."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_steps.metrics.confusion import Scores, scores
from pipeline_steps.presentation.ablation import ABLATION_NOTE, ablation_table
from pipeline_steps.presentation.depth_tables import (
    CLASSES_NOTE,
    DEPTH_NOTE,
    HIDDEN,
    class_table,
    depth_table,
)
from pipeline_steps.presentation.tables import write_table
from pipeline_steps.study import cli
from pipeline_steps.study.cells import Cell
from pipeline_steps.study.manifest import read_manifest
from pipeline_steps.study.params.tabulate import Params

log = logging.getLogger(__name__)

OVERALL = ("miou", "kappa", "oa")
PER_CLASS = ("iou", "f1", "precision", "recall")
POLICY = (
    "Counts are summed over all test scenes before any score is taken; ± is the standard deviation"
    " over seeds. Ignored pixels count nowhere. A class that is neither in the labels nor in the"
    " map is left out of the mean; one that is only in the map counts 0. A score that one of the"
    " seeds does not have, such as the precision of a class that it never predicts, is left empty."
)


def run(
    counts: list[Path],
    qualities: list[Path],
    splits: list[Path],
    findings: Path,
    folder: Path,
    cells: list[Cell],
    params: Params,
) -> None:
    """Write ``overall``, ``classes``, ``scenes``, ``strata``, ``depth`` and ``depth_classes``.

    Where there are ``cells``, the experiments of grids, ``ablation`` too. ``counts`` are the files
    of ``score``, in the order the experiments shall have; ``qualities`` those of ``depth``,
    ``splits`` manifests of divided scenes, ``findings`` what ``check`` wrote.
    """
    found = [json.loads(path.read_text()) for path in counts]
    tables = {
        "overall": _overall(_pooled(found, "all")),
        "classes": _classes(_pooled(found, "all")),
        "scenes": _scenes(found),
        "strata": _strata(found),
    }
    leaks = _leaks(read_manifest(findings)["leaks"], [read_manifest(path) for path in splits])
    note = f"{POLICY} {_majority(found)} {leaks}"
    for name, table in tables.items():
        write_table(folder / name, table, note, params.digits)
    depth, names = [json.loads(path.read_text()) for path in qualities], found[0]["classes"]
    write_table(folder / "depth", depth_table(depth), DEPTH_NOTE, params.digits, HIDDEN)
    by_class = class_table(depth, names)
    write_table(folder / "depth_classes", by_class, CLASSES_NOTE, params.digits)
    if cells:
        table = ablation_table(tables["overall"], cells)
        write_table(folder / "ablation", table, ABLATION_NOTE, params.digits)
    log.info("tables: %s", folder)


def _pooled(
    found: list[dict[str, Any]], stratum: str, scene: str | None = None
) -> dict[str, list[tuple[list[str], np.ndarray]]]:
    """Return for each experiment one summed matrix per seed, beside the class names."""
    sums: dict[str, dict[int, np.ndarray]] = {}
    for one in found:
        if scene not in (None, one["scene"]) or stratum not in one["strata"]:
            continue
        seeds = sums.setdefault(one["experiment"], {})
        matrix = np.array(one["strata"][stratum], np.int64)
        seeds[one["seed"]] = seeds.get(one["seed"], 0) + matrix
    names = found[0]["classes"]
    return {e: [(names, matrix) for matrix in seeds.values()] for e, seeds in sums.items()}


def _overall(pooled: dict[str, list[tuple[list[str], np.ndarray]]]) -> pd.DataFrame:
    rows = []
    for experiment, matrices in pooled.items():
        each = [scores(matrix) for _, matrix in matrices]
        row = {"experiment": experiment, "seeds": len(each)}
        for name in OVERALL:
            row |= _mean_and_sd(name, [getattr(one, name) for one in each])
        rows.append(row)
    return pd.DataFrame(rows)


def _classes(pooled: dict[str, list[tuple[list[str], np.ndarray]]]) -> pd.DataFrame:
    rows = []
    for experiment, matrices in pooled.items():
        each: list[Scores] = [scores(matrix) for _, matrix in matrices]
        for k, name in enumerate(matrices[0][0]):
            row = {"experiment": experiment, "class": name}
            for score in PER_CLASS:
                row |= _mean_and_sd(score, [getattr(one, score)[k] for one in each])
            rows.append(row | {"support": int(each[0].support[k])})
    return pd.DataFrame(rows)


def _scenes(found: list[dict[str, Any]]) -> pd.DataFrame:
    names = dict.fromkeys(one["scene"] for one in found)
    parts = [_overall(_pooled(found, "all", name)).assign(scene=name) for name in names]
    table = pd.concat(parts, ignore_index=True)
    return table[["scene", *table.columns.drop("scene")]]


def _strata(found: list[dict[str, Any]]) -> pd.DataFrame:
    parts = []
    for stratum in found[0]["strata"]:
        part = _overall(_pooled(found, stratum)).assign(stratum=stratum)
        part["pixels"] = int(sum(m.sum() for _, m in next(iter(_pooled(found, stratum).values()))))
        part["pixels"] //= part["seeds"].iloc[0]
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    return table[["stratum", *table.columns.drop("stratum")]]


def _mean_and_sd(name: str, values: list[float]) -> dict[str, float]:
    """Return the mean, and the standard deviation of a sample, which one seed does not have."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return {name: float(np.mean(values)), f"{name}_sd": sd}


def _majority(found: list[dict[str, Any]]) -> str:
    """Say what the labels' most frequent class would score, predicted everywhere."""
    _, matrix = next(iter(_pooled(found, "all").values()))[0]
    support = matrix.sum(axis=1)
    constant = np.zeros_like(matrix)
    constant[:, support.argmax()] = support
    one = scores(constant)
    name = found[0]["classes"][int(support.argmax())]
    return f"Predicting {name!r} everywhere: mIoU {one.miou:.3f}, OA {one.oa:.3f}."


def _leaks(measured: list[dict[str, Any]], divided: list[dict[str, Any]]) -> str:
    """Say how far apart is what is learned from and what is tested."""
    said = []
    for one in measured:
        parts = []
        if one["shared_m2"] is not None:
            parts.append(f"{one['shared_m2']:.6g} m² shared, nearest {one['nearest_m']:.4g} m")
        if one["continuing"] is not None:
            pairs = one["continuing"] + one["same"]
            parts.append(f"{pairs} pairs of images without georeference continue one another")
        said.append(f"{one['between']}: {', '.join(parts) or 'not comparable'}")
    for one in divided:
        apart = one["nearest_m"]
        unit = "an unknown distance" if apart is None else f"{apart:.4g} m"
        said.append(f"{one['scene']}: blocks of training and test at least {unit} apart")
    return f"Leak: {'; '.join(said)}." if said else ""


if __name__ == "__main__":
    cli.main(run)
