"""The slurm profile on a real SLURM: whatever befalls its jobs, tables are those of one machine."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.slurm import wait_for
from tests.data.studies import TINY_ROWS, copied, environment, snakemake, tiny_study, write_study

pytestmark = pytest.mark.cluster

PATIENCE = 600
"""Seconds that a job has to come as far as it is waited for."""


def study_of(folder):
    """Write the tiny study, with trainings that are long enough to be ended amidst."""
    config = tiny_study()
    config["adapt"] |= {"steps": 150}
    config["train"] |= {"steps": 100}
    config["experiments"]["elevation"]["train"] |= {"devices": 2, "batch": 4, "steps": 60}
    return write_study(folder, config, TINY_ROWS)


def submit(source, study, slurm):
    """Start a run of the study with the profile as it is, but for what makes a test short."""
    networks = [f"{rule}=1" for rule in ("adapt", "depth", "train", "predict")]
    waits = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"]
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(source / "Snakefile")),
        *("--workflow-profile", str(source / "workflow" / "profiles" / "slurm")),
        *("--configfile", str(study), "--directory", str(study.parent)),
        *("--set-threads", *networks, "--seconds-between-status-checks", "2", *waits),
    ]
    log = (study.parent / "snakemake.log").open("w")
    ours = environment() | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{slurm.environment['PATH']}"
    }
    return subprocess.Popen(command, env=ours, stdout=log, stderr=log, cwd=study.parent)


def job_of(slurm, rule):
    """Return the number of the one running job of a rule and its wildcards."""
    (number,) = [n for n, comment in slurm.jobs("running").items() if comment == rule]
    return number


def wait_for_step(log, run):
    def is_there():
        assert run.poll() is None, f"ended before {log}"
        return log.is_file() and re.search(r"step \d+: ", log.read_text())

    wait_for(is_there, log, PATIENCE)


def befall(run, study, slurm):
    """Let four things befall the run; return the jobs that were cancelled, pre-empted and ended."""
    logs = study.parent / "logs"
    # the node is drained from the start, and comes back
    wait_for(lambda: slurm.jobs("pending"), "a job that waits for a node", PATIENCE)
    time.sleep(3)
    assert not slurm.jobs("running")
    slurm.set_node("RESUME")

    wait_for_step(logs / "adapt" / "town.log", run)
    cancelled = job_of(slurm, "rule_adapt_wildcards_town")
    slurm.call("scancel", cancelled)

    wait_for_step(logs / "train" / "elevation" / "seed-0.log", run)
    preempted = job_of(slurm, "rule_train_wildcards_elevation_seed-0")
    assert "gpu:2" in slurm.call("scontrol", "show", "step", f"{preempted}.0")
    slurm.call("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true")
    wait_for(lambda: slurm.state(preempted) == "PENDING", "the pre-empted job", PATIENCE)
    for job in slurm.jobs("pending"):
        # SLURM lets it wait for two minutes
        slurm.call("scontrol", "update", f"JobId={job}", "StartTime=now")

    wait_for_step(logs / "train" / "depthseg" / "seed-0.log", run)
    ended = job_of(slurm, "rule_train_wildcards_depthseg_seed-0")
    slurm.call("scancel", "--signal=TERM", ended)
    return cancelled, preempted, ended


def results(study):
    """Return every table, map and network of a study, but for the times in tables."""
    folder = study.parent / "results"
    found = [*folder.glob("tabulate/*.*"), *folder.rglob("*.tif"), *folder.rglob("*.safetensors")]
    timed = ("cost", "manifest")
    return {f.relative_to(folder): f.read_bytes() for f in found if f.stem not in timed}


def test_a_study_goes_on_through_whatever_befalls_its_jobs(tmp_path, slurm):
    source = copied(tmp_path / "depthseg")
    local, study = study_of(tmp_path / "local"), study_of(tmp_path / "cluster")
    done = snakemake(source, local)
    assert done.returncode == 0, done.stderr

    slurm.set_node("DRAIN")
    run = submit(source, study, slurm)
    try:
        cancelled, preempted, ended = befall(run, study, slurm)
        run.wait(PATIENCE)
    finally:
        if run.poll() is None:
            run.send_signal(signal.SIGINT)
            run.wait(PATIENCE)
    assert run.returncode == 0, (study.parent / "snakemake.log").read_text()

    # the first and the last were sent anew, SLURM itself queued the second again
    states = [slurm.state(job) for job in (cancelled, preempted, ended)]
    assert states == ["CANCELLED", "COMPLETED", "FAILED"]
    for log in ("adapt/town", "train/elevation/seed-0", "train/depthseg/seed-0"):
        assert "goes on from step" in (study.parent / "logs" / f"{log}.log").read_text(), log
    assert len(results(local)) > 50
    assert results(study) == results(local)
    assert not list((study.parent / "results").rglob("*.partial"))
