"""The tiny study through Snakemake: what it leaves, and what a change makes stale."""

import json
import os
import shutil

import pandas as pd
import pytest
import rasterio
import yaml

from pipeline_steps.study.ancestry import ancestry_of, checked
from tests.data.studies import TINY_ROWS, row, stale, tiny_study, without_network, write_study

pytestmark = pytest.mark.slow

BELOW_CHECK = {"check", "tabulate", "report"}
"""The tables say what training and test share, which `check` has measured."""
BELOW_STRATA = {"strata", "score", "tabulate", "report"}
BELOW_TRAIN = {"train", "predict", "score", "tabulate", "report"}
BELOW_LOSSES = {"adapt", "depth"} | BELOW_TRAIN
BELOW_STRETCH = {"stretch", "strata"} | BELOW_LOSSES
"""Without percentiles the stretch looks at no scene, so nothing makes it stale but itself."""
BELOW_TILE = {"tile", "strata"} | BELOW_LOSSES
BELOW_SPLITS = {"tile", "stretch", "strata"} | BELOW_LOSSES
BELOW_READERS = {"check"} | BELOW_TILE
BELOW_RASTERS = {"synthesize", "check", "stretch"} | BELOW_TILE


def test_ends_with_a_row_for_each_experiment(finished):
    overall = pd.read_csv(finished / "results" / "tabulate" / "overall.csv")
    assert list(overall["experiment"]) == ["depthseg", "elevation"]
    scores = ("miou", "kappa", "oa", "aa", "boundary_iou", "block_miou")
    columns = [name + end for name in scores for end in ("", "_sd")]
    assert list(overall.columns) == ["experiment", "seeds", *columns]


def test_maps_lie_on_the_grid_of_the_image_with_a_colour_table(finished):
    image = finished / "results" / "synthesize" / "harbour" / "image.tif"
    maps = sorted((finished / "results" / "predict").glob("*/seed-0/harbour/classes.tif"))
    assert len(maps) == 2
    for path in maps:
        with rasterio.open(image) as source, rasterio.open(path) as target:
            assert (target.crs, target.transform, target.shape) == (
                source.crs,
                source.transform,
                source.shape,
            )
            assert target.colormap(1)[0][:3] == (200, 55, 45)


def test_leaves_a_page_with_a_figure_of_each_test_scene_and_nothing_half_written(finished):
    report = finished / "results" / "report"
    assert "data:image/png;base64" in (report / "index.html").read_text()
    assert (report / "figures" / "scene_harbour.png").stat().st_size > 10_000
    assert not list((finished / "results").rglob("*partial*"))


@pytest.mark.skipif(not without_network(), reason="needs a namespace of its own (unshare)")
def test_no_stage_needs_a_network(finished):
    # it ran where there was none; a model that is drawn is fetched from nowhere
    assert (finished / "results" / "report" / "index.html").is_file()


def test_a_second_run_has_nothing_to_do(finished, source):
    assert stale(source, finished / "study.yaml") == {}


def test_a_flipped_byte_of_any_file_is_found_along_the_lineage_of_the_report(finished):
    report, results = finished / "results" / "report", finished / "results"
    files = [p for p in results.rglob("*") if p.is_file() and p.name != ".snakemake_timestamp"]
    assert checked(ancestry_of(report))[1] == []
    for file in files:
        before, times = file.read_bytes(), file.stat()
        place = len(before) // 2
        file.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
        try:
            wrong = [one.path for one in checked(ancestry_of(report))[1]]
        except ValueError as error:
            # without its manifest nothing is known of the report
            assert file == report / "manifest.json", error
            continue
        finally:
            file.write_bytes(before)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert {file, *file.parents} & set(wrong), file


def test_tables_and_report_carry_one_digest_of_the_study(finished):
    results = finished / "results"
    study = json.loads((results / "tabulate" / "manifest.json").read_text())["study"]

    tables = list((results / "tabulate").glob("*.md"))
    assert tables and all(study in table.read_text() for table in tables)
    assert not [table for table in tables if study in table.with_suffix(".csv").read_text()]
    assert study in (results / "report" / "index.html").read_text()


