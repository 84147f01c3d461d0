"""What a study says of its teachers, each with settings of its own."""

import json

import pytest

from pipeline_steps.study.config import load
from pipeline_steps.study.errors import StudyError

HEADER = "scene\timage\tlabels\televation\tsplit"
ROWS = [
    "north\ta.tif\tl.tif\te.tif\ttrain",
    "bare\tb.tif\tl.tif\t\ttrain",
    "new\tc.tif\t\te.tif\tpredict",
    "south\td.tif\tl.tif\te.tif\ttest",
]


@pytest.fixture
def at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.tif", "b.tif", "c.tif", "d.tif", "l.tif", "e.tif"):
        (tmp_path / name).write_text("")
    (tmp_path / "scenes.tsv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    return tmp_path


def loaded(folder, **sections):
    config = {
        "scenes": "scenes.tsv",
        "classes": [
            {"name": "roof", "value": 0, "color": "#c8372d"},
            {"name": "road", "value": 1, "color": "#5a5a60"},
        ],
        "fetch": {"models": {"net": {"source": "owner/net"}, "other": {"source": "owner/other"}}},
        "train": {"teacher": "own"},
        "experiments": {"one": {}},
    } | sections
    file = folder / "study.yaml"
    file.write_text(json.dumps(config))
    return load(config, [str(file)])


def refused(folder, **sections):
    with pytest.raises(StudyError) as caught:
        loaded(folder, **sections)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder}/")


def test_a_teacher_sees_as_its_section_says_but_for_what_is_its_own(at):
    depth = {"window": 700, "batch": 2, "teachers": {"own": {"gsd": 1.0, "batch": 8}}}

    found = loaded(at, adapt={"teachers": {"own": "net"}}, depth=depth).teachers

    assert (found["own"].depth.window, found["own"].depth.batch) == (700, 8)
    assert found["own"].depth.gsd == 1.0
    assert (found["net"].depth.window, found["net"].depth.batch) == (700, 2)
    assert found["net"].depth.gsd is None
    assert found["elevation"].model is None


def test_what_is_said_of_one_teacher_is_no_part_of_another(at):
    teachers = {"own": {"batch": 8}, "net": {"batch": 3}}

    found = loaded(at, adapt={"teachers": {"own": "net"}}, depth={"teachers": teachers}).teachers

    # else a change of one would make the fields of the other stale
    assert found["own"].depth.teachers == {} == found["net"].depth.teachers
    assert found["own"].adapt.teachers == {}


def test_one_model_may_be_taught_in_many_ways(at):
    adapt = {"steps": 100, "teachers": {"own": "net", "long": {"base": "net", "steps": 900}}}

    found = loaded(at, adapt=adapt).teachers

    assert (found["own"].model, found["own"].adapt.steps) == ("net", 100)
    assert (found["long"].model, found["long"].adapt.steps) == ("net", 900)
    assert found["net"].adapt is None


@pytest.mark.parametrize("own, other", [("gsd", "resample"), ("resample", "gsd")])
def test_a_resolution_of_a_teacher_s_own_takes_the_place_of_the_section_s(at, own, other):
    adapt = {other: 0.5, "teachers": {"own": {"base": "net", own: 2.0}, "long": "net"}}
    depth = {other: 0.25, "teachers": {"own": {own: 4.0}, "net": {"batch": 8}}}

    found = loaded(at, adapt=adapt, depth=depth).teachers

    for seen, value in ((found["own"].adapt, 2.0), (found["own"].depth, 4.0)):
        assert (getattr(seen, own), getattr(seen, other)) == (value, None)
    for seen, value in ((found["long"].adapt, 0.5), (found["net"].depth, 0.25)):
        assert (getattr(seen, own), getattr(seen, other)) == (None, value)


def test_a_teacher_may_see_scenes_as_they_are_though_the_section_says_otherwise(at):
    depth = {"gsd": 0.5, "teachers": {"net": {"gsd": None}, "other": {"resample": None}}}

    found = loaded(at, adapt={"teachers": {"own": "net"}}, depth=depth).teachers

    assert (found["net"].depth.gsd, found["net"].depth.resample) == (None, None)
    assert (found["other"].depth.gsd, found["other"].depth.resample) == (0.5, None)


