"""A study of thousands of jobs: what is listed reaches a step, and names are still refused."""

import csv
import json

import pytest

from tests.data.studies import row, snakemake, tiny_study, write_study

pytestmark = pytest.mark.slow

EXPERIMENTS, SEEDS, SCENES = 4, 3, 250


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A study with 3000 maps, of which only what `gather` and `tabulate` read is there."""
    folder = tmp_path_factory.mktemp("large study")
    chosen = {
        f"plain-{n}": {"seeds": list(range(SEEDS)), "train": {"network": {"prompter": False}}}
        for n in range(EXPERIMENTS)
    }
    names = [f"scene-{number:04}" for number in range(SCENES)]
    config = tiny_study() | {"experiments": chosen, "data_root": str(folder / "data")}
    del config["synthesize"]
    for name in ("learned", *names):
        (folder / "data" / name).mkdir(parents=True)
        for layer in ("image", "labels", "elevation"):
            (folder / "data" / name / f"{layer}.tif").write_text("")
    rows = [row("learned", "train"), *(row(name, "test") for name in names)]
    return write_study(folder, config, rows)


def write(study, path, facts):
    file = study.parent / "results" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts))


def test_thousands_of_counts_reach_the_tables(large, source):
    classes = [one["name"] for one in tiny_study()["classes"]]
    matrix = [[int(a == b) for a in range(len(classes))] for b in range(len(classes))]
    write(large, "check/findings.json", {"leaks": []})
    for experiment in range(EXPERIMENTS):
        for seed in range(SEEDS):
            run = f"plain-{experiment}/seed-{seed}"
            write(large, f"train/{run}/manifest.json", {"parameters": {"encoder": [1, 1]}})
            for number in range(SCENES):
                counted = {"experiment": f"plain-{experiment}", "seed": seed, "fold": None}
                counted |= {"scene": f"scene-{number:04}", "classes": classes, "rims": None}
                counted |= {"confidence": None, "depth": None, "blocks": [{"counts": matrix}]}
                counted["strata"] = {"all": matrix}
                scene = f"score/{run}/scene-{number:04}"
                write(large, f"{scene}.json", counted)
                write(large, f"{scene}/manifest.json", {})

    # as a job of a cluster is started, which looks at no other rule
    done = snakemake(source, large, "--allowed-rules", "gather", "tabulate", "--", "tabulate")

    assert done.returncode == 0, done.stderr
    with (large.parent / "results" / "tabulate" / "scenes.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == EXPERIMENTS * SCENES
    assert {(one["seeds"], float(one["oa"])) for one in found} == {(str(SEEDS), 1.0)}


@pytest.mark.parametrize(
    "path", ["tile/{}/manifest.json", "predict/{}/classes.tif", "score/{}.json"]
)
def test_a_scene_that_the_table_has_not_is_refused_by_its_name(large, source, path):
    scene = "gone" if path.startswith("tile") else "plain-0/seed-0/gone"
    # of a row that the table once had
    write(large, "tile/gone/manifest.json" if scene != "gone" else "other.json", {})

    done = snakemake(source, large, "-n", "--", f"results/{path.format(scene)}")

    assert done.returncode != 0
    assert "has no scene 'gone', expected a row of it" in done.stdout + done.stderr


def test_a_name_that_is_none_reaches_no_shell(large, source):
    done = snakemake(source, large, "-n", "--", "results/tile/a; touch harm/manifest.json")

    assert done.returncode != 0 and "MissingRuleException" in done.stdout + done.stderr
