"""Time what Snakemake does with no work to do: ``python -m tests.benchmarks.dag``.

Finished studies of 10, 100 and 1000 scenes, half of them to learn from and half to be tested on, by
8 experiments of 3 seeds: 1000 scenes are 27 532 jobs. Metadata only: inputs and outputs are files
of a byte or none, with the times and the records that Snakemake itself writes when a job ends; that
it then finds nothing to be done says that they are right. Each call is a process of its own:

- ``empty``: ``-n`` of a Snakefile of one rule that has nothing to do;
- ``demo``: a no-op run of the demo study, its jobs recorded as finished;
- ``dry`` and ``noop``: ``-n`` and a run, both of a finished study, at each size;
- ``fresh``: ``-n --quiet`` of a study of which nothing is there, at each size, once.

``noop_to_empty`` is (wall seconds of ``demo``) / (those of ``empty``), a ratio within a repeat, of
which the median is reported. ``noop_1000_s`` and ``noop_1000_gb`` are the most wall seconds and
memory, in 10⁹ bytes, of a run at the largest size (its name is in the key: ``--scenes``).
``growth`` says how processor seconds of that run grow with the jobs: those beyond ``empty`` for
each job, at the largest size over the one before; 1 is linear. ``slope`` asks for more: what a job
more takes between the two largest sizes, over the two before. ``growth_gb`` and ``slope_gb`` are of
memory. ``runs`` has everything.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.machine import machine
from tests.data.studies import ROOT, environment, row, write_study

EXPERIMENTS, SEEDS = 8, 3
Took = dict[str, float]

EMPTY = "rule all:\n    input: 'there'\n"


def main(sizes: list[int], repeats: int, work: Path | None) -> None:
    """Run all calls, and print the figures as one JSON object."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        empty, demo = _empty(folder / "empty"), ["--directory", str(folder / "demo"), *_demo()]
        (folder / "demo").mkdir()
        _finish(demo)
        runs: dict[str, list[Took]] = {"empty": [], "demo": []}
        for _ in range(repeats):
            runs["empty"].append(_call([*empty, "-n"]))
            runs["demo"].append(_call(demo))
        jobs = {size: _measure(folder, size, repeats, runs) for size in sizes}
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(runs["empty"], runs["demo"], strict=True)]
    largest = runs[f"noop {max(sizes)}"]
    found: dict[str, Any] = {
        "benchmark": "dag",
        "noop_to_empty": round(statistics.median(ratios), 3),
        f"noop_{max(sizes)}_s": max(run["seconds"] for run in largest),
        f"noop_{max(sizes)}_gb": max(run["peak_rss_gb"] for run in largest),
        **_growth(runs, jobs, "cpu_s", ""),
        **_growth(runs, jobs, "peak_rss_gb", "_gb"),
        "jobs": jobs,
        "runs": runs,
    }
    print(json.dumps(found | machine()))


def _measure(folder: Path, size: int, repeats: int, runs: dict[str, list[Took]]) -> int:
    """Add the runs of a study of so many scenes; returns its jobs."""
    study = _study(folder / str(size), size)
    call = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(study)]
    call += ["--directory", str(study.parent)]
    runs[f"fresh {size}"] = [_call([*call, "-n", "--quiet"], is_done=False)]
    jobs = _finish(call)
    for _ in range(repeats):
        for way, more in (("dry", ["-n"]), ("noop", [])):
            runs.setdefault(f"{way} {size}", []).append(_call([*call, *more]))
            print(way, size, runs[f"{way} {size}"][-1], file=sys.stderr)
    return jobs


