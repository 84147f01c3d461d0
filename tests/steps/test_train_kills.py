"""A training that is killed goes on where it was, and ends with the same bytes."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from pipeline_steps import train
from pipeline_steps.study import publish
from pipeline_steps.study.manifest import digest_of
from pipeline_steps.training import keeper
from pipeline_steps.training.learning import CHECKPOINT
from pipeline_steps.training.loop import Training
from tests.data.studies import ROOT
from tests.steps.conftest import training

KILLS = 30
NAMES = ("model.safetensors", "history.csv", "panels", "manifest.json")
PARAMS = {"steps": 40, "report_every": 7, "panels": 3, "ema": 0.9, "rare_classes": 0.1}


def work(scene, depth, stretch, folder, most=None):
    keeper.EVERY = 0.0
    if most is not None:
        # what a full disk is to a file that grows
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    inputs = {"tiles": [scene], "depths": [depth], "stretch": stretch, "splits": []}
    inputs |= {"validation": [scene], "validation_depths": [depth]}
    inputs |= {"encoder": None, "depth_encoder": None}
    outputs = {name.split(".")[0]: folder / name for name in NAMES}
    how = {"events": None, "seed": 0, "fold": None, "params": training(**PARAMS)}
    train.run(**inputs, **outputs, **how)


@pytest.fixture(scope="module")
def started():
    """Start a training in a process that has its imports already, so that kills meet work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline_steps.train", "pipeline_steps.models.depthseg"])

    def start(*arguments):
        process = context.Process(target=work, args=arguments)
        process.start()
        return process

    return start


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, covered, height, stretch, started):
    """The digests of an undisturbed training, and how long one takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    started(covered, height, stretch, folder / "first").join()
    begin = time.monotonic()
    started(covered, height, stretch, folder / "second").join()
    length = time.monotonic() - begin
    first, second = ({n: digest_of(folder / run / n) for n in NAMES} for run in ("first", "second"))
    assert first == second
    return first, length


def digests(folder):
    return {name: digest_of(folder / name) for name in NAMES}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_kills_at_random_moments_leave_the_bytes_of_an_undisturbed_training(
    tmp_path, covered, height, stretch, started, undisturbed, how
):
    expected, length = undisturbed
    rng, kills, finished, carried = random.Random(int(how)), 0, 0, 0
    folder, share = tmp_path / "run", KILLS if how == signal.SIGKILL else KILLS // 3

    while kills < share or not finished:
        process = started(covered, height, stretch, folder)
        process.join(rng.uniform(0.05, 1) * length)
        if process.exitcode is None:
            os.kill(process.pid, how)
            process.join()
            kills += 1
            carried += (folder / "work.partial" / CHECKPOINT).is_file()
            continue
        assert process.exitcode == 0
        assert digests(folder) == expected
        assert not list(folder.rglob("*.partial"))
        finished += 1
        shutil.rmtree(folder)

    assert carried > share / 5


def test_asked_to_end_with_its_workers_it_is_kept_first_and_goes_on(
    tmp_path, covered, height, stretch, undisturbed
):
    """Snakemake and SLURM signal the whole group of processes, workers that read crops too."""
    file, code = (
        tmp_path / "work.partial" / CHECKPOINT,
        (
            "import sys; from pathlib import Path; from tests.steps import test_train_kills as t;"
            " t.PARAMS['workers'] = 1; t.work(*map(Path, sys.argv[1:]))"
        ),
    )
    run = [sys.executable, "-c", code, covered, height, stretch, tmp_path]
    process = subprocess.Popen(run, start_new_session=True, cwd=ROOT, stderr=subprocess.PIPE)
    while not file.is_file() and process.poll() is None:
        time.sleep(0.05)

    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate()[1].decode()

    assert process.returncode == keeper.TERMINATED, said
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.safetensors").is_file()
    # where a worker reads, the same crops come
    assert digest_of(tmp_path / "model.safetensors") == undisturbed[0]["model.safetensors"]


def test_where_the_disk_is_full_it_ends_and_started_again_gives_the_same_bytes(
    tmp_path, covered, height, stretch, started, undisturbed
):
    folder, (expected, _) = tmp_path / "run", undisturbed
    file = folder / "work.partial" / CHECKPOINT

    process = started(covered, height, stretch, folder, 50_000)
    process.join()

    assert process.exitcode == 1
    assert not file.exists() and not (folder / "model.safetensors").exists()
    started(covered, height, stretch, folder).join()
    assert digests(folder) == expected


@pytest.mark.parametrize("number", [1, 3, 4])
def test_killed_as_it_is_released_it_goes_on_from_its_last_step(
    tmp_path, covered, height, stretch, monkeypatch, undisturbed, number
):
    folder, replaced = tmp_path / "run", []

    def replace(*paths):
        replaced.append(paths)
        if len(replaced) == number:
            raise KeyboardInterrupt
        os.replace(*paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publish, "os", SimpleNamespace(link=os.link, replace=replace))
        work(covered, height, stretch, folder)
    for name in NAMES:
        # as Snakemake does before it runs a job again
        publish.remove(folder / name)
    monkeypatch.setattr(Training, "step", None)
    work(covered, height, stretch, folder)

    assert digests(folder) == undisturbed[0]
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)


def test_what_was_begun_otherwise_is_begun_anew(tmp_path, covered, height, stretch, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "save_file", stopped)
        work(covered, height, stretch, tmp_path / "begun")
    assert (tmp_path / "begun" / "work.partial" / CHECKPOINT).is_file()
    monkeypatch.setitem(PARAMS, "lr", 1e-3)
    for name in ("begun", "fresh"):
        work(covered, height, stretch, tmp_path / name)

    assert digests(tmp_path / "begun") == digests(tmp_path / "fresh")
