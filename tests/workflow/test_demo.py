"""The tiny study through Snakemake: what it leaves, and what a change makes stale."""

import pandas as pd
import pytest
import rasterio
import yaml

from tests.data.studies import TINY_ROWS, row, stale, tiny_study, write_study

pytestmark = pytest.mark.slow

BELOW_TRAIN = {"train", "predict", "score", "tabulate", "report"}
BELOW_LOSSES = {"adapt", "depth"} | BELOW_TRAIN
BELOW_TILE = {"tile"} | BELOW_LOSSES
BELOW_RASTERS = {"synthesize", "check"} | BELOW_TILE


def test_ends_with_a_row_for_each_experiment(finished):
    overall = pd.read_csv(finished / "results" / "tabulate" / "overall.csv")
    assert list(overall["experiment"]) == ["depthseg", "elevation"]
    columns = "experiment seeds miou miou_sd kappa kappa_sd oa oa_sd"
    assert list(overall.columns) == columns.split()


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


def test_a_second_run_has_nothing_to_do(finished, source):
    assert stale(source, finished / "study.yaml") == {}


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
        ("score", {"boundary_px": 1}, {"score", "tabulate", "report"}),
        ("predict", {"overlap": 0.5}, {"predict", "score", "tabulate", "report"}),
        ("train", {"lr": 0.001}, BELOW_TRAIN),
        ("depth", {"overlap": 0.5}, {"depth"} | BELOW_TRAIN),
        ("adapt", {"lr": 0.01}, {"adapt", "depth"} | BELOW_TRAIN),
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
    assert stale(source, study) == dict.fromkeys(BELOW_TRAIN, 1)


def test_a_new_test_scene_leaves_the_trainings_alone(study, source):
    write_study(study.parent, tiny_study(), [*TINY_ROWS, row("orchard", "test")])
    once = dict.fromkeys(("synthesize", "check", "tile", "tabulate", "report"), 1)
    # by the teacher and by elevation; by either experiment
    assert stale(source, study) == once | {"depth": 2, "predict": 2, "score": 2}


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
    assert found["tile"] == 1
    assert "train" not in found
    assert {"check", "predict", "score", "tabulate", "report"} <= set(found)


@pytest.mark.parametrize(
    "module, old, new, rules",
    [
        ("train", '"""Train one', '"""Teach one', set()),
        ("models/depthseg", "max(32, channels // 2)", "max(16, channels // 2)", BELOW_TRAIN),
        ("training/losses", "SIGMA, REACH = 1.5", "SIGMA, REACH = 2.5", BELOW_LOSSES),
        ("rasters/windows", "np.hanning(size + 2)", "np.hamming(size + 2)", BELOW_RASTERS),
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
