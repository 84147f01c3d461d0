"""Bad input ends in one line and a status; what is finished stays; a killed run goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from tests.data.studies import (
    TINY_ROWS,
    command,
    environment,
    row,
    snakemake,
    tiny_study,
    write_study,
)

pytestmark = pytest.mark.slow


def write_scene(folder, labels=None, apart=1000):
    """Write a scene of 64 pixels with all seven classes, so many metres from the last."""
    folder.mkdir(parents=True)
    size, rng = 64, np.random.default_rng(0)
    east = 400000 + apart * len(list(folder.parent.iterdir()))
    grid = Grid(size, size, "EPSG:32632", (0.5, 0, east, 0, -0.5, 5000000))
    if labels is None:
        labels = rng.integers(0, 7, (size, size)).astype(np.uint8)
    write_raster(folder / "image.tif", rng.integers(0, 256, (3, size, size)).astype(np.uint8), grid)
    write_raster(
        folder / "labels.tif",
        labels[None],
        Grid(*labels.shape, grid.crs, grid.transform),
    )
    heights = rng.uniform(0, 9, (1, size, size)).astype(np.float32)
    write_raster(folder / "elevation.tif", heights, grid)


def real_study(folder, rows=("good", "bad"), **sections):
    """Write a study of scenes that lie on the disk, and return its file."""
    config = tiny_study() | {"data_root": "data"} | sections
    del config["synthesize"]
    splits = ("train", "test")
    return write_study(folder, config, [row(name, s) for name, s in zip(rows, splits, strict=True)])


def ended(source, study, *more):
    """Return the last lines that name an error, of a run that must fail."""
    done = snakemake(source, study, *more)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines, done.stderr
    return lines


def test_a_truncated_image_ends_its_scene_and_the_other_stays(tmp_path, source):
    for name in ("good", "bad"):
        write_scene(tmp_path / "data" / name)
    image = tmp_path / "data" / "bad" / "image.tif"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    study = real_study(tmp_path)

    lines = ended(source, study, "--keep-going", "--until", "tile")

    assert "data/bad/image.tif: cannot be read" in lines[-1]
    assert (tmp_path / "results" / "tile" / "good" / "manifest.json").is_file()
    assert not (tmp_path / "results" / "tile" / "bad" / "manifest.json").exists()
    assert not list((tmp_path / "results").rglob("*.partial"))


def test_check_ends_the_run_before_any_work_with_every_error_in_its_log(tmp_path, source):
    write_scene(tmp_path / "data" / "short", labels=np.zeros((32, 64), np.uint8))
    write_scene(tmp_path / "data" / "strange", labels=np.full((64, 64), 77, np.uint8))
    study = real_study(tmp_path, ["short", "strange"])

    lines = ended(source, study)

    assert "data/short/labels.tif: is 64x32 pixels, expected 64x64, covers 50.0 %" in lines[-1]
    assert "labels.tif: has label values 77" in (tmp_path / "logs" / "check.log").read_text()
    for log in ("check.json", "check.txt"):
        text = (tmp_path / "logs" / log).read_text()
        assert "is 64x32 pixels" in text and "has label values 77" in text
    assert not (tmp_path / "results" / "check").exists()
    assert not (tmp_path / "results" / "tile").exists()


def test_ground_that_training_and_test_share_ends_the_run_unless_the_study_lets_it_pass(
    tmp_path, source
):
    for name in ("good", "bad"):
        write_scene(tmp_path / "data" / name, apart=0)

    lines = ended(source, real_study(tmp_path))

    assert "train and test: leak: share 1024." in lines[-1]
    passing = real_study(tmp_path, check={"leak": "warning"})
    done = snakemake(source, passing, "--until", "check")
    assert done.returncode == 0, done.stderr
    (leak,) = json.loads((tmp_path / "results/check/findings.json").read_text())["leaks"]
    assert leak["shared_m2"] == pytest.approx(1024, rel=1e-3)


def test_a_model_folder_without_weights_is_named(tmp_path, source):
    for name in ("good", "bad"):
        write_scene(tmp_path / "data" / name)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    models = {"tiny-depth-anything": {"source": "model"}}
    study = real_study(tmp_path, fetch={"models": models})

    lines = ended(source, study)

    assert any("model: has no model.safetensors, expected" in line for line in lines)
    assert not (tmp_path / "results" / "fetch").exists() or not list(
        (tmp_path / "results" / "fetch").rglob("*.json")
    )


@pytest.mark.parametrize(
    "rows, sections, words",
    [
        (["good", "good"], {}, ["scenes.tsv:3", "'good'", "expected each name once"]),
        (["good", "a; touch harm"], {}, ["scenes.tsv:3", "'a; touch harm'", "expected letters"]),
        (["good", "$(touch harm)"], {}, ["scenes.tsv:3", "'$(touch harm)'", "expected letters"]),
        (["good", "gone"], {}, ["scenes.tsv:3", "data/gone/image.tif", "expected a file"]),
        (
            ["good", "good"],
            {"predict": {"windw": 3}},
            ["study.yaml", "predict.windw", "expected one"],
        ),
    ],
)
def test_a_bad_study_ends_before_any_job(tmp_path, source, rows, sections, words):
    write_scene(tmp_path / "data" / "good")
    study = real_study(tmp_path, rows, **sections)

    lines = ended(source, study)

    assert len(lines) == 1
    assert all(word in lines[0] for word in words)
    assert not (tmp_path / "results").exists()
    assert not list(tmp_path.rglob("harm"))


def test_a_run_killed_again_and_again_ends_with_the_same_tables(tmp_path, source, finished):
    study = write_study(tmp_path / "killed", tiny_study(), TINY_ROWS)
    lock = tmp_path / "killed" / "results" / ".running"
    alone = [sys.executable, "-m", "pipeline_steps.study.alone", str(lock)]
    again = [*alone, *command(source, study, "--nolock", "--rerun-incomplete", "--quiet")]
    settings = {"cwd": source, "env": environment(), "stderr": subprocess.DEVNULL}
    for sign in ("logs/tile/*.log", "logs/adapt/town.log", "logs/train/depthseg/*.log"):
        run = subprocess.Popen(again, start_new_session=True, **settings)
        while run.poll() is None and not list(study.parent.glob(sign)):
            time.sleep(0.05)
        assert run.poll() is None, f"ended before {sign} was there"
        time.sleep(1)  # in the midst of that job
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()

    assert subprocess.run(again, check=False, **settings).returncode == 0

    for table in ("overall", "classes", "scenes", "strata", "depth"):
        path = f"results/tabulate/{table}.csv"
        assert (study.parent / path).read_bytes() == (finished / path).read_bytes()
    maps = "results/predict/depthseg/seed-0/harbour/classes.tif"
    assert (study.parent / maps).read_bytes() == (finished / maps).read_bytes()
    manifest = "results/train/depthseg/seed-0/manifest.json"
    one, other = (json.loads((f / manifest).read_text()) for f in (study.parent, finished))
    assert one["made"]["model.safetensors"] == other["made"]["model.safetensors"]


TABLES = ("overall", "classes", "scenes", "strata", "depth")
PREDICTED = "results/predict/depthseg/seed-0/harbour/manifest.json"
DAMAGED = [
    ("results/tile/harbour/labels.zarr/0/c/0/0", "results/strata/harbour/manifest.json", "gone"),
    ("results/tile/harbour/image.zarr/0/c/0/0/0", PREDICTED, "flipped"),
    ("results/train/depthseg/seed-0/model.safetensors", PREDICTED, "flipped"),
    ("results/score/depthseg/seed-0/harbour.json", "results/gather/counts.jsonl", "flipped"),
    ("results/gather/counts.jsonl", "results/tabulate/overall.csv", "flipped"),
]
"""What is damaged, what is made again from it, and how."""


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished study, to be disturbed."""
    return shutil.copytree(finished, tmp_path / "again", symlinks=True) / "study.yaml"


