"""The second system as a study has it: beside the first, from scenes to tables and a new image."""

import json

import pandas as pd
import pytest
import rasterio

from tests.data.studies import TINY_ROWS, snakemake, stale, tiny_study, write_study

pytestmark = pytest.mark.slow

FORGE = {
    "model": "depthforge",
    **{"token_count": 8, "rank": 4, "width": 64, "layers": 2, "pixel_layers": 1, "heads": 2},
    "points": 64,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory, source):
    """Both systems and the second without depth, on the same crops, run to the end."""
    config = tiny_study()
    encoder = config["train"]["network"]["encoder"] | {"taps": [0, 1, 2, 3]}
    teacher = next(iter(config["fetch"]["models"]))
    learner = {"class_weights": "none", "teacher": teacher}
    config["experiments"] = {"depthseg": {"seeds": [0]}} | {
        name: {
            "seeds": [0],
            "train": learner | {"network": FORGE | {"encoder": encoder, "tokens": tokens}},
        }
        for name, tokens in {"depthforge": "shared", "tokens": "plain"}.items()
    }
    config["bundle"] = {}
    file = write_study(tmp_path_factory.mktemp("both systems"), config, TINY_ROWS)
    done = snakemake(source, file)
    assert done.returncode == 0, done.stderr
    return file


def test_both_systems_stand_in_one_table_and_no_depth_is_made_for_the_second(study):
    results = study.parent / "results"

    table = pd.read_csv(results / "tabulate" / "overall.csv").set_index("experiment")
    assert list(table.index) == ["depthseg", "depthforge", "tokens"]
    assert table["miou"].between(0, 1).all()
    # DepthSeg's teacher has learned from elevation; DepthForge looks with the one that was fetched
    assert len(list((results / "depth").iterdir())) == 1
    facts = json.loads((results / "train/depthforge/seed-0/manifest.json").read_text())
    assert any("fetch/" in path for path in facts["made_from"])
    assert not any("depth/" in path for path in facts["made_from"])
    assert (results / "report" / "index.html").is_file()


def test_another_setting_of_the_second_leaves_the_first_alone(study, source):
    before = study.read_text()
    study.write_text(before.replace("token_count: 8", "token_count: 9"))
    try:
        found = stale(source, study)
    finally:
        study.write_text(before)

    assert {found[rule] for rule in ("train", "bundle", "predict", "score")} == {2}


def test_what_it_learned_maps_a_new_image_elsewhere(study, source):
    results = study.parent / "results"
    image = results / "synthesize" / "east" / "image.tif"
    bundle = results / "bundle" / "depthforge" / "seed-0"

    asked = ["--config", f"image={image}", f"checkpoint={bundle}", "out=mapped"]
    done = snakemake(source, study, "map", *asked)

    assert done.returncode == 0, done.stderr
    with (
        rasterio.open(study.parent / "mapped" / "classes.tif") as made,
        rasterio.open(image) as given,
    ):
        assert (made.shape, made.crs) == (given.shape, given.crs)
