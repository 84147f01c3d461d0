"""A depth stage that is killed goes on where it was, and gives the same bytes."""

import multiprocessing
import os
import random
import shutil
import signal
import time

import pytest

from pipeline_steps import depth, fetch, synthesize, tile
from pipeline_steps.study.manifest import digest_of
from tests.steps.conftest import TEACHER, model_files, stretch_file, tile_arguments

KILLS = 50
NAMES = ("depth.zarr", "quality.json", "manifest.json")


def work(teacher, scene, stretch, folder):
    params = depth.Params(window=64, batch=2, precision="fp32")
    depth.run(teacher, scene, stretch, *(folder / name for name in NAMES), params)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    files = [folder / name for name in ("image.tif", "labels.tif", "elevation.tif")]
    synthesize.run("a", *files, synthesize.Params(size=288))
    tile.run(**tile_arguments(folder / "scene", "a", files[0], elevation=files[2]))
    teacher = model_files(folder / "teacher")
    fetch.run("tiny", *teacher, TEACHER)
    return teacher[-1], folder / "scene" / "manifest.json", stretch_file(folder)


@pytest.fixture
def started():
    """Start the stage in a process that has its imports already, so that kills meet work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline_steps.depth", "pipeline_steps.models.runner"])

    def start(*arguments):
        process = context.Process(target=work, args=arguments)
        process.start()
        return process

    return start


@pytest.mark.slow
def test_fifty_kills_at_random_moments_leave_the_bytes_of_an_undisturbed_run(
    tmp_path, inputs, started
):
    whole, disturbed = tmp_path / "whole" / "town" / "a", tmp_path / "disturbed" / "town" / "a"
    started(*inputs, whole).join()
    begin = time.monotonic()
    started(*inputs, tmp_path / "timed" / "town" / "a").join()
    length = time.monotonic() - begin
    expected = {name: digest_of(whole / name) for name in NAMES}
    rng, kills, finished, carried = random.Random(0), 0, 0, 0

    # on a busy machine fewer of them meet a run at work
    while kills < KILLS or carried <= KILLS / 5 or not finished:
        assert kills < 10 * KILLS
        process = started(*inputs, disturbed)
        process.join(rng.uniform(0.05, 1) * length)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            ledger = disturbed / "work.partial" / "0.windows"
            carried += ledger.is_file() and ledger.stat().st_size > 0
            continue
        assert process.exitcode == 0
        assert {name: digest_of(disturbed / name) for name in NAMES} == expected
        assert not list(disturbed.rglob("*.partial"))
        finished += 1
        shutil.rmtree(disturbed)


def test_what_a_killed_run_has_said_is_not_asked_for_again(tmp_path, inputs, monkeypatch):
    teacher, scene, stretch = inputs
    asked = []

    def says(_, resample):
        def running(pixels):
            asked.append(len(pixels))
            if len(asked) == 5:
                raise KeyboardInterrupt
            return lambda: pixels.mean(axis=1)

        return running

    monkeypatch.setattr(depth._Maker, "_start", says)
    folder = tmp_path / "town" / "a"
    with pytest.raises(KeyboardInterrupt):
        work(teacher, scene, stretch, folder)
    work(teacher, scene, stretch, folder)
    interrupted = len(asked)
    first = digest_of(folder / "depth.zarr")
    asked[:] = [0] * 10
    shutil.rmtree(folder)
    work(teacher, scene, stretch, folder)

    # the batch that failed, and the one before it that was not yet written, are asked for twice
    assert interrupted <= len(asked) - 10 + 2
    assert digest_of(folder / "depth.zarr") == first


@pytest.mark.parametrize("change", [{"batch": 3}, {"overlap": 0.5}, {"blend": "nearest"}])
def test_what_was_begun_otherwise_is_begun_anew(tmp_path, inputs, monkeypatch, change):
    teacher, scene, stretch = inputs
    begun, fresh = (tmp_path / name / "town" / "a" for name in ("begun", "fresh"))
    params = {"window": 64, "batch": 2, "precision": "fp32"}

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(depth._Maker, "_finish", killed)
        files = (begun / name for name in NAMES)
        depth.run(teacher, scene, stretch, *files, depth.Params(**params))
    assert (begun / "work.partial" / "0.windows").stat().st_size > 0
    for folder in (begun, fresh):
        files = (folder / name for name in NAMES)
        depth.run(teacher, scene, stretch, *files, depth.Params(**params | change))

    assert digest_of(begun / "depth.zarr") == digest_of(fresh / "depth.zarr")


@pytest.mark.parametrize("store", ["image.zarr", "valid.zarr", "labels.zarr"])
def test_a_source_that_vanishes_midway_is_an_error_and_nothing_of_it_is_kept(
    tmp_path, inputs, monkeypatch, store
):
    teacher, scene, stretch = inputs
    source, folder, asked = tmp_path / "scene", tmp_path / "town" / "a", []
    shutil.copytree(scene.parent, source)

    def says(_, resample):
        def running(pixels):
            asked.append(len(pixels))
            if len(asked) == 5:
                shutil.rmtree(source / store)
            return lambda: pixels.mean(axis=1)

        return running

    monkeypatch.setattr(depth._Maker, "_start", says)
    with pytest.raises(ValueError, match=rf"{store}: changed while it was read, expected it to"):
        work(teacher, source / "manifest.json", stretch, folder)
    assert not (folder / "depth.zarr").exists()
    shutil.copytree(scene.parent / store, source / store)
    for place in (folder, tmp_path / "fresh" / "a"):
        work(teacher, source / "manifest.json", stretch, place)

    assert digest_of(folder / "depth.zarr") == digest_of(tmp_path / "fresh" / "a" / "depth.zarr")
