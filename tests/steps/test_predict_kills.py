"""A prediction that is killed goes on where it was, and gives the same bytes."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline_steps import predict, synthesize, tile
from pipeline_steps.models.mapper import Mapper
from pipeline_steps.study import publish
from pipeline_steps.study.manifest import digest_of
from tests.steps.conftest import LOOKS, tile_arguments, training
from tests.steps.test_train import trained

KILLS = 50
OUTPUTS = ("confidence", "entropy", "disagreement", "depth", "probabilities")
NAMES = ["classes.tif", *(f"{name}.tif" for name in OUTPUTS[:-1]), "probabilities.zarr"]
PARAMS = {"window": 32, "batch": 2, "precision": "fp32", "outputs": OUTPUTS}


def work(model, scene, folder, most=None, **changes):
    if most is not None:
        # what a full disk is to a file that grows
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    maps = [folder / name for name in NAMES]
    predict.run([model], scene, [], maps, LOOKS, predict.Params(**PARAMS | changes))


@pytest.fixture(scope="module")
def model(tmp_path_factory, covered, height):
    folder = tmp_path_factory.mktemp("model")
    return trained(folder, covered, training(steps=3), [height]) / "manifest.json"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    files = [folder / name for name in ("image.tif", "labels.tif", "elevation.tif")]
    synthesize.run("a", *files, synthesize.Params(size=288))
    tile.run(**tile_arguments(folder / "scene", "a", files[0]))
    return folder / "scene" / "manifest.json"


@pytest.fixture(scope="module")
def started():
    """Start the stage in a process that has its imports already, so that kills meet work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline_steps.predict", "pipeline_steps.models.depthseg"])

    def start(*arguments):
        process = context.Process(target=work, args=arguments)
        process.start()
        return process

    return start


def digests(folder):
    return {name: digest_of(folder / name) for name in NAMES}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, model, scene, started):
    """The digests of an undisturbed run, and how long one takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    started(model, scene, folder / "first").join()
    begin = time.monotonic()
    started(model, scene, folder / "second").join()
    length = time.monotonic() - begin
    assert digests(folder / "first") == digests(folder / "second")
    return digests(folder / "first"), length


@pytest.mark.slow
def test_fifty_kills_at_random_moments_leave_the_bytes_of_an_undisturbed_run(
    tmp_path, model, scene, started, undisturbed
):
    expected, length = undisturbed
    rng, kills, finished, carried = random.Random(0), 0, 0, 0

    while kills < KILLS or not finished:
        process = started(model, scene, tmp_path / "map")
        process.join(rng.uniform(0.05, 1) * length)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            ledger = tmp_path / "map" / "work.partial" / "0.drafts" / "rows.jsonl"
            carried += ledger.is_file() and ledger.stat().st_size > 0
            continue
        assert process.exitcode == 0
        assert digests(tmp_path / "map") == expected
        assert not list(tmp_path.rglob("*.partial"))
        finished += 1
        shutil.rmtree(tmp_path / "map")

    assert carried > KILLS / 5


@pytest.mark.parametrize("most", [20_000, 90_000, 400_000])
def test_a_disk_that_is_full_ends_the_run_and_what_stands_is_gone_on_with(
    tmp_path, model, scene, started, undisturbed, most
):
    process = started(model, scene, tmp_path / "map", most)
    process.join()

    assert process.exitcode == 1
    assert [path.name for path in (tmp_path / "map").iterdir()] == ["work.partial"]
    work(model, scene, tmp_path / "map")
    assert digests(tmp_path / "map") == undisturbed[0]


@pytest.mark.parametrize("number", [1, 3, 6])
def test_killed_as_it_is_released_it_goes_on_with_what_it_made(
    tmp_path, model, scene, monkeypatch, undisturbed, number
):
    replaced = []

    def replace(*paths):
        replaced.append(paths)
        if len(replaced) == number:
            raise KeyboardInterrupt
        os.replace(*paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publish, "os", SimpleNamespace(link=os.link, replace=replace))
        work(model, scene, tmp_path / "map")
    for name in NAMES:
        # as Snakemake does before it runs a job again
        publish.remove(tmp_path / "map" / name)
    monkeypatch.setattr(Mapper, "__call__", None)
    work(model, scene, tmp_path / "map")

    assert digests(tmp_path / "map") == undisturbed[0]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.skipif(
    not Path("/sys/kernel").is_dir(), reason="needs a file system that is read-only"
)
def test_where_nothing_can_be_written_the_file_is_named(model, scene):
    with pytest.raises(OSError, match="/sys/kernel/map"):
        work(model, scene, Path("/sys/kernel/map"))


@pytest.mark.parametrize("store", ["image.zarr", "valid.zarr"])
def test_a_source_that_vanishes_midway_is_an_error_and_no_row_of_it_is_kept(
    tmp_path, model, scene, monkeypatch, undisturbed, store
):
    source = tmp_path / "scene"
    shutil.copytree(scene.parent, source)
    call, calls = Mapper.__call__, []

    def vanishing(self, inputs):
        calls.append(1)
        if len(calls) == 30:
            shutil.rmtree(source / store)
        return call(self, inputs)

    with monkeypatch.context() as patch, pytest.raises(ValueError) as trouble:
        patch.setattr(Mapper, "__call__", vanishing)
        work(model, source / "manifest.json", tmp_path / "map")
    assert str(trouble.value) == (
        f"{source / store}: changed while it was read, expected it to stay"
    )
    assert [path.name for path in (tmp_path / "map").iterdir()] == ["work.partial"]

    shutil.copytree(scene.parent / store, source / store)
    work(model, source / "manifest.json", tmp_path / "map")
    assert digests(tmp_path / "map") == undisturbed[0]


@pytest.mark.parametrize("change", [{"batch": 3}, {"overlap": 0.5}, {"blend": "mean"}])
def test_what_was_begun_otherwise_is_begun_anew(tmp_path, model, scene, monkeypatch, change):
    call, calls = Mapper.__call__, []

    def killed(self, inputs):
        calls.append(1)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return call(self, inputs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Mapper, "__call__", killed)
        work(model, scene, tmp_path / "begun")
    assert (tmp_path / "begun/work.partial/0.drafts/rows.jsonl").stat().st_size > 0
    for name in ("begun", "fresh"):
        work(model, scene, tmp_path / name, **change)

    assert digests(tmp_path / "begun") == digests(tmp_path / "fresh")