def _growth(
    runs: dict[str, list[Took]], jobs: dict[int, int], key: str, end: str
) -> dict[str, float | None]:
    """Return growth and slope, as above; None where there are too few sizes."""
    sizes = sorted(jobs)
    took = {n: _median(runs[f"noop {n}"], key) for n in sizes}
    each = [(took[n] - _median(runs["empty"], key)) / jobs[n] for n in sizes]
    pairs = itertools.pairwise(sizes)
    slopes = [(took[b] - took[a]) / (jobs[b] - jobs[a]) for a, b in pairs]
    return {f"growth{end}": _ratio(each), f"slope{end}": _ratio(slopes)}


def _median(runs: list[Took], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _ratio(values: list[float]) -> float | None:
    """Return the last over the one before; None where noise has eaten one."""
    last = values[-2:]
    return round(last[1] / last[0], 3) if len(last) == 2 and min(last) > 0 else None


def _empty(folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "Snakefile").write_text(EMPTY)
    (folder / "there").write_text("")
    return ["--directory", str(folder), "--snakefile", str(folder / "Snakefile")]


def _demo() -> list[str]:
    return ["--snakefile", str(ROOT / "Snakefile")]


def _study(folder: Path, size: int) -> Path:
    """Write a study of so many scenes, whose rasters have a byte each."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    plain, depthseg, elevation = config["experiments"].values()
    kinds = [plain, depthseg, elevation]
    chosen = {
        f"experiment-{n}": kinds[n % 3] | {"seeds": list(range(SEEDS))} for n in range(EXPERIMENTS)
    }
    del config["synthesize"]
    config |= {"experiments": chosen, "data_root": str(folder / "data")}
    names = [f"scene-{n:05}" for n in range(size)]
    for name in names:
        (folder / "data" / name).mkdir(parents=True)
        for layer in ("image", "labels", "elevation"):
            (folder / "data" / name / f"{layer}.tif").write_text("x")
    rows = [row(name, "test" if n % 2 else "train") for n, name in enumerate(names)]
    return write_study(folder, config, rows)


def _call(call: list[str], is_done: bool = True) -> Took:
    """Run Snakemake in a process of its own; its seconds, processor and memory."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *call]
    start = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, env=environment(), stdout=said, stderr=said) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode or is_done != ("Nothing to be done" in text):
        raise RuntimeError(f"{' '.join(command)}: expected nothing to be done, got\n{text[-3000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": round(seconds, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_rss_gb": round(usage.ru_maxrss * unit / 1e9, 3),
    }


def _finish(call: list[str]) -> int:
    """Make what all jobs of a study would; returns their number."""
    command = [sys.executable, "-m", "tests.benchmarks.dag", "--finish", *call]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1])


def _finish_here(call: list[str]) -> None:
    """Run Snakemake, but where it would start jobs, make empty outputs and its records of them."""
    from snakemake import cli, io, workflow

    class Finisher(workflow.JobScheduler):
        def schedule(self) -> bool:
            dag = self.workflow.dag
            self.workflow.async_run(_finish_jobs(dag, self.workflow.persistence))
            print(len(dag))
            return True

    workflow.JobScheduler = Finisher
    checksum, known = io._IOFile.checksum, {}

    async def cached(file: Any, *more: Any, **named: Any) -> Any:
        # a table's sources are hashed for each of its files
        if str(file) not in known:
            known[str(file)] = await checksum(file, *more, **named)
        return known[str(file)]

    io._IOFile.checksum = cached
    cli.main(["--cores", "2", "--quiet", "all", *call])


async def _finish_jobs(dag: Any, persistence: Any) -> None:
    for level in dag.toposorted():
        for job in level:
            for file in (*job.output, *job.log, *([job.benchmark] if job.benchmark else [])):
                file.touch_or_create()
            if job.output:
                await persistence.finished(job)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", nargs="*", type=int, default=[10, 100, 1000], help="sizes")
    parser.add_argument("--repeats", type=int, default=3, help="of each call but fresh")
    parser.add_argument("--work", type=Path, help="where studies are written, not the temporary")
    parser.add_argument("--finish", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.finish:
        _finish_here(options.finish)
    else:
        main(options.scenes, options.repeats, options.work)