def test_a_teacher_learns_from_training_scenes_with_elevation(at):
    assert loaded(at, adapt={"teachers": {"own": "net"}}).taught("own") == ["north"]


def test_a_teacher_may_learn_from_scenes_without_labels(at):
    adapt = {"scenes": ["north", "new"], "teachers": {"own": "net"}}

    assert loaded(at, adapt=adapt).taught("own") == ["north", "new"]


@pytest.mark.parametrize(
    "scene, said",
    [
        ("south", "split of 'south' is test, expected no scene that is tested on in adapt.scenes"),
        ("bare", "elevation of 'bare' is empty, expected a path since it is in adapt.scenes"),
        ("gone", "has no scene 'gone', expected one since it is in adapt.scenes"),
    ],
)
def test_a_teacher_that_would_learn_from_what_it_must_not_is_refused(at, scene, said):
    adapt = {"teachers": {"own": {"base": "net", "scenes": ["north", scene]}}}

    assert refused(at, adapt=adapt) == f"scenes.tsv: {said} (teacher 'own')"
    # its manifest can be asked for though no experiment uses it
    unused = refused(at, adapt=adapt, train={"teacher": "net"})
    assert unused == f"scenes.tsv: {said} (teacher 'own')"


FOLDS = ["cut\td.tif\tl.tif\te.tif\tblocks", "whole\tb.tif\tl.tif\te.tif\tfolds"]


def test_with_folds_a_teacher_that_nobody_uses_learns_from_no_scene_that_is_tested(at):
    (at / "scenes.tsv").write_text("\n".join([HEADER, *ROWS[:1], *FOLDS]) + "\n")
    sections = {"split": {"folds": 2}, "train": {"teacher": "net"}}

    assert loaded(at, adapt={"teachers": {"own": "net"}}, **sections).taught("own") == ["north"]
    for scene, split in (("cut", "blocks"), ("whole", "folds")):
        adapt = {"teachers": {"own": {"base": "net", "scenes": [scene]}}}
        assert f"split of '{scene}' is {split}, expected" in refused(at, adapt=adapt, **sections)


def test_of_a_divided_scene_a_teacher_learns_where_there_are_no_folds(at):
    (at / "scenes.tsv").write_text("\n".join([HEADER, *FOLDS[:1]]) + "\n")

    assert loaded(at, adapt={"teachers": {"own": "net"}}).taught("own") == ["cut"]


@pytest.mark.parametrize(
    "sections, said",
    [
        (
            {"depth": {"teachers": {"own": {"widow": 3}}}},
            "depth.teachers.own.widow is not a key, expected",
        ),
        (
            {"depth": {"teachers": {"gone": {}}}},
            "depth.teachers has 'gone', expected one of elevation, own, net, other",
        ),
        (
            {"depth": {"teachers": {"own": {"gsd": 1.0, "resample": 0.5}}}},
            "depth.teachers.own: gsd is 1.0 and resample 0.5, expected one of them",
        ),
        (
            {"adapt": {"teachers": {"own": {"base": "net", "gsd": 1.0, "resample": 0.5}}}},
            "adapt.teachers.own: gsd is 1.0 and resample 0.5, expected one of them",
        ),
        (
            {"depth": {"gsd": 1.0, "resample": 0.5, "teachers": {"own": {"gsd": 2.0}}}},
            "depth: gsd is 1.0 and resample 0.5, expected one of them",
        ),
        (
            {"depth": {"teachers": {"own": {"teachers": {}}}}},
            "depth.teachers.own.teachers is not a key, expected",
        ),
        (
            {"adapt": {"teachers": {"own": {"steps": 3}}}},
            "adapt.teachers.own is None, expected one of fetch.models: net, other",
        ),
        (
            {"adapt": {"teachers": {"own": {"base": "net", "steps": 0}}}},
            "adapt.teachers.own.steps",
        ),
    ],
)
def test_a_slip_in_a_teachers_own_settings_is_named(at, sections, said):
    text = refused(at, **{"adapt": {"teachers": {"own": "net"}}} | sections)

    assert text.startswith("study.yaml: ")
    assert said in text
