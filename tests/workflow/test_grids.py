"""Grids, devices and lent encoders through Snakemake, as far as a dry run tells."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from pipeline_steps.study.commands import PATIENT
from tests.data.studies import ROOT, TINY_ROWS, snakemake, tiny_study, write_study

pytestmark = pytest.mark.slow


def planned(folder, experiments, *more, **train):
    """Return what a dry run of the tiny study with these experiments prints."""
    config = tiny_study() | {"experiments": experiments}
    config["train"] |= train
    done = snakemake(ROOT, write_study(folder, config, TINY_ROWS), "-n", "-p", *more)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_grid_is_trained_and_has_a_table_of_its_own(tmp_path):
    said = planned(tmp_path, {"t": {"seeds": [0], "grid": {"parts": ["neither", "both"]}}})

    assert set(re.findall(r"results/train/([\w-]+)/seed-0/model", said)) == {"t-neither", "t-both"}
    assert "results/tabulate/ablation.csv" in said
    (cells,) = set(re.findall(r"--cells '(.+?)' --params", said))
    assert [cell["values"] for cell in json.loads(cells)] == [
        {"parts": "neither"},
        {"parts": "both"},
    ]


def test_a_study_without_a_grid_has_no_table_of_one(tmp_path):
    assert "ablation" not in planned(tmp_path, {"one": {"seeds": [0]}})


def test_what_a_grid_calls_its_axes_matters_to_the_tables_alone(tmp_path):
    variants = {axis: {"both": {"lr": 0.01}} for axis in ("this", "that")}
    commands = []
    for axis in variants:
        config = tiny_study() | {"variants": variants}
        config["experiments"] = {"t": {"seeds": [0], "grid": {axis: ["both"]}}}
        study = write_study(tmp_path, config, TINY_ROWS)
        said = snakemake(ROOT, study, "-n", "-p").stdout
        commands.append({line for line in said.splitlines() if " -m pipeline_steps." in line})

    this, that = commands
    assert this & that
    assert {re.search(r"-m pipeline_steps\.(\w+)", one)[1] for one in this ^ that} == {"tabulate"}


def test_an_ensemble_maps_with_every_network_and_is_scored_as_one_run(tmp_path):
    config = tiny_study() | {"ensembles": {"mean": ["two", "one"]}}
    fed = {"train": {"network": {"depth": "fed"}}}
    config["experiments"] = {"one": {"seeds": [4]}, "two": {"seeds": [0, 1]} | fed}
    done = snakemake(ROOT, write_study(tmp_path, config, TINY_ROWS), "-n", "-p")
    said = [line for line in done.stdout.splitlines() if "mean/seeds" in line]

    (predict,) = (line for line in said if "-m pipeline_steps.predict" in line)
    models = [
        f"results/train/{name}/manifest.json" for name in ("two/seed-0", "two/seed-1", "one/seed-4")
    ]
    assert f"--models {' '.join(models)} --tile" in predict
    depth = "results/depth/town/harbour/manifest.json"
    assert (
        f"--depths {depth} {depth} --maps results/predict/mean/seeds/harbour/classes.tif" in predict
    )
    (score,) = (line for line in said if "-m pipeline_steps.score" in line)
    assert "--experiment mean --params" in score.replace("  ", " ")
    assert not [line for line in said if "-m pipeline_steps.train" in line]


def test_several_devices_are_one_job_with_a_process_for_each(tmp_path):
    more = ("--resources", "gpu=4")
    said = planned(tmp_path, {"one": {"seeds": [0]}}, *more, devices=2)

    assert "torchrun --standalone --nproc-per-node 2 -m pipeline_steps.train" in said
    (training,) = [one for one in re.split(r"\n(?=rule )", said) if one.startswith("rule train")]
    assert "gpu=2" in training
    assert "python -m pipeline_steps.train" in planned(tmp_path, {"one": {"seeds": [0]}})


def test_a_training_learns_where_its_events_and_pictures_go(tmp_path):
    said = planned(tmp_path, {"one": {"seeds": [3]}})

    assert " --panels results/train/one/seed-3/panels" in said
    assert " --events logs/tensorboard/one/seed-3 " in said


def test_the_teacher_s_encoder_is_adapted_although_its_depth_is_not_used(tmp_path):
    network = {"prompter": False, "encoder": {"name": "teacher", "arguments": None}}

    said = planned(tmp_path, {"one": {"seeds": [0], "train": {"network": network}}})

    assert " --encoder results/adapt/town/manifest.json " in said
    assert "rule depth:" not in said


WAITS = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1]).write_text("saved")
    sys.exit("error: train: ended")
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(30)
"""


def test_a_training_that_is_ended_has_time_to_save_before_its_shell_is_gone(tmp_path):
    last = "|| (tail -n 1 log >&2; false)"
    command = f"set -euo pipefail; {PATIENT} {sys.executable} -c '{WAITS}' saved 2> log {last}"
    shell = ["bash", "-c", command]
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(shell, start_new_session=True, **options) as job:
        assert job.stdout.readline() == "ready\n"
        time.sleep(0.1)
        os.killpg(job.pid, signal.SIGTERM)
        _, said = job.communicate(timeout=20)

    assert (tmp_path / "saved").read_text() == "saved"
    assert (job.returncode, said) == (1, "error: train: ended\n")
