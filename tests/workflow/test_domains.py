"""A study of two domains: who learns from which, what an edit makes stale, and the table."""

import json
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.data.studies import ROOT, snakemake, stale, tiny_study

pytestmark = pytest.mark.slow

LOW = [1, 2, 3, 5, 6]
SPLITS = {"east": "train", "harbour": "test"}, {"orchard": "train", "market": "test"}
"""Scenes of the domain `near`, which knows what is low, and of `far`, which knows what else is."""


SCENE = r"results/(?:tile|depth/[\w-]+)/(\w+)/"
NO_DEPTH = {"network": {"prompter": False}}


def written(folder, train=NO_DEPTH):
    """Write the study: a grid over both domains."""
    near, far = "near", "far"
    config = tiny_study() | {
        "classes": [
            {"name": "tall", "value": [0, 4], "color": "#c8372d"},
            {"name": "low", "value": LOW, "color": "#7dbe50"},
            {"name": "other", "color": "#3264c8"},
        ],
        "domains": {
            far: {"classes": [{"name": "tall", "value": 0}, {"name": "other", "value": [4, *LOW]}]}
        },
        "tabulate": {"crosswalk": {"tall": ["tall"], "rest": ["low", "other"]}},
        "experiments": {
            "across": {
                "seeds": [0],
                "train": train,
                "grid": {"source": [near, far]},
            }
        },
    }
    rows = [
        "\t".join([scene, *(f"{scene}/{layer}.tif" for layer in ("image", "labels")), name, split])
        for name, scenes in zip((near, far), SPLITS, strict=True)
        for scene, split in scenes.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    head = "scene\timage\tlabels\tdomain\tsplit"
    (folder / "scenes.tsv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder / "study.yaml"


def test_an_experiment_has_only_the_training_scenes_of_its_domains_as_inputs(tmp_path):
    train = {"teacher": "tiny-depth-anything"}
    done = snakemake(ROOT, written(tmp_path, train), "-n", "-p")
    assert done.returncode == 0, done.stderr

    jobs = re.split(r"\n(?=rule |localrule )", done.stdout)
    inputs = {
        re.search(r"experiment=([\w-]+)", job)[1]: set(re.findall(SCENE, job))
        for job in jobs
        if job.startswith("rule train:")
    }
    assert inputs == {"across-near": {"east"}, "across-far": {"orchard"}}
    tested = re.findall(r"results/score/(across-\w+)/seed-0/(\w+)\.json", done.stdout)
    assert set(tested) == {(name, scene) for name in inputs for scene in ("harbour", "market")}


def test_what_a_study_of_domains_costs_is_counted_job_by_job(tmp_path):
    train = {"teacher": "tiny-depth-anything"}
    done = snakemake(ROOT, written(tmp_path, train), "-n", "-p")

    (planned,) = re.findall(r'--plan-from .*?"jobs": (\d+)', done.stdout)
    assert set(re.findall(r"^total +(\d+)$", done.stdout, re.MULTILINE)) == {planned}


@pytest.fixture(scope="module")
def crossed(tmp_path_factory, source):
    study = written(tmp_path_factory.mktemp("crossed"))
    done = snakemake(source, study)
    assert done.returncode == 0, done.stderr
    return study


def iou_of_tall_and_rest(matrix):
    tall, *rest = np.array(matrix)
    missed, wrong, right = tall[1:].sum(), np.sum(rest, axis=0)[0], np.sum(rest, axis=0)[1:].sum()
    return tall[0] / (tall[0] + missed + wrong), right / (right + missed + wrong)


def test_the_table_of_transfer_has_a_row_for_each_source_and_a_figure(crossed):
    results = crossed.parent / "results"
    table = pd.read_csv(results / "tabulate" / "transfer.csv").set_index("source")

    assert list(table.index) == ["near", "far"]
    assert set(table["system"]) == {"across"} and (table["seeds"] == 1).all()
    for source, domain, scene in product(("near", "far"), ("near", "far"), ("harbour", "market")):
        if scene in SPLITS[domain == "far"]:
            counts = results / "score" / f"across-{source}" / "seed-0" / f"{scene}.json"
            expected = iou_of_tall_and_rest(json.loads(counts.read_text())["strata"]["all"])
            assert table.loc[source, f"miou_{domain}"] == pytest.approx(np.mean(expected))
    for mine, other in (("near", "far"), ("far", "near")):
        lost = table.loc[other, f"miou_{other}"] - table.loc[mine, f"miou_{other}"]
        assert table.loc[mine, "drop"] == pytest.approx(lost)
    assert (results / "report" / "figures" / "transfer.png").is_file()
    assert {f"transfer.{kind}" for kind in ("md", "tex", "html")} <= {
        file.name for file in (results / "tabulate").iterdir()
    }
    assert "transfer" in (results / "report" / "index.html").read_text()


def test_nothing_is_stale_after_a_study_of_domains(crossed, source):
    assert stale(source, crossed) == {}


def test_other_values_of_a_domain_touch_its_scenes_and_what_hangs_on_them(crossed, source):
    before, config = crossed.read_text(), yaml.safe_load(crossed.read_text())
    tall, other = config["domains"]["far"]["classes"]
    tall["value"], other["value"] = [0, 4], LOW
    crossed.write_text(yaml.safe_dump(config, sort_keys=False))
    try:
        found = stale(source, crossed)
    finally:
        crossed.write_text(before)

    # of the four maps, that of `near` by what learned from `near` stays
    once = dict.fromkeys(("check", "train", "strata", "gather", "tabulate", "report"), 1)
    assert found == once | {"tile": 2, "predict": 3, "score": 3}


def test_another_crosswalk_makes_the_tables_anew_and_no_score(crossed, source):
    before, config = crossed.read_text(), yaml.safe_load(crossed.read_text())
    config["tabulate"]["crosswalk"] = {"all": ["tall", "low", "other"]}
    crossed.write_text(yaml.safe_dump(config, sort_keys=False))
    try:
        assert stale(source, crossed) == {"tabulate": 1, "report": 1}
    finally:
        crossed.write_text(before)
