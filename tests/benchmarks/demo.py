"""Time the demo study: ``python -m tests.benchmarks.demo [--quick]``.

Runs it from nothing in a folder of its own. ``seconds`` are the jobs' own, added up by stage;
``total_s`` is the whole command, in which jobs overlap and Snakemake itself takes its share.
``--quick`` runs the tiny study of the tests instead.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd

from tests.benchmarks.machine import machine
from tests.data.studies import ROOT, TINY_ROWS, command, tiny_study, write_study

STAGES = (
    *("synthesize", "check", "fetch", "tile", "split", "stretch", "adapt", "depth"),
    *("train", "predict", "score", "tabulate", "report"),
)


def main(quick: bool) -> None:
    """Run the study, print a table, and the figures as one JSON object."""
    with tempfile.TemporaryDirectory() as work:
        study = ROOT / "config" / "config.yaml"
        if quick:
            study = write_study(Path(work), tiny_study(), TINY_ROWS)
        start = time.perf_counter()
        # the interpreter's environment, so that a GPU is used where there is one
        subprocess.run([*command(ROOT, study), "--directory", work], check=True)
        total = time.perf_counter() - start
        jobs = _jobs(Path(work))
        depth = pd.read_csv(Path(work) / "results" / "tabulate" / "depth.csv")
        scores = pd.read_csv(Path(work) / "results" / "tabulate" / "overall.csv")
    by_stage = jobs.groupby("stage")["s"].agg(["count", "sum", "max"]).reindex(STAGES)
    by_stage["max_rss"] = jobs.groupby("stage")["max_rss"].max()
    by_stage.columns = ["jobs", "seconds", "longest job, s", "peak memory, MB"]
    print(by_stage.round(1).to_markdown())
    print(f"\n{scores.round(3).to_markdown(index=False)}\n\ntotal: {total:.0f} s")
    adapted = depth[depth["teacher"] != "elevation"]
    found = {
        "benchmark": "demo",
        "quick": quick,
        "seconds": by_stage["seconds"].round(2).to_dict(),
        "total_s": round(total, 1),
        "peak_mb": float(jobs["max_rss"].max()),
        "auc_tall_least": round(float(adapted["auc_tall"].min()), 4),
        "miou": scores.set_index("experiment")["miou"].round(4).to_dict(),
    }
    print(json.dumps(found | machine()))


def _jobs(work: Path) -> pd.DataFrame:
    """Return Snakemake's own measurements, a row a job."""
    parts = []
    for path in sorted((work / "benchmarks").rglob("*.tsv")):
        relative = path.relative_to(work / "benchmarks")
        stage = relative.parts[0].removesuffix(".tsv")
        parts.append(pd.read_csv(path, sep="\t", na_values="-").assign(stage=stage))
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a study of a minute")
    main(parser.parse_args().quick)
