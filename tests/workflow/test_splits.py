"""Studies whose scenes are divided, run to their end: blocks of a scene, and folds."""

import json
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml

from pipeline_steps.study.manifest import digest_of
from tests.data.studies import row, snakemake, stale, tiny_study, write_study

pytestmark = pytest.mark.slow

CLASSES = [
    {"name": "tall", "value": [0, 4], "color": "#c8372d"},
    {"name": "low", "value": [1, 2, 3, 5, 6], "color": "#7dbe50"},
]
"""Classes that every block of a town has."""

BLOCKS = {"size": 32, "buffer": 8, "unit": "pixels"}
NO_DEPTH = {"network": {"prompter": False}}


def divided_study(experiments, **split):
    chosen = {"classes": CLASSES, "split": BLOCKS | split, "experiments": experiments}
    return tiny_study() | chosen


def ran(folder, source, config, rows):
    study = write_study(folder, config, rows)
    done = snakemake(source, study)
    assert done.returncode == 0, done.stderr
    return study


def read(study, *path):
    return json.loads((study.parent / "results").joinpath(*path).read_text())


def table(study, name):
    return pd.read_csv(study.parent / "results" / "tabulate" / f"{name}.csv")


def changed(study, change):
    """Write the study with one change of its config; what it was comes back."""
    config = yaml.safe_load(study.read_text())
    change(config)
    before = study.read_text()
    study.write_text(yaml.safe_dump(config, sort_keys=False))
    return before


def stale_after(source, study, change):
    before = changed(study, change)
    try:
        return stale(source, study)
    finally:
        study.write_text(before)


# One scene in blocks: learned from, watched and tested


@pytest.fixture(scope="module")
def blocks(tmp_path_factory, source):
    """A study of one scene in nine blocks, whose teacher is adapted, and which is corrupted."""
    config = divided_study({"depthseg": {"seeds": [0]}})
    config["corrupt"] = {"kinds": ["haze", "sun", "noise"], "severities": [1, 5]}
    return ran(tmp_path_factory.mktemp("blocks"), source, config, [row("east", "blocks")])


def test_blocks_of_one_scene_are_learned_from_watched_and_tested(blocks):
    division = read(blocks, "split", "east", "manifest.json")
    (raster,) = division["rasters"]
    codes = np.array(raster["codes"])
    assert codes.shape == (3, 3) and set(codes.ravel()) == {0, 1, 2}
    counts = {part: sum(found) for part, found in division["label_counts"].items()}
    assert counts.keys() == {"train", "val", "test"} and min(counts.values()) > 0
    assert sum(counts.values()) < 96 * 96  # the buffer is nobody's

    history = pd.read_csv(blocks.parent / "results/train/depthseg/seed-0/history.csv")
    assert history["val_cross_entropy"].notna().all()
    matrix = np.array(read(blocks, "score/depthseg/seed-0/east.json")["strata"]["all"])
    assert matrix.sum(axis=1).tolist() == division["label_counts"]["test"]
    model = read(blocks, "train/depthseg/seed-0/manifest.json")
    assert model["label_counts"] == division["label_counts"]["train"]


def test_the_map_of_a_divided_scene_is_of_the_whole_scene(blocks):
    path = blocks.parent / "results/predict/depthseg/seed-0/east/classes.tif"
    with rasterio.open(path) as found:
        assert found.shape == (96, 96)
        assert (found.read(1) < 2).all()


def test_the_tables_and_the_report_tell_how_the_scene_is_divided(blocks):
    results = blocks.parent / "results"
    note = (results / "tabulate" / "overall.md").read_text()
    # eight pixels of two metres on the map's plane
    metres = read(blocks, "split/east/manifest.json")["nearest_m"]
    assert metres == pytest.approx(16, rel=1e-2)
    assert f"east: blocks of training and test at least {metres:.4g} m apart" in note
    for kind in ("png", "pdf"):
        assert (results / "report" / "figures" / f"split_east.{kind}").stat().st_size > 5000
    assert "split east: How a scene was divided" in (results / "report/index.html").read_text()


def test_the_tested_blocks_of_a_corrupted_scene_are_counted_and_shown(blocks):
    tested = read(blocks, "split", "east", "manifest.json")["label_counts"]["test"]
    kinds = read(blocks, "corrupt/depthseg/seed-0/east.json")["kinds"]
    assert list(kinds) == ["haze", "sun", "noise"]
    for matrix in (matrix for of in kinds.values() for matrix in of.values()):
        assert np.array(matrix).sum(axis=1).tolist() == tested
    found = table(blocks, "corruptions")
    assert list(found["kind"]) == list(kinds)
    overall = table(blocks, "overall")["miou"].item()
    assert found["miou_clean"].to_list() == pytest.approx([overall] * 3)
    figures = blocks.parent / "results" / "report" / "figures"
    for name in ("corruptions", "corrupted"):
        assert (figures / f"{name}.png").stat().st_size > 10_000
    assert not list((blocks.parent / "results").rglob("*partial*"))


def test_nothing_is_stale_after_a_study_of_blocks(blocks, source):
    assert stale(source, blocks) == {}


def test_another_division_is_learned_anew_and_tiled_no_more(blocks, source):
    found = stale_after(source, blocks, lambda config: config["split"].update(seed=1))

    stages = "split check adapt depth train predict score corrupt gather tabulate report"
    assert found == dict.fromkeys(stages.split(), 1)


def test_other_severities_are_counted_anew_and_nothing_else_is(blocks, source):
    found = stale_after(source, blocks, lambda config: config["corrupt"].update(severities=[2]))

    assert found == dict.fromkeys(("corrupt", "gather", "tabulate", "report"), 1)


