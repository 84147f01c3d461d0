import re

import pytest
import yaml

from pipeline_steps.study.config import load
from pipeline_steps.study.plan import LIBRARIES_GB, Cached, Plan, disk_gb, memory_gb, plan_of
from tests.data.studies import ROOT, TINY_ROWS, row, snakemake, tiny_study, write_study

PLAN = Plan(jobs=1, fields=2, runs=3, classes=5, window=100, is_stretched=False)
PLAIN = {"seeds": [0, 1], "train": {"network": {"prompter": False}}}


def plan(folder, config, rows, monkeypatch):
    """Return the plan of a study, and how many jobs Snakemake would run from nothing."""
    study = write_study(folder, config, rows)
    monkeypatch.chdir(folder)
    made = plan_of(load(yaml.safe_load(study.read_text()), [str(study)]))
    done = snakemake(ROOT, study, "-n")
    assert done.returncode == 0, done.stderr
    return made.jobs, int(re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.M)[1])


def lent():
    """Return a study of a network that has its teacher's encoder and no use for its depth."""
    network = {"prompter": False, "encoder": {"name": "teacher", "arguments": None}}
    own = {"seeds": [0], "train": {"network": network}}
    other = {"seeds": [0], "train": {"network": {"model": "baseline"}}}
    return {"experiments": {"own": own, "other": other}}


def gridded():
    """Return a study of a grid."""
    return {"experiments": {"t": {"seeds": [0, 1], "grid": {"parts": ["neither", "both"]}}}}


def folded():
    """Return a study of two folds, whose experiments use no adapted teacher."""
    config = tiny_study() | {"split": {"folds": 2, "unit": "pixels", "size": 32, "buffer": 4}}
    return config | {"adapt": {}, "experiments": {"plain": PLAIN}}


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, rows",
    [
        ({}, TINY_ROWS),
        ({}, [*TINY_ROWS, row("orchard", "val"), row("mill", "train")]),
        ({}, [*TINY_ROWS, row("orchard", "predict")]),
        ({"stretch": {"percentiles": [2, 98]}}, [row("east", "train"), row("orchard", "predict")]),
        ({}, [row("east", "blocks"), row("harbour", "test")]),
        (lent(), [*TINY_ROWS, row("orchard", "predict")]),
        (gridded(), TINY_ROWS),
        ({"deliver": {}}, [*TINY_ROWS, row("orchard", "predict")]),
        ({"corrupt": {"scenes": ["harbour"]}}, [*TINY_ROWS, row("orchard", "test")]),
        ({"bundle": {}}, TINY_ROWS),
        ({"export": {}}, TINY_ROWS),
        (folded(), [row("east", "folds"), row("harbour", "folds"), row("mill", "blocks")]),
    ],
    ids=[
        "tiny",
        "val",
        "predict",
        "no-test",
        "blocks",
        "lent",
        "grid",
        "deliver",
        "corrupt",
        "bundle",
        "export",
        "folds",
    ],
)
def test_jobs_are_as_many_as_snakemake_counts(tmp_path, monkeypatch, change, rows):
    found, expected = plan(tmp_path, tiny_study() | change, rows, monkeypatch)

    assert found == expected


def loaded(folder, monkeypatch, **changes):
    study = write_study(folder, tiny_study() | changes, TINY_ROWS)
    monkeypatch.chdir(folder)
    return load(yaml.safe_load(study.read_text()), [str(study)])


def test_disk_holds_stores_two_bytes_a_field_and_two_maps_a_training_and_drafts_of_one():
    found = disk_gb(PLAN, bytes_tiled=1_000, pixels=100, largest=60)

    assert found == (1_000 + 100 * (4 + 6) + 60 * 2) / 1e9


def test_disk_holds_the_maps_that_are_asked_for(tmp_path, monkeypatch):
    asked = {"outputs": ["entropy", "depth", "probabilities"]}
    predict = tiny_study()["predict"] | asked

    made = plan_of(loaded(tmp_path, monkeypatch, predict=predict))

    # the class, per cent, four bytes, and one for each class
    assert made.map_bytes == 1 + 1 + 4 + made.classes


@pytest.mark.parametrize("deliver, copies", [(None, 1), ({}, 2), ({"maps": False}, 1)])
def test_disk_holds_the_copies_of_deliveries(tmp_path, monkeypatch, deliver, copies):
    made = plan_of(loaded(tmp_path, monkeypatch, deliver=deliver))

    found = disk_gb(made, 0, 100, 0) - 100 * 2 * made.fields / 1e9

    assert found == pytest.approx(100 * made.map_bytes * made.runs * copies / 1e9)


def test_disk_holds_what_a_teacher_said_of_the_largest_raster(tmp_path, monkeypatch):
    depth = {"overlap": 0.5, "teachers": {"elevation": {"overlap": 0.75}}}
    made = plan_of(loaded(tmp_path, monkeypatch, depth=depth))

    less, more = (disk_gb(made, 1_000, 100, largest) for largest in (0, 60))

    # half of a window each way: four windows over every pixel, two bytes each
    assert more - less == pytest.approx(60 * 4 * 2 / 1e9)


