"""What each experiment costs: time, memory and parameters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_steps.presentation.scores import mean_and_sd

COST_NOTE = (
    "Wall time and peak memory as Snakemake measured them, on this machine with whatever else it"
    " did; map_s is all test scenes of a run together. gpu_gb is the peak that training allocated."
    " Parameters in millions, trained those that learn."
)


def cost_table(
    trained: Mapping[str, Sequence[Mapping[str, Any]]],
    runs: Mapping[str, Mapping[str, Sequence[str]]],
    measured: Path,
) -> pd.DataFrame:
    """Return a row for each experiment, mean and deviation over its runs.

    ``trained`` are manifests of its trainings, ``runs`` the names of its runs, each with the scenes
    that it is tested on; ``measured`` is the folder in which ``train`` and ``predict`` have a TSV
    file for each job. NaN for what is not there: an ensemble trains nothing.
    """
    rows = []
    for experiment, names in runs.items():
        manifests = trained.get(experiment, [])
        sizes = [_millions(one["parameters"]) for one in manifests]
        jobs = [_job(measured / "train" / experiment / f"{name}.tsv") for name in names]
        maps = [
            _jobs(measured / "predict" / experiment / name, scenes)
            for name, scenes in names.items()
        ]
        row = {"experiment": experiment, "runs": len(names)}
        row |= {"parameters_m": _first(sizes, 0), "trained_m": _first(sizes, 1)}
        row |= mean_and_sd("train_s", [one["s"] for one in jobs if one])
        row["train_gb"] = max((one["gb"] for one in jobs if one), default=np.nan)
        row["gpu_gb"] = max(
            (one["gpu_gb"] for one in manifests if one.get("gpu_gb")), default=np.nan
        )
        row |= mean_and_sd("map_s", [one["s"] for one in maps if one])
        row["map_gb"] = max((one["gb"] for one in maps if one), default=np.nan)
        rows.append(row)
    return pd.DataFrame(rows)


def _millions(parameters: Mapping[str, Sequence[int]]) -> tuple[float, float]:
    counts = np.array(list(parameters.values()), np.int64).reshape(-1, 2).sum(axis=0)
    return float(counts[0] / 1e6), float(counts[1] / 1e6)


def _first(sizes: Sequence[tuple[float, float]], place: int) -> float:
    return sizes[0][place] if sizes else float("nan")


def _job(file: Path) -> dict[str, float] | None:
    """Return seconds and peak memory of a job, the mean and the largest of its repeats."""
    if not file.is_file():
        return None
    table = pd.read_csv(file, sep="\t", na_values=["-"])
    return {"s": float(table["s"].mean()), "gb": float(table["max_rss"].max() / 1e3)}


def _jobs(folder: Path, scenes: Sequence[str]) -> dict[str, float] | None:
    """Return the seconds of these scenes' maps together, if all are known, and the most memory."""
    found = [_job(folder / f"{scene}.tsv") for scene in scenes]
    if None in found:
        return None
    return {"s": sum(one["s"] for one in found), "gb": max(one["gb"] for one in found)}