@pytest.fixture
def study(finished):
    """The finished study's files, put back as they were."""
    yield finished / "study.yaml"
    write_study(finished, tiny_study(), TINY_ROWS)


@pytest.mark.parametrize(
    "section, change, rules",
    [
        ("report", {"dpi": 60}, {"report"}),
        ("tabulate", {"digits": 2}, {"tabulate", "report"}),
        ("score", {"block_px": 64}, {"score", "tabulate", "report"}),
        ("strata", {"height_m": [3.0]}, BELOW_STRATA),
        # how many jobs there are is told by `check`
        ("deliver", {}, {"deliver"} | BELOW_CHECK),
        ("bundle", {}, {"bundle"} | BELOW_CHECK),
        ("export", {}, {"bundle", "export"} | BELOW_CHECK),
        ("predict", {"overlap": 0.5}, {"predict", "score", "tabulate", "report"}),
        # what a run needs of memory and of disk is told by `check`
        ("predict", {"window": 96}, {"check", "predict", "score", "tabulate", "report"}),
        ("train", {"lr": 0.001}, BELOW_TRAIN),
        ("depth", {"overlap": 0.5}, {"check", "depth"} | BELOW_TRAIN),
        ("adapt", {"lr": 0.01}, {"adapt", "depth"} | BELOW_TRAIN),
        ("stretch", {"limits": [[0, 200]]}, {"check"} | BELOW_STRETCH),
        ("stretch", {"percentiles": [2, 98]}, {"check"} | BELOW_STRETCH),
        # no scene of this study is divided
        ("split", {"seed": 1}, BELOW_CHECK),
        ("check", {"distance": 5.0}, BELOW_CHECK),
        ("tile", {"chunk": 64}, {"check"} | BELOW_TILE),
        ("synthesize", {"seed": 1}, {"synthesize", "check"} | BELOW_TILE),
    ],
)
def test_a_key_makes_its_stage_and_what_follows_stale(study, source, section, change, rules):
    config = tiny_study()
    config[section] = config.get(section, {}) | change
    study.write_text(yaml.safe_dump(config, sort_keys=False))
    assert set(stale(source, study)) == rules


def test_a_new_experiment_leaves_the_others_alone(study, source):
    config = tiny_study()
    config["experiments"]["detached"] = {"seeds": [0], "train": {"network": {"detach_depth": True}}}
    study.write_text(yaml.safe_dump(config, sort_keys=False))
    assert stale(source, study) == dict.fromkeys({"check"} | BELOW_TRAIN, 1)


def test_a_licence_that_is_stated_is_looked_at_and_fetches_and_trains_nothing(study, source):
    config = tiny_study()
    config["fetch"]["models"]["tiny-depth-anything"]["license"] = "MIT"
    study.write_text(yaml.safe_dump(config, sort_keys=False))
    assert set(stale(source, study)) == BELOW_CHECK


def test_a_new_test_scene_leaves_the_trainings_alone(study, source):
    write_study(study.parent, tiny_study(), [*TINY_ROWS, row("orchard", "test")])
    once = dict.fromkeys(("synthesize", "check", "tile", "strata", "tabulate", "report"), 1)
    # by the teacher and by elevation; by either experiment
    assert stale(source, study) == once | {"depth": 2, "predict": 2, "score": 2}


def test_a_new_training_scene_leaves_the_tiles_and_maps_of_the_others_to_the_trainings(
    study, source
):
    write_study(study.parent, tiny_study(), [*TINY_ROWS, row("orchard", "train")])
    once = dict.fromkeys(("synthesize", "check", "tile", "adapt", "tabulate", "report"), 1)
    # by the adapted teacher the old scenes too, by elevation the new one alone
    twice = dict.fromkeys(("train", "predict", "score"), 2)
    assert stale(source, study) == once | twice | {"depth": 4}


# of the one test scene: by the teacher and by elevation; by either experiment
OF_HARBOUR = dict.fromkeys(("tile", "strata", *BELOW_CHECK), 1)
OF_HARBOUR |= dict.fromkeys(("depth", "predict", "score"), 2)