def test_other_maps_beside_the_classes_matter_to_no_corrupted_scene(blocks, source):
    change = {"outputs": ["confidence", "entropy"]}
    found = stale_after(source, blocks, lambda config: config["predict"].update(change))

    assert "score" in found and "corrupt" not in found


# Folds: each scene and each block is tested once


SEEDS = (0, 1)


@pytest.fixture(scope="module")
def folds(tmp_path_factory, source):
    """A study of two folds over two whole scenes and one in blocks, with two seeds."""
    config = divided_study({"plain": {"seeds": list(SEEDS), "train": NO_DEPTH}}, folds=2)
    rows = [row("east", "folds"), row("harbour", "folds"), row("orchard", "blocks")]
    return ran(tmp_path_factory.mktemp("folds"), source, config, rows)


def scored(study):
    """Return matrices by seed, fold and scene."""
    files = sorted((study.parent / "results" / "score" / "plain").glob("*/*.json"))
    found = [json.loads(file.read_text()) for file in files]
    return {(f["seed"], f["fold"], f["scene"]): np.array(f["strata"]["all"]) for f in found}


def test_every_scene_is_tested_in_one_fold_of_each_seed_and_a_divided_one_in_all(folds):
    tested = defaultdict(set)
    for seed, fold, scene in scored(folds):
        tested[scene].add((seed, fold))

    runs = {(seed, fold) for seed in SEEDS for fold in range(2)}
    assert tested.keys() == {"east", "harbour", "orchard"}
    assert tested["orchard"] == runs
    assert tested["east"] | tested["harbour"] == runs and not tested["east"] & tested["harbour"]
    assert {seed for seed, _ in tested["east"]} == {seed for seed, _ in tested["harbour"]} == {0, 1}


def test_no_training_has_seen_the_scene_that_it_is_tested_on(folds):
    results = folds.parent / "results"
    digest = {s: digest_of(results / "tile" / s / "manifest.json") for s in ("east", "harbour")}
    for seed, fold, scene in scored(folds):
        if scene == "orchard":
            continue
        model = read(folds, f"train/plain/seed-{seed}-fold-{fold}/manifest.json")
        assert model["run"] == {"seed": seed, "fold": fold}
        seen = set(model["made_from"].values())
        (other,) = digest.keys() - {scene}
        assert digest[scene] not in seen and digest[other] in seen


def test_each_labelled_pixel_outside_the_buffer_is_tested_once_for_a_seed(folds):
    division = read(folds, "split/orchard/manifest.json")
    expected = sum(
        np.array(counts)
        for counts in (
            read(folds, "tile/east/manifest.json")["label_counts"],
            read(folds, "tile/harbour/manifest.json")["label_counts"],
            division["label_counts"]["test-0"],
            division["label_counts"]["test-1"],
        )
    )

    found = scored(folds)

    for seed in SEEDS:
        pooled = sum(matrix for (of, *_), matrix in found.items() if of == seed)
        assert pooled.sum(axis=1).tolist() == expected.tolist()
    classes = table(folds, "classes")
    assert classes["support"].tolist() == expected.tolist()


def test_tables_pool_the_folds_of_a_seed_and_give_the_deviation_over_seeds(folds):
    found = scored(folds)
    each = []
    for seed in SEEDS:
        pooled = sum(matrix for (of, *_), matrix in found.items() if of == seed)
        each.append(np.trace(pooled) / pooled.sum())

    (overall,) = table(folds, "overall").to_dict("records")
    scenes = table(folds, "scenes")

    assert overall["seeds"] == 2
    assert overall["oa"] == pytest.approx(np.mean(each))
    assert overall["oa_sd"] == pytest.approx(np.std(each, ddof=1), abs=1e-12)
    assert scenes["scene"].tolist().count("orchard") == 1
    assert set(scenes["scene"]) == {"east", "harbour", "orchard"} and (scenes["seeds"] == 2).all()


def test_what_training_and_test_share_is_told_of_each_fold(folds):
    leaks = read(folds, "check/findings.json")["leaks"]
    assert [one["between"] for one in leaks] == [f"train and test of fold {n}" for n in range(2)]
    note = (folds.parent / "results" / "tabulate" / "overall.md").read_text()
    assert "train and test of fold 0: 0 m² shared" in note
    assert "train and test of fold 1: 0 m² shared" in note
    assert "orchard: blocks of training and test at least" in note


def test_every_tested_scene_has_one_figure_whatever_its_fold(folds):
    figures = folds.parent / "results" / "report" / "figures"
    scenes = {f"scene_{name}.png" for name in ("east", "harbour", "orchard")}
    names = ("split_orchard", "learning_curves", "networks_at_work", "overall", "reliability")
    names += ("classes", "confusion", "windows_plain")
    of_all = {f"{name}.png" for name in names}
    assert {file.name for file in figures.glob("*.png")} == scenes | of_all


def test_nothing_is_stale_after_a_study_of_folds(folds, source):
    assert stale(source, folds) == {}


def test_another_seed_is_trained_in_every_fold_and_leaves_the_others_alone(folds, source):
    seeds = [*SEEDS, 2]
    found = stale_after(
        source, folds, lambda config: config["experiments"]["plain"].update(seeds=seeds)
    )

    # in each fold a whole scene is tested, and the blocks of the third
    once = dict.fromkeys(("check", "gather", "tabulate", "report"), 1)
    assert found == once | {"train": 2, "predict": 4, "score": 4}


def test_other_folds_divide_and_train_anew_and_tile_no_more(folds, source):
    found = stale_after(source, folds, lambda config: config["split"].update(folds=3))

    stages = {"check", "split", "train", "predict", "score", "gather", "tabulate", "report"}
    assert found.keys() == stages
    assert (found["split"], found["train"]) == (1, 3 * len(SEEDS))
