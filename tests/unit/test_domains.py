"""What domains promise: each is read in its own way, learned from by choice, and compared."""

import json

import pytest
import yaml

from pipeline_steps.study.config import load
from pipeline_steps.study.docs import MANUAL
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.params.base import as_json
from pipeline_steps.study.paths import Paths

HEADER = "scene\timage\tlabels\tdomain\tsplit"
ROWS = (
    "d1\td1.tif\tl.tif\tdubai\ttrain",
    "d2\td2.tif\tl.tif\tdubai\ttest",
    "k1\tk1.tif\tl.tif\tkampala\ttrain",
    "k2\tk2.tif\tl.tif\tkampala\ttest",
)
STUDY = {
    "scenes": "scenes.tsv",
    "classes": [
        {"name": "building", "rgb": [60, 16, 152]},
        {"name": "road", "rgb": [110, 193, 228]},
        {"name": "other", "color": "#808080"},
    ],
    "tile": {"ignore_labels": [[155, 155, 155]], "label_tolerance": 4},
    "domains": {
        "kampala": {
            "classes": [{"name": "other", "value": 0}, {"name": "building", "value": [1, 2]}],
            "tile": {"ignore_labels": [9]},
        }
    },
    "train": {"network": {"prompter": False}},
    "experiments": {"both": {}, "x": {"grid": {"source": ["dubai", "kampala"]}}},
}


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A function that loads the study with sections changed, and the rows of its table."""
    monkeypatch.chdir(tmp_path)
    for name in ("d1", "d2", "d3", "k1", "k2", "l"):
        (tmp_path / f"{name}.tif").write_text("")

    def loaded(*rows, header=HEADER, **sections):
        (tmp_path / "scenes.tsv").write_text("\n".join([header, *(rows or ROWS)]) + "\n")
        study = STUDY | sections
        (tmp_path / "study.yaml").write_text(json.dumps(study))
        return load(study, [str(tmp_path / "study.yaml")])

    return loaded


def refused(make, *rows, **sections):
    with pytest.raises(StudyError) as caught:
        make(*rows, **sections)
    text = str(caught.value)
    assert "\n" not in text
    return text


# How they are read


def test_a_domain_is_read_by_its_own_labels_in_the_order_of_the_studys_classes(make):
    found = make()

    ours, theirs = (found.reading(scene) for scene in ("d1", "k2"))
    assert [one.name for one in theirs.classes] == ["building", "road", "other"]
    assert [one.keys for one in theirs.classes] == [(1, 2), (), (0,)]
    assert [one.keys for one in ours.classes] == [((60, 16, 152),), ((110, 193, 228),), ()]
    assert theirs.tile.ignore_labels == (9,) and theirs.tile.label_tolerance == 4
    assert ours.tile == found.config.tile


def test_without_domains_all_scenes_are_read_as_the_study_says(make):
    rows = [row.replace("dubai", "").replace("kampala", "") for row in ROWS]
    classes = STUDY["classes"][:2]
    found = make(*rows, classes=classes, domains={}, experiments={"both": {}})

    assert found.readings.keys() == {""}
    assert found.reading("k1").classes == tuple(one.code for one in found.config.classes)
    assert found.reading("k1").tile == found.config.tile
    assert Paths(found).transfer().targets == Paths(found).transfer().learners == ()


def test_an_edit_of_one_domain_leaves_what_other_scenes_are_tiled_by(make):
    before = make()
    kampala = {"classes": [{"name": "other", "value": 5}, {"name": "building", "value": 6}]}
    after = make(domains={"kampala": kampala | {"tile": {"ignore_labels": []}}})

    said = [[as_json(one.reading(scene)) for scene in ("d1", "k1")] for one in (before, after)]
    assert said[0][0] == said[1][0] and said[0][1] != said[1][1]


BUILDING, OTHER = {"name": "building", "value": 1}, {"name": "other", "value": 0}


@pytest.mark.parametrize(
    "sections, words",
    [
        (
            {"domains": {"kampalla": {"classes": [BUILDING, OTHER]}}},
            "domains has 'kampalla', expected domains of the scenes: dubai, kampala",
        ),
        (
            {"domains": {"kampala": {"classes": [BUILDING, OTHER | {"name": "othr"}]}}},
            "domains.kampala.classes: has 'othr', expected one of building, road, other",
        ),
        (
            {"domains": {"kampala": {"classes": [BUILDING, {"name": "other"}]}}},
            "domains.kampala.classes: 'other' has no label, expected value or rgb",
        ),
        (
            {"domains": {"kampala": {"classes": [BUILDING]}}},
            "class 'other': has no label, expected value or rgb here or in a domain",
        ),
        (
            {"domains": {"kampala": {"classes": [BUILDING, OTHER | {"value": 1}]}}},
            "domains.kampala.classes: a value or rgb stands twice, expected each label once",
        ),
        (
            {"domains": {"kampala": {"classes": [BUILDING, OTHER]}}},
            "domains.kampala.tile.ignore_labels: expected values, as in classes",
        ),
        (
            {
                "domains": {
                    "kampala": {"classes": [BUILDING, OTHER], "tile": {"ignore_labels": [1]}}
                }
            },
            "domains.kampala.tile.ignore_labels: names a label of the classes, expected others",
        ),
        (
            {"domains": STUDY["domains"] | {"dubai": {"tile": {"bands": [3, 2, 1]}}}},
            "domains.dubai.tile has 'bands', expected keys that domains do not share, as they do",
        ),
        (
            {"domains": STUDY["domains"] | {"dubai": {"tile": {"crsz": "EPSG:32633"}}}},
            "domains.dubai.tile.crsz is not a key, expected one of those",
        ),
        (
            {"domains": STUDY["domains"] | {"dubai": {"tile": {"label_tolerance": "3"}}}},
            "domains.dubai.tile.label_tolerance is '3', expected integer",
        ),
        (
            {"experiments": {"a": {"train": {"domains": ["dubia"]}}}},
            "experiments.a.train.domains has 'dubia', expected domains with a training scene:"
            " dubai, kampala",
        ),
        (
            {"experiments": {"a": {"train": {"domains": ["dubai", "dubai"]}}}},
            "experiments.a.train: domains is ['dubai', 'dubai'], expected each domain once",
        ),
        (
            {"experiments": {"a": {"grid": {"source": ["dubia"]}}}},
            "experiments.a.grid.source has 'dubia', expected one of dubai, kampala",
        ),
        (
            {"tabulate": {"crosswalk": {"a": ["building"], "b": ["road"]}}},
            "tabulate.crosswalk: has 'other' 0 times, expected every class once",
        ),
        (
            {"tabulate": {"crosswalk": {"a": ["building", "road"], "b": ["road", "other"]}}},
            "tabulate.crosswalk: has 'road' 2 times, expected every class once",
        ),
        (
            {"tabulate": {"crosswalk": {"a": ["bilding", "road"], "b": ["other"]}}},
            "tabulate.crosswalk: has 'bilding', expected classes: building, road, other",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_that_names_the_study(make, sections, words):
    text = refused(make, **sections)

    assert "study.yaml: " in text
    assert text.partition("study.yaml: ")[2].startswith(words)


def test_a_domain_without_a_training_scene_cannot_be_learned_from(make):
    rows = [*ROWS[:2], ROWS[2].replace("train", "val"), ROWS[3]]

    text = refused(make, *rows)

    assert text.endswith(
        "experiments.x-kampala.train.domains has 'kampala', expected domains with a training"
        " scene: dubai"
    )


def test_without_a_column_no_domain_can_be_learned_from(make):
    rows = [row.replace("\tdubai", "").replace("\tkampala", "") for row in ROWS]
    bare = {"header": HEADER.replace("\tdomain", ""), "classes": STUDY["classes"][:2]}
    bare["domains"] = {}

    text = refused(make, *rows, experiments={"a": {"train": {"domains": ["dubai"]}}}, **bare)
    assert text.endswith("expected domains with a training scene: there is none")
    text = refused(make, *rows, experiments={"a": {"grid": {"source": ["dubai"]}}}, **bare)
    assert "experiments.a.grid has axis 'source', expected one of" in text


def test_every_fold_has_a_training_scene_of_the_domains(make):
    rows = [ROWS[0].replace("train", "folds"), *(r.replace("test", "folds") for r in ROWS[2:])]
    rows[1] = rows[1].replace("train", "folds")

    text = refused(make, *rows, split={"folds": 2}, experiments={"a": STUDY["experiments"]["x"]})

    assert "has no training scene of domain dubai, expected one, since experiment 'a-dubai'" in text


def test_the_example_of_the_manual_is_a_study(make):
    _, _, after = MANUAL.read_text(encoding="utf-8").partition("Dubai has five classes")
    example = yaml.safe_load(after.split("```")[1].removeprefix("yaml"))

    found = make(**example)

    keys = [[one.keys for one in found.reading(scene).classes] for scene in ("d1", "k1")]
    assert keys[0][5] == () and all(keys[0][:5])
    assert keys[1] == [(), (), (), (1,), (), (0,)]
    assert list(found.trainings) == ["across-dubai", "across-kampala"]


# Who learns from which


def test_an_experiment_learns_from_the_scenes_of_its_domains_and_is_tested_on_all(make):
    found = make(*ROWS, "d3\td3.tif\tl.tif\tdubai\tval")

    seen = {name: found.seen(name, "train", "val") for name in found.trainings}
    assert seen == {"both": ["d1", "k1", "d3"], "x-dubai": ["d1", "d3"], "x-kampala": ["k1"]}
    scored = [
        f"results/score/{name}/seed-2/{scene}.json" for name in seen for scene in ("d2", "k2")
    ]
    assert set(scored) < set(Paths(found).counts())


def test_patience_wants_a_scene_to_watch_in_the_domains_that_are_learned_from(make):
    rows = [*ROWS, "d3\td3.tif\tl.tif\tdubai\tval"]
    train = STUDY["train"] | {"patience": 3}
    make(*rows, train=train | {"domains": ["dubai"]}, experiments={"a": {}})

    text = refused(make, *rows, train=train | {"domains": ["kampala"]}, experiments={"a": {}})
    assert "no scene has ground for validation" in text


def test_an_axis_source_of_ones_own_lies_beside_the_domains(make):
    variants = {"source": {"all": {"domains": ["dubai", "kampala"]}}}
    grid = {"x": {"grid": {"source": ["dubai", "all"]}}}

    found = make(experiments=grid, variants=variants).trainings

    assert found["x-dubai"].domains == ("dubai",)
    assert found["x-all"].domains == ("dubai", "kampala")


# What a reader of scores must know


def learners(found):
    return {one.experiment: one for one in Paths(found).transfer().learners}


def test_targets_are_the_domains_that_are_tested_with_the_classes_they_tell_apart(make):
    found = Paths(make()).transfer().targets

    assert [(one.domain, one.scenes, one.classes) for one in found] == [
        ("dubai", ("d2",), ("building", "road")),
        ("kampala", ("k2",), ("building", "other")),
    ]


def test_who_is_at_home_has_the_same_settings_but_for_the_domains(make):
    grid = {"grid": {"source": ["dubai", "kampala"], "parts": ["neither", "adapter"]}}
    found = learners(make(experiments={"g": grid, "slow": {"train": {"lr": 0.5}}}))

    for parts in ("neither", "adapter"):
        home = {name: f"g-{name}-{parts}" for name in ("dubai", "kampala")}
        for name in home:
            one = found[home[name]]
            assert (one.source, one.system, one.at_home) == ((name,), f"g-{parts}", home)
    slow = found["slow"]
    assert (slow.source, slow.system, slow.at_home) == (("dubai", "kampala"), "slow", {})


def test_who_learns_from_the_only_domain_with_training_scenes_is_at_home_there(make):
    rows = [*ROWS[:2], ROWS[3]]

    (one,) = learners(make(*rows, experiments={"all": {}})).values()

    assert (one.source, one.at_home) == (("dubai",), {"dubai": "all"})


def test_an_ensemble_has_learned_from_the_domains_of_its_members_and_is_nowhere_at_home(make):
    found = learners(make(ensembles={"mean": ["x-kampala", "x-dubai"]}))

    assert found["mean"].source == ("kampala", "dubai")
    assert (found["mean"].system, found["mean"].at_home) == ("mean", {})
