"""Add counts over scenes and seeds, and print the tables: CSV, Markdown, LaTeX and HTML."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline_steps.presentation.ablation import ABLATION_NOTE, ablation_table
from pipeline_steps.presentation.confusion import CONFUSION_NOTE, confusion_table
from pipeline_steps.presentation.corruptions import write_corruptions
from pipeline_steps.presentation.cost import COST_NOTE, cost_table
from pipeline_steps.presentation.counts import lines_of, read_counts
from pipeline_steps.presentation.depth_tables import (
    CLASSES_NOTE,
    DEPTH_NOTE,
    HIDDEN_OF_DEPTH,
    PREDICTED_NOTE,
    depth_class_table,
    depth_table,
    predicted_table,
)
from pipeline_steps.presentation.differences import (
    CALIBRATION_NOTE,
    calibration_tables,
    difference_note,
    difference_table,
    names_of,
)
from pipeline_steps.presentation.scores import (
    HIDDEN,
    POLICY,
    Counted,
    class_table,
    majority,
    overall_table,
    pair_table,
    scene_table,
    strata_table,
)
from pipeline_steps.presentation.tables import Writer
from pipeline_steps.presentation.transfer import (
    TRANSFER_NOTE,
    crosswalk_note,
    hidden_of_transfer,
    rivals,
    transfer_table,
)
from pipeline_steps.study import cli
from pipeline_steps.study.cells import Cell
from pipeline_steps.study.manifest import digest_of, lineage_of, read_manifest, write_manifest
from pipeline_steps.study.params.tabulate import Params, Reported
from pipeline_steps.study.runs import Run
from pipeline_steps.study.transfer import Transfer

log = logging.getLogger(__name__)

RANKED_BY_CLASS = ("iou", "f1", "boundary_iou")
"""A map may have all precision or all recall that it likes, so neither is ranked."""

RANKED = ("miou", "kappa", "oa", "boundary_iou", "block_miou")


def run(
    counts: Path,
    corruptions: Path,
    qualities: Path,
    splits: list[Path],
    models: list[Path],
    benchmarks: Path,
    findings: Path,
    folder: Path,
    cells: list[Cell],
    transfer: Transfer,
    params: Params,
) -> None:
    """Write every table into ``folder``, in four forms each.

    Where there are ``cells``, the experiments of grids, ``ablation`` too, where ``transfer`` has
    domains or any ``corruptions`` tables of that name, and ``pairs`` where some are asked for.
    ``counts``, ``corruptions`` and ``qualities`` are what ``gather`` made, with experiments in the
    order that they shall have, ``splits`` manifests of divided scenes, ``models`` those of
    trainings, ``findings`` what ``check`` wrote; ``benchmarks`` is the folder of jobs' run times.
    """
    # not of what `check` found, which names files where they lie
    read = (counts, corruptions, qualities, *splits, *models)
    study = lineage_of({path: digest_of(path) for path in read})
    found = read_counts(counts, params.resample)
    overall = overall_table(found)
    write = Writer(folder, params.digits, study)
    _write_scores(write, found, overall, _notes(found, findings, splits), params)
    differences = difference_table(found, params.baseline or names_of(found)[0], params.resample)
    write("differences", differences, difference_note(found, params.resample))
    calibration, reliability = calibration_tables(found)
    write("calibration", calibration, CALIBRATION_NOTE)
    write("reliability", reliability, CALIBRATION_NOTE)
    write("cost", cost_table(_trained(models), _runs(found), benchmarks), COST_NOTE)
    depth = list(lines_of(qualities))
    write("depth", depth_table(depth), DEPTH_NOTE, HIDDEN_OF_DEPTH)
    write("depth_classes", depth_class_table(depth, found[0]["classes"]), CLASSES_NOTE)
    if any(one["depth"] for one in found):
        write("depth_predicted", predicted_table(found), PREDICTED_NOTE)
    if cells:
        write("ablation", ablation_table(overall, cells, found, params.resample), ABLATION_NOTE)
    write_corruptions(write, list(lines_of(corruptions)), found)
    if transfer.targets:
        table = transfer_table(found, transfer, params.crosswalk)
        note = TRANSFER_NOTE + crosswalk_note(params.crosswalk)
        write("transfer", table, note, hidden_of_transfer(table), rivals(table, transfer))
    told = {"params": params, "made_from": (*read, findings), "made": write.made, "study": study}
    write_manifest(folder / "manifest.json", "pipeline_steps.tabulate", **told)
    log.info("tables: %s", folder)


def _write_scores(
    write: Writer, found: Counted, overall: pd.DataFrame, notes: Sequence[str], params: Params
) -> None:
    """Write the tables of counts, the note of each behind its own."""
    note = " ".join(notes)
    write("overall", _with_reported(overall, params.reported), note, HIDDEN, RANKED)
    write("classes", class_table(found), note, HIDDEN, RANKED_BY_CLASS, "class")
    write("scenes", scene_table(found), note, HIDDEN, RANKED, "scene")
    write("strata", strata_table(found), note, HIDDEN, RANKED, "stratum")
    write("confusion", confusion_table(found), CONFUSION_NOTE)
    if params.pairs:
        write("pairs", pair_table(found, params.pairs), note)


def _notes(found: Counted, findings: Path, splits: Sequence[Path]) -> list[str]:
    leaks = _leaks(read_manifest(findings)["leaks"], [read_manifest(path) for path in splits])
    return [POLICY, majority(found), *([leaks] if leaks else [])]


def _with_reported(table: pd.DataFrame, reported: Sequence[Reported]) -> pd.DataFrame:
    """Add rows that others have printed, told apart by a column ``source``."""
    if not reported:
        return table
    rows = [
        {"experiment": one.name, "source": "as reported"}
        | {
            key: value
            for key, value in one.model_dump(exclude={"name"}).items()
            if value is not None
        }
        for one in reported
    ]
    joined = pd.concat([table.assign(source="measured"), pd.DataFrame(rows)], ignore_index=True)
    joined["seeds"] = joined["seeds"].astype("Int64")
    return joined[["experiment", "source", *joined.columns.drop(["experiment", "source"])]]


def _trained(models: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Return the manifests of trainings by experiment: the name of their folder's folder."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in models:
        found.setdefault(path.parents[1].name, []).append(read_manifest(path))
    return found


def _runs(found: Counted) -> dict[str, dict[str, list[str]]]:
    """Return the scenes that each run of each experiment is tested on."""
    runs: dict[str, dict[str, list[str]]] = {}
    for one in found:
        name = Run(one["seed"], one["fold"]).name
        runs.setdefault(one["experiment"], {}).setdefault(name, []).append(one["scene"])
    return runs


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