def test_a_changed_label_file_makes_stale_its_own_scene_alone(study, source):
    labels = study.parent / "results" / "synthesize" / "harbour" / "labels.tif"
    before = labels.read_bytes()
    with rasterio.open(labels, "r+") as target:
        values = target.read(1)
        values[0, 0] = 6 - values[0, 0]
        target.write(values, 1)
    try:
        found = stale(source, study)
    finally:
        labels.write_bytes(before)
    assert found == OF_HARBOUR


def test_a_scene_whose_columns_are_exchanged_is_tiled_anew(study, source):
    """The files are the same, and what they are said to be is not."""
    image, labels, elevation = (f"harbour/{name}.tif" for name in ("image", "labels", "elevation"))
    exchanged = "\t".join(["harbour", image, elevation, labels, "test"])
    write_study(study.parent, tiny_study(), [TINY_ROWS[0], exchanged])
    assert stale(source, study) == OF_HARBOUR


def test_a_scene_that_becomes_a_pattern_is_tiled_anew(study, source):
    """The file is the same, and its maps go into a folder."""
    pattern = row("harbour", "test").replace("harbour/", "harb*r/")
    write_study(study.parent, tiny_study(), [TINY_ROWS[0], pattern])
    expected = OF_HARBOUR | {"predict_folder": 2}
    del expected["predict"]
    assert stale(source, study) == expected


def test_a_scene_that_is_divided_is_not_tiled_anew(study, source):
    write_study(study.parent, tiny_study(), [TINY_ROWS[0], row("harbour", "blocks")])
    once = dict.fromkeys({"split", "adapt"} | BELOW_CHECK, 1)
    # its depth by the adapted teacher changes, as that of the other scene
    twice = dict.fromkeys(("depth", "train", "predict", "score"), 2)
    assert stale(source, study) == once | twice


def test_another_order_of_the_table_trains_nothing_anew(study, source):
    write_study(study.parent, tiny_study(), TINY_ROWS[::-1])
    assert set(stale(source, study)) == BELOW_CHECK


def test_a_study_that_is_moved_computes_nothing_anew(finished, source, tmp_path):
    moved = shutil.copytree(finished, tmp_path / "moved")  # with the times of its files
    assert set(stale(source, moved / "study.yaml")) == BELOW_CHECK


@pytest.mark.parametrize(
    "module, old, new, rules",
    [
        ("train", '"""Train one', '"""Teach one', set()),
        (
            "models/decoder",
            "max(32, channels // 2)",
            "max(16, channels // 2)",
            {"check"} | BELOW_TRAIN,
        ),
        ("training/losses", "SIGMA, REACH = 1.5", "SIGMA, REACH = 2.5", BELOW_LOSSES),
        ("rasters/windows", "max(1, int(size", "max(2, int(size", BELOW_RASTERS),
        ("rasters/blending", "np.hanning(size", "np.hamming(size", {"depth"} | BELOW_TRAIN),
        ("rasters/align", "ROUNDS = 12", "ROUNDS = 13", {"depth"} | BELOW_TRAIN),
        ("rasters/terrain", "STEP_M = 0.5", "STEP_M = 0.6", BELOW_READERS),
        ("rasters/splits", "DRAWS = 2000", "DRAWS = 200", BELOW_SPLITS),
        ("stretch", "SAMPLE = 8_000_000", "SAMPLE = 9_000_000", BELOW_STRETCH),
        ("split", "PANEL_PX = 512", "PANEL_PX = 256", set()),
        ("rasters/shadow", "LEVELS = 256", "LEVELS = 128", BELOW_STRATA),
        ("metrics/counting", "LEVELS = 101", "LEVELS = 102", BELOW_STRATA - {"strata"}),
        ("metrics/bootstrap", "RESAMPLES = 2000", "RESAMPLES = 999", {"tabulate", "report"}),
        ("inspection/leaks", "ALIKE = 0.45", "ALIKE = 0.46", BELOW_CHECK),
        ("tabulate", '"miou", "kappa", "oa"', '"miou", "oa", "kappa"', {"tabulate", "report"}),
    ],
)
def test_code_makes_stale_what_runs_it_and_words_do_not(finished, source, module, old, new, rules):
    file = source / "pipeline_steps" / f"{module}.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    try:
        found = stale(source, finished / "study.yaml")
    finally:
        file.write_text(text)
    assert set(found) == rules