def same_tables(study, finished):
    paths = [f"results/tabulate/{table}.csv" for table in TABLES]
    return all((study.parent / p).read_bytes() == (finished / p).read_bytes() for p in paths)


@pytest.mark.parametrize("name, target, how", DAMAGED)
def test_what_was_damaged_behind_snakemake_s_back_is_an_error(
    source, again, finished, name, target, how
):
    file = again.parent / name
    whole, times = file.read_bytes(), file.stat()
    middle = len(whole) // 2
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.rmtree((again.parent / target).parent)

    lines = ended(source, again, "--rerun-triggers", "mtime", "--", target)

    assert name.partition("/0/")[0] in lines[-1]
    file.write_bytes(whole)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    wanted = ("--", target, "results/tabulate/overall.csv")
    done = snakemake(source, again, "--rerun-triggers", "mtime", *wanted)
    assert done.returncode == 0, done.stderr
    assert same_tables(again, finished)


GIVES_WAY = "Directory cannot be locked", "a concurrent process has deleted it"
"""What Snakemake says where another run was at work a moment before."""


def test_of_two_runs_in_one_folder_one_gives_way(source, again, finished):
    for folder in ("score", "tabulate", "report"):
        shutil.rmtree(again.parent / "results" / folder)
    settings = {"cwd": source, "env": environment(), "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command(source, again), **settings) for _ in range(2)]
    said = [run.communicate()[1] for run in runs]

    for run, text in zip(runs, said, strict=True):
        assert run.returncode == 0 or any(words in text for words in GIVES_WAY), text
    if 0 not in [run.returncode for run in runs]:
        # seldom, each meets the other: then nothing is lost either
        done = snakemake(source, again, "--rerun-incomplete")
        assert done.returncode == 0, done.stderr
    assert same_tables(again, finished)


def test_a_study_that_would_fill_the_memory_ends_before_any_job(tmp_path, source):
    write_scene(tmp_path / "data" / "good")
    study = real_study(tmp_path, ["good", "good"])
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    study.write_text(f"a0: &a0 [x, x, x, x, x, x, x, x]\n{bomb}{study.read_text()}")

    (line,) = ended(source, study)

    assert "study.yaml: has over 1000000 values" in line