CACHED = {"feature_cache": True, "positions": "grid", "steps": 10, "batch": 4, "crop": 64}
ENCODER = {"token_stride": 16, "arguments": {"embed_dim": 48}}


@pytest.mark.parametrize(
    ("turns", "encoder", "channels"),
    [
        (True, ENCODER, 48),
        (False, ENCODER, 48),
        (True, {"name": "vit_base_patch14_dinov2", "arguments": None, "token_stride": 16}, 768),
    ],
)
def test_disk_holds_the_features_of_one_training(tmp_path, monkeypatch, turns, encoder, channels):
    train = tiny_study()["train"] | CACHED | {"turns": turns}
    train["network"]["encoder"] |= encoder
    made = plan_of(loaded(tmp_path, monkeypatch, train=train))

    # 16 tokens a crop, four taps in two bytes
    crop = 4 * 2 * 16 * channels
    assert made.cached == (Cached(crop=64, bytes=crop * (8 if turns else 1), most=10 * 4 * crop),)


def test_without_a_cache_there_are_no_features(tmp_path, monkeypatch):
    assert plan_of(loaded(tmp_path, monkeypatch)).cached == ()


@pytest.mark.parametrize(
    "depth, adapt, window",
    [
        ({}, {}, 100),
        ({"resample": 0.5}, {}, 200),
        ({"resample": 3}, {}, 33),
        ({}, {"resample": 0.5}, 200),
        ({"gsd": 1.0}, {"resample": 0.5}, 100),
        ({"resample": 2.0}, {"resample": 0.5}, 50),
    ],
)
def test_a_teacher_s_window_counts_in_pixels_of_the_scene(
    tmp_path, monkeypatch, depth, adapt, window
):
    base = tiny_study()["adapt"]["teachers"]
    changes = {"depth": {"window": 100} | depth, "adapt": {"teachers": base} | adapt}

    made = plan_of(loaded(tmp_path, monkeypatch, **changes))

    assert (made.window, made.field_window) == (64, window)


def test_memory_counts_one_value_of_pseudo_depth_and_all_classes_of_probabilities():
    wide = PLAN.model_copy(update={"field_window": 2 * PLAN.classes * PLAN.window})
    narrow = PLAN.model_copy(update={"field_window": PLAN.classes * PLAN.window})

    assert memory_gb(narrow, [1_000]) == memory_gb(PLAN, [1_000])
    assert memory_gb(wide, [1_000]) - LIBRARIES_GB == pytest.approx(
        2 * (memory_gb(PLAN, [1_000]) - LIBRARIES_GB)
    )


def test_the_plan_knows_which_scenes_any_teacher_learns_from(tmp_path, monkeypatch):
    (base,) = tiny_study()["adapt"]["teachers"].values()
    unused = {"base": base, "scenes": ["hill", "east"]}
    rows = [*TINY_ROWS, row("hill", "predict")]
    teachers = {"town": base, "spare": unused}
    study = write_study(tmp_path, tiny_study() | {"adapt": {"teachers": teachers}}, rows)
    monkeypatch.chdir(tmp_path)

    made = plan_of(load(yaml.safe_load(study.read_text()), [str(study)]))

    assert made.taught == ("east", "hill")


def test_the_plan_has_every_network_once_but_for_those_with_a_teacher_s_encoder(
    tmp_path, monkeypatch
):
    again = {"train": {"steps": 7}}
    experiments = {"plain": PLAIN, "longer": PLAIN | {"train": PLAIN["train"] | again["train"]}}
    made = plan_of(loaded(tmp_path, monkeypatch, experiments=experiments | lent()["experiments"]))

    assert [one.training for one in made.networks] == ["plain", "other"]


def test_memory_grows_with_classes_and_width_but_not_with_height():
    narrow, wide = memory_gb(PLAN, [1_000]), memory_gb(PLAN, [10_000, 1_000])

    assert wide - LIBRARIES_GB == pytest.approx(10 * (narrow - LIBRARIES_GB))
    assert narrow > LIBRARIES_GB
    assert memory_gb(PLAN, []) == LIBRARIES_GB


@pytest.mark.parametrize(
    "stretch, is_stretched",
    [({}, False), ({"percentiles": [2, 98]}, True), ({"limits": [[0, 1]]}, True)],
)
def test_the_plan_knows_whether_a_study_says_what_becomes_black_and_white(
    tmp_path, monkeypatch, stretch, is_stretched
):
    made = plan_of(loaded(tmp_path, monkeypatch, stretch=stretch))

    assert made.is_stretched is is_stretched
    assert (made.fields, made.runs, made.classes, made.window) == (2, 2, 7, 64)
