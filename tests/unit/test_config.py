"""What a study file promises: it is complete, documented, and wrong in one line or not at all."""

import copy
import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from pipeline_steps.study import docs
from pipeline_steps.study.config import MADE, Study, load
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.params.synthesize import Shift
from pipeline_steps.study.params.train import Params as Train

CONFIG = docs.ROOT / "config"
OVERLAY = CONFIG / "studies" / "_pretrained.yaml"
DUBAI = CONFIG / "studies" / "dubai.yaml"
"""The one preset that needs no pretrained weights."""

SHIFT = CONFIG / "studies" / "demo_shift.yaml"
"""What lies over the demo."""

PRESETS = sorted({*CONFIG.glob("studies/[!_]*.yaml")} - {DUBAI, SHIFT})
REQUIRED = {"scenes", "classes", "classes[].name", "experiments", "tabulate.reported[].name"} | {
    "domains.<name>.classes[].name"
}

HEADER = "scene\timage\tlabels\televation\tsplit"
ROWS = ("north\ta.tif\tl.tif\te.tif\ttrain", "south\tb.tif\tl.tif\te.tif\ttest")

SMALL = {
    "scenes": "scenes.tsv",
    "classes": [
        {"name": "roof", "value": 0, "color": "#c8372d"},
        {"name": "road", "value": 1, "color": "#5a5a60"},
    ],
    "fetch": {"models": {"net": {"source": "owner/net"}, "bones": {"architecture": {"size": 1}}}},
    "train": {"teacher": "net"},
    "experiments": {"one": {}},
}

CHOSEN = {
    "scenes": "watched.tsv",
    "data_root": ".",
    "domains": {
        "town": {
            "classes": [{"name": "roof", "value": 7}, {"name": "road", "value": 8}],
        }
    },
    "synthesize": {"shifts": {"snow": {}}},
    "fetch": {
        "models": {
            "net": {
                "source": "owner/net",
                "file": "net.pth",
                "checkpoint": "dinov2",
                "gives": "depth",
                "sha256": {"weights": "a" * 64},
                "license": "MIT",
            },
            "bones": {"architecture": {"size": 1}},
        }
    },
    "adapt": {"teachers": {"local": "net"}, "scenes": ["north"], "gsd": 0.5},
    "depth": {"teachers": {"local": {}}, "gsd": 0.5, "align": True},
    "tile": {
        "nodata": 0,
        "rgb": [1, 2, 3],
        "crs": "EPSG:32632",
        "ignore_labels": [200, "hedge"],
        "vectors": {"layer": "cover", "attribute": "class", "background": 1},
        "elevation": {"nodata": -9999.0},
    },
    "stretch": {"percentiles": [2, 98]},
    "bundle": {},
    "export": {"window": 64},
    "deliver": {"datetime": "2021-06-01", "polygons": {}},
    "corrupt": {"scenes": ["south"]},
    "train": {
        "teacher": "local",
        "network": {
            "encoder": {"weights": "net", "taps": [0, 1, 2, 3], "arguments": {"depth": 4}},
            "widths": [8, 8, 8, 8],
            "channels": 8,
        },
        "domains": ["town"],
        "rare_classes": 0.1,
        "patience": 5,
    },
    "experiments": {"one": {"grid": {"parts": ["both"], "size": ["small"]}}},
    "ensembles": {"seeds": ["one-both-small"]},
    "tabulate": {
        "baseline": "seeds",
        "pairs": [["roof", "road"]],
        "crosswalk": {"built": ["roof"], "paved": ["road"]},
        "reported": [{"name": "a paper", "miou": 0.7, "kappa": 0.8, "oa": 0.9}],
    },
    "variants": {"size": {"small": {"crop": 64}}},
}
"""Everything that has no default value, or null."""

BY_COLOUR = {
    "scenes": "blocks.tsv",
    "classes": [{"name": "roof", "rgb": [9, 8, 7]}, {"name": "road", "rgb": [6, 5, 4]}],
    "domains": {"town": {"classes": [{"name": "road", "rgb": [5, 5, 5]}]}},
    "tile": {"ignore_labels": [[1, 2, 3]]},
    "stretch": {"limits": [[0, 900]]},
    "split": {"folds": 4},
    "adapt": {"resample": 0.5},
    "depth": {"resample": 0.5},
    "train": {
        "network": {
            "model": "baseline",
            "encoder": {"weights": "net"},
            "arguments": {"decoder_channels": [8]},
        },
    },
}
"""What cannot stand beside that."""

TUNED = {
    "train": {
        "teacher": "net",
        "network": {
            "model": "depthforge",
            "encoder": {"weights": "net", "taps": [0, 1, 2, 3], "arguments": {"depth": 4}},
        },
    },
}
"""Nor this beside either."""

FREE = {"arguments", "architecture", "variants"}
"""Keys whose content is not ours to know."""


def with_(config, key, value):
    """Return a copy of ``config`` with the value under the dotted ``key``; None takes it away."""
    changed = copy.deepcopy(config)
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    place = changed
    for parent in parents:
        place = place[parent] if isinstance(place, list) else place.setdefault(parent, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


def complete(config):
    """Return a study with every default written down."""
    study = Study.model_validate_json(json.dumps(config))
    return study, study.model_dump(mode="json", exclude_none=True)


def leaves(value, key=""):
    """Yield the dotted key and the value of everything that holds no other."""
    if isinstance(value, (dict, list)):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        for name, one in inside:
            if name not in FREE and (name, value) != ("train", {}):
                yield from leaves(one, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def sections(value, key=""):
    """Yield the dotted key of every section of a study, and of the study itself."""
    if isinstance(value, BaseModel):
        yield key
        value = {name: getattr(value, name) for name in type(value).model_fields}
    inside = {dict: lambda: value.items(), tuple: lambda: enumerate(value)}.get(type(value), list)
    for name, one in inside():
        yield from sections(one, f"{key}.{name}" if key else str(name))


FULL, STATED = complete(SMALL | CHOSEN)
PAINTED, PAINTED_STATED = complete(SMALL | BY_COLOUR)
TUNED_STUDY, TUNED_STATED = complete(SMALL | TUNED)
LEAVES = [(STATED, *leaf) for leaf in leaves(STATED)] + [
    (PAINTED_STATED, *leaf)
    for leaf in leaves(PAINTED_STATED)
    if "rgb" in leaf[0] or leaf[0].startswith(("stretch.limits", "split.folds", "train.network"))
]
LEAVES += [
    (TUNED_STATED, *leaf) for leaf in leaves(TUNED_STATED) if leaf[0].startswith("train.network")
]
LABEL = re.compile(
    r"(domains\.\w+\.)?classes\.\d+\.value"
    r"|tile\.(ignore_labels\.\d+|vectors\.(value|background))"
)
"""Keys that take a number or a word."""
STRIDE = re.compile(r"\.(token_stride|scales\.\d)$")
ANY_VALUE = re.compile(r"(tile|tile\.elevation)\.nodata|stretch\.limits\.\d+\.\d+")
"""Keys that take any value that an image or a surface can have."""


@pytest.fixture
def at(tmp_path, monkeypatch):
    """A folder with rasters and a scene table, which is the working directory too."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.tif", "b.tif", "l.tif", "e.tif"):
        (tmp_path / name).write_text("")
    table(tmp_path)
    of_town(tmp_path, ROWS[0].replace("train", "blocks"), name="blocks.tsv")
    of_town(tmp_path, *ROWS, "west\tl.tif\tl.tif\t\tval", name="watched.tsv")
    return tmp_path


def table(folder, *rows, name="scenes.tsv", header=HEADER):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([header, *(rows or ROWS)]) + "\n")


def of_town(folder, *rows, name):
    """Write a table whose scenes are all of one domain."""
    rows = [f"{row}\ttown" for row in rows]
    table(folder, *rows, name=name, header=f"{HEADER}\tdomain")


def loaded(folder, config, name="study.yaml"):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(config))  # which is YAML too
    return load(config, [str(file)])


def test_a_scene_that_is_no_row_is_named_with_the_table(at):
    study = loaded(at, SMALL)

    assert study.scene("north") is study.scenes["north"]
    with pytest.raises(StudyError, match=r"scenes\.tsv: has no scene 'west', expected a row of it"):
        study.scene("west")


def refused(folder, config):
    """Return what is said about a bad study, without the study file's name."""
    with pytest.raises(StudyError) as caught:
        loaded(folder, config)
    text, start = str(caught.value), f"{folder / 'study.yaml'}: "
    assert "\n" not in text
    assert text.startswith(start)
    return text.removeprefix(start)


# What is said about the config


def test_the_schema_is_the_one_that_the_code_generates():
    stale = docs.SCHEMA.read_text(encoding="utf-8") != docs.schema()
    assert not stale, f"{docs.SCHEMA} is stale: run python -m pipeline_steps.study.docs"


def test_the_manual_lists_the_keys_that_the_code_knows():
    text = docs.MANUAL.read_text(encoding="utf-8")
    assert docs.BEGIN in text and docs.END in text
    stale = docs.manual(text) != text
    assert not stale, f"{docs.MANUAL} is stale: run python -m pipeline_steps.study.docs"


def test_what_is_written_by_hand_in_the_manual_stays():
    text = f"before\n{docs.BEGIN}\nhas been\n{docs.END}\nafter\n"
    made = docs.manual(text)

    assert made.startswith(f"before\n{docs.BEGIN}\n") and made.endswith(f"{docs.END}\nafter\n")
    assert "has been" not in made and "| `train.lr` |" in made
    assert docs.manual(made) == made


def test_every_key_has_a_description():
    assert [key for key, field in docs.fields(Study) if not (field.description or "").strip()] == []


def test_every_key_but_few_has_a_default():
    assert {key for key, field in docs.fields(Study) if field.is_required()} == REQUIRED


def test_the_manual_walks_over_every_key_of_the_schema():
    schema = Study.model_json_schema()
    objects = [schema, *schema["$defs"].values()]
    stated = {name for one in objects for name in one.get("properties", {})}

    assert {key.rpartition(".")[2] for key, _ in docs.fields(Study)} == stated


def numbers(schema, place=""):
    """Yield every number that a JSON Schema speaks of, with where it stands."""
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number") and "enum" not in schema:
            yield place, schema
        for name, one in schema.items():
            yield from numbers(one, f"{place}/{name}")
    elif isinstance(schema, list):
        for number, one in enumerate(schema):
            yield from numbers(one, f"{place}/{number}")


def test_every_number_has_a_least_and_a_greatest_value():
    found = dict(numbers(Study.model_json_schema()))
    free = [
        place
        for place, stated in found.items()
        if not stated.keys() & {"minimum", "exclusiveMinimum"}
        or not stated.keys() & {"maximum", "exclusiveMaximum"}
    ]

    assert free == []
    assert len(found) > 40


def test_the_schema_refuses_unknown_keys_at_every_level():
    schema = Study.model_json_schema()
    objects = {"Study": schema} | {k: v for k, v in schema["$defs"].items() if "properties" in v}

    assert [name for name, one in objects.items() if one["additionalProperties"] is not False] == []


# A study that states everything


def test_the_studies_of_this_test_state_every_key():
    stated = [key for study in (STATED, PAINTED_STATED, TUNED_STATED) for key in _every_key(study)]
    missing = [
        key
        for key, _ in docs.fields(Study)
        if not any(re.fullmatch(_pattern(key), one) for one in stated)
    ]
    assert missing == []


def _every_key(value, key=""):
    if isinstance(value, (dict, list)):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield f"{key}.{name}".lstrip(".")
            yield from _every_key(one, f"{key}.{name}".lstrip("."))


def _pattern(key):
    return re.escape(key).replace(r"\[\]", r"\.\d+").replace("<name>", r"[^.]+")


@pytest.mark.parametrize("config", [STATED, PAINTED_STATED, TUNED_STATED])
def test_every_default_passes_its_own_check(at, config):
    found = loaded(at, config).config

    assert found.model_dump(mode="json", exclude_none=True) == config
    assert found in (FULL, PAINTED, TUNED_STUDY)


def wrong_kinds(key, value):
    if isinstance(value, bool):
        return [str(value).lower(), int(value)]
    if LABEL.fullmatch(key):
        return [True, 1.5]
    if isinstance(value, int):
        # an enumeration takes 16.0 for 16
        return [str(value), True] + [float(value)] * (not STRIDE.search(key))
    if isinstance(value, float):
        return [str(value), True]
    return [5, [1]]


@pytest.mark.parametrize("config, key, value", LEAVES, ids=[key for _, key, _ in LEAVES])
def test_a_value_is_never_coerced(at, config, key, value):
    for wrong in wrong_kinds(key, value):
        text = refused(at, with_(config, key, wrong))

        assert text.startswith(key)
        assert f" is {str(wrong)!r}, expected " in text


@pytest.mark.parametrize(
    "config, key",
    [
        pytest.param(config, key, id=key)
        for config, key, value in LEAVES
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ],
)
def test_a_number_beyond_all_sense_is_refused(at, config, key):
    most = 10**39 if ANY_VALUE.fullmatch(key) else 10**12
    for value in (most, -most, float("nan"), float("inf")):
        text = refused(at, with_(config, key, value))

        assert text.startswith(key)
        assert f" is '{value}', expected " in text


@pytest.mark.parametrize("section", [*sections(FULL), "experiments.one.train"])
def test_an_unknown_key_is_refused_at_every_level(at, section):
    key = f"{section}.stepz" if section else "stepz"

    assert refused(at, with_(STATED, key, 1)).startswith(f"{key} is not a key, expected one of")


@pytest.mark.parametrize("section", ["network", "network.encoder"])
def test_an_unknown_key_is_refused_at_every_level_of_an_override(at, section):
    key = f"experiments.one.train.{section}.stepz"

    assert refused(at, with_(STATED, key, 1)).startswith(f"{key} is not a key, expected one of")


# Bad studies


@pytest.mark.parametrize("key", ["scenes", "classes", "classes.1.name", "experiments"])
def test_a_missing_key_is_named(at, key):
    assert refused(at, with_(SMALL, key, None)).startswith(f"{key} is missing, expected a value")


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("train.steps", "3", "train.steps is '3', expected integer"),
        ("train.lr", "1e-4", "train.lr is '1e-4', expected number"),
        ("train.steps", 0, "train.steps is '0', expected greater than or equal to 1"),
        ("train.crop", 100, "train.crop is '100', expected a multiple of 32"),
        ("train.network.depth", "feed", "train.network.depth is 'feed', expected 'predicted', 'f"),
        ("train.network.token_stride", 16, "train.network.token_stride is not a key, expected"),
        ("train.network.encoder.token_stride", 12, "encoder.token_stride is '12', expected 4, 8"),
        ("train.scale", [2.0, 1.0], "train: scale is (2.0, 1.0), expected the smaller zoom first"),
        ("train.scale", [1.0], "train.scale.1 is missing, expected a value"),
        ("train", [1], "train is '[1]', expected an object"),
        ("score", "all", "score is 'all', expected an object"),
        ("scenes", "", "scenes is '', expected"),
        ("classes", SMALL["classes"][:1], "classes is "),
        ("classes.1.name", "roof", "classes: names are ['roof', 'roof'], expected each name once"),
        ("classes.1.value", 0, "classes: a value or rgb stands twice, expected each label once"),
        ("classes.1.value", [2, 0], "classes: a value or rgb stands twice, expected each label"),
        ("classes.1.rgb", [1, 2, 3], "class 'road': has value and rgb, expected one of them"),
        ("classes.1", {"name": "road", "color": "#000000"}, "class 'road': has no label, expect"),
        ("classes.1", {"name": "road", "value": 1}, "class 'road' has no color, expected '#rrg"),
        ("classes.1", {"name": "road", "rgb": [1, 2, 3]}, "expected one kind for all"),
        ("classes.1.color", "red", "classes.1.color is 'red', expected"),
        ("classes.1.value", -(2**31) - 1, " is '-2147483649', expected greater than or equal"),
        ("classes.1.value", 2**32, " is '4294967296', expected less than or equal to 4294967295"),
        ("classes.1.value", "", "classes.1.value is '', expected"),
        ("tile.ignore_labels", [1], "tile.ignore_labels: names a label of the classes, expected"),
        ("tile.bands", [], "tile.bands is '[]', expected"),
        ("tile.bands", [1, 4], "tile: rgb is null, expected three of the two bands"),
        ("tile.rgb", [4, 2, 1], "tile: rgb is [4, 2, 1], expected three of bands [1, 2, 3]"),
        ("tile.elevation", {"unit": 0}, "tile.elevation.unit is '0', expected greater than 0"),
        ("stretch.percentiles", [98, 2], "stretch: a pair is [98, 2], expected ascending values"),
        ("stretch.limits", [[5, 5]], "stretch: a pair is [5, 5], expected ascending values"),
        ("stretch.limits", [], "stretch: limits is [], expected at least one pair"),
        ("stretch.limits", [[0, 1]] * 2, "stretch.limits: 2 pairs found, expected 1 or 3"),
        (
            "stretch",
            {"limits": [[0, 1]], "percentiles": [2, 98]},
            "stretch: percentiles and limits are both given, expected one of them",
        ),
        ("predict.halo", 200, "predict: halo is 200, expected "),
        (
            "predict",
            {"halo": 8, "blend": "nearest"},
            "predict: halo is 8, expected 0 with blend nearest: it crops mid-overlap",
        ),
        ("predict.scales", [1.0, 0.5, 1.0], "predict: scales is [1.0, 0.5, 1.0], expected each"),
        ("predict.outputs", ["depth", "depth"], "predict: outputs is ['depth', 'depth'], expected"),
        ("split.folds", 1, "split.folds is '1', expected greater than or equal to 2"),
        ("split.shares", {"val": 0.3}, "split.shares: shares add up to 1.1, expected 1"),
        ("split.buffer", 129, "split: buffer is 129, expected at most half of size"),
        ("fetch.models.net", {}, "fetch.models.net: expected exactly one of source and archit"),
        ("fetch.models.net.architecture", {}, "fetch.models.net: expected exactly one of source"),
        ("fetch.models.net.sha256", {"a": "0f"}, "fetch.models.net.sha256.a is '0f', expected"),
        ("experiments", {}, "experiments is '{}', expected"),
        ("experiments.a b", {}, "experiments.a b"),
        ("experiments.one.seeds", [], "experiments.one.seeds is '[]', expected"),
        ("experiments.one.seeds", [3, 4, 3], "experiments.one: seeds is [3, 4, 3], expected each"),
        ("experiments.one.seeds", ["3"], "experiments.one.seeds.0 is '3', expected integer"),
        ("experiments.one.train.steps", "3", "experiments.one.train.steps is '3', expected integ"),
        ("experiments.one.train.steps", 0, "experiments.one.train.steps is '0', expected greater"),
        ("experiments.one.train.network", 7, "experiments.one.train.network is '7', expected an"),
        ("experiments.one.train.network.norm", "none", "one.train.network.norm is 'none', expect"),
        ("experiments.one.train.scale", [2.0, 1.0], "experiments.one.train: scale is (2.0, 1.0)"),
        ("train.teacher", "gone", "one.train.teacher is 'gone', expected one of elevation, net, b"),
        ("experiments.one.train.teacher", "gone", "experiments.one.train.teacher is 'gone', expe"),
        ("train", {}, "experiments.one.train.teacher is null, expected a teacher for the prompter"),
        (
            "train.network.encoder.weights",
            "gone",
            "one.train.network.encoder.weights is 'gone', expected one of fetch.models: net, bones",
        ),
        ("adapt.teachers", {"own": "gone"}, "adapt.teachers.own is 'gone', expected one of fetch"),
        ("adapt.teachers", {"net": "net"}, "adapt.teachers and fetch.models are net, net, bones"),
        ("adapt.teachers", {"elevation": "net"}, "expected distinct names other than 'elevation'"),
    ],
)
def test_a_bad_study_ends_in_one_line_with_file_key_value_and_what_was_expected(
    at, key, value, words
):
    text = refused(at, with_(SMALL, key, value))

    assert words in text and "expected" in text


def test_a_study_that_fetches_nothing_cannot_name_weights(at):
    config = with_(SMALL, "train.network.encoder.weights", "net") | {"fetch": {}}

    assert refused(at, config).endswith("'net', expected one of fetch.models: there is none")


def test_of_several_files_the_one_that_holds_the_key_is_named(at):
    over = at / "over.yaml"
    over.write_text("train: {lr: 0.1, steps: 3}\nreport: {dpi: wide}\n")
    config = with_(with_(SMALL, "train.stepz", 3), "train.lr", 0.1)
    (at / "study.yaml").write_text(json.dumps(config))

    with pytest.raises(StudyError, match=r"study\.yaml: train\.stepz is not a key"):
        load(config, [str(at / "study.yaml"), str(over)])
    with pytest.raises(StudyError, match=r"over\.yaml: report\.dpi is 'wide'"):
        load(with_(SMALL, "report.dpi", "wide"), [str(at / "study.yaml"), str(over)])


def test_percentiles_out_of_order_are_refused(at):
    with pytest.raises(
        StudyError, match=r"depth: percentiles is \(98\.0, 2\.0\), expected the smaller"
    ):
        loaded(at, with_(SMALL, "depth.percentiles", [98, 2]))


@pytest.mark.parametrize("value", ["1", "01", [5, "1"]])
def test_a_number_in_letters_is_the_same_label_as_the_number(at, value):
    text = refused(at, with_(SMALL | {"tile": {}}, "classes.0.value", value))

    assert text.startswith("classes: a value or rgb stands twice, expected each label once")


def test_ignored_labels_of_another_kind_than_the_classes_are_refused(at):
    with pytest.raises(StudyError, match=r"tile\.ignore_labels: expected values, as in classes"):
        loaded(at, with_(SMALL, "tile.ignore_labels", [[155, 155, 155]]))
    with pytest.raises(StudyError, match=r"tile\.ignore_labels: expected colours, as in classes"):
        loaded(at, with_(SMALL | BY_COLOUR, "tile.ignore_labels", [155]))
    with pytest.raises(StudyError, match=r"tile\.ignore_labels: expected colours, as in classes"):
        loaded(at, with_(SMALL | BY_COLOUR, "tile.ignore_labels", ["hedge"]))


def test_the_overridden_value_is_checked_and_not_the_base_it_replaces(at):
    config = with_(SMALL, "train.teacher", "gone")

    found = loaded(at, with_(config, "experiments.one.train.teacher", "bones"))

    assert found.trainings["one"].teacher == "bones"


def test_an_experiment_without_prompter_needs_no_teacher(at):
    config = with_(SMALL | {"train": {}}, "experiments.one.train.network.prompter", False)

    assert loaded(at, config).teachers_used() == []


@pytest.mark.parametrize(
    "train, words",
    [
        (
            {"depth_control": "constant", "network": {"prompter": False}},
            "depth_control is 'constant', expected 'none' without a prompter",
        ),
        (
            {"depth_control": "shuffled", "network": {"model": "baseline"}},
            "depth_control is 'shuffled', expected 'none' without a prompter",
        ),
        (
            {"teacher": "elevation", "network": {"encoder": {"name": "teacher"}}},
            "teacher is 'elevation', expected a network for the encoder 'teacher': net, bones",
        ),
        (
            {"teacher": None, "network": {"prompter": False, "encoder": {"name": "teacher"}}},
            "teacher is null, expected a network for the encoder 'teacher': net, bones",
        ),
        (
            {"network": {"encoder": {"name": "teacher", "weights": "net"}}},
            "network.encoder.weights is 'net', expected null, since the teacher's encoder has",
        ),
        (
            {"network": {"model": "baseline", "encoder": {"weights": "gone"}}},
            "network.encoder.weights is 'gone', expected one of fetch.models: net, bones",
        ),
        (
            {"network": {"model": "unet"}},
            "network.model is 'unet', expected 'depthseg', 'depthforge', 'baseline'",
        ),
        ({"network": {"model": "baseline", "adapter": True}}, "network.adapter is not a key, expe"),
        (
            {"teacher": "elevation", "network": {"model": "depthforge"}},
            "teacher is 'elevation', expected a network, whose encoder sees depth: net, bones",
        ),
    ],
)
def test_a_training_that_does_not_fit_is_named(at, train, words):
    text = refused(at, with_(SMALL, "experiments.one.train", train))

    assert text.startswith(f"experiments.one.train.{words}")


def test_a_loss_that_a_head_of_queries_has_no_use_for_is_named(at):
    train = {"focal": 2.0, "network": {"model": "depthforge", "tokens": "plain"}}

    text = refused(at, with_(SMALL, "experiments.one.train", train))

    assert "focal is 2.0, expected 0.0 with network.head: mask2former" in text


def test_an_encoder_that_sees_depth_is_needed_and_its_teachers_depth_is_not_used(at):
    train = {"network": {"model": "depthforge"}}

    found = loaded(at, with_(SMALL, "experiments.one.train", train))

    assert (found.teachers_used(), found.teachers_needed()) == ([], ["net"])
    assert list(found.fetched().models) == ["net"]


def test_who_lends_an_encoder_is_needed_and_its_depth_is_not_used(at):
    train = {"network": {"prompter": False, "encoder": {"name": "teacher"}}}

    found = loaded(at, with_(SMALL, "experiments.one.train", train))

    assert (found.teachers_used(), found.teachers_needed()) == ([], ["net"])
    assert list(found.fetched().models) == ["net"]


# The scene table


def refused_table(config, folder):
    with pytest.raises(StudyError) as caught:
        loaded(folder, config)
    text, start = str(caught.value), str(folder / "scenes.tsv")
    assert "\n" not in text
    assert text.startswith(start)
    return text.removeprefix(start)


def test_a_table_that_is_not_there_is_named(at):
    (at / "scenes.tsv").unlink()

    assert "cannot be read" in refused_table(SMALL, at)


def test_a_table_without_rows_is_named(at):
    (at / "scenes.tsv").write_text(f"{HEADER}\n")

    assert refused_table(SMALL, at) == ": no scenes found, expected at least one row"


def test_a_table_without_training_scenes_is_named(at):
    table(at, ROWS[1])

    assert refused_table(SMALL, at) == ": no scene has split train, blocks or folds, expected one"


def test_a_wrong_row_is_named_with_its_line(at):
    table(at, *ROWS, "west\tgone.tif\tl.tif\t\ttest")

    assert refused_table(SMALL, at).startswith(":4: image is ")


def test_patience_needs_ground_for_validation(at):
    config = with_(SMALL, "train.patience", 3)

    text = refused_table(config, at)

    assert text.startswith(": no scene has ground for validation, expected a split val, or blocks")
    assert text.endswith("since experiment 'one' has patience")
    table(at, *ROWS, "west\tl.tif\tl.tif\t\tval")
    assert loaded(at, config).trainings["one"].patience == 3
    table(at, ROWS[0].replace("train", "blocks"))
    assert loaded(at, config).split("val") == ["north"]


BARE_TEST = "south\tb.tif\tl.tif\t\ttest"
BARE_NEW = "south\tb.tif\t\t\tpredict"
BARE_TRAIN = "west\tb.tif\tl.tif\t\ttrain"


@pytest.mark.parametrize(
    "depth, rows, scene",
    [
        ("fed", (ROWS[0], BARE_TEST), "south"),
        ("fed", (ROWS[0], BARE_NEW), "south"),
        ("fed", (ROWS[0], BARE_TRAIN), "west"),
        ("both", (ROWS[0], BARE_NEW), "south"),
        ("predicted", (ROWS[0], BARE_TRAIN), "west"),
    ],
)
def test_elevation_that_an_experiment_uses_and_a_scene_lacks_is_named(at, depth, rows, scene):
    table(at, *rows)
    config = with_(SMALL, "experiments.one.train", {"teacher": "elevation"})

    text = refused_table(with_(config, "train.network.depth", depth), at)

    assert text == (
        f": elevation of {scene!r} is empty, expected a path since experiment 'one' uses it"
    )


@pytest.mark.parametrize("row", [BARE_TEST, BARE_NEW])
def test_elevation_as_a_label_is_needed_where_there_is_training_only(at, row):
    table(at, ROWS[0], row)

    found = loaded(at, with_(SMALL, "train.teacher", "elevation"))

    assert found.scenes["south"].elevation == ()


def test_an_adapted_teacher_needs_one_training_scene_with_elevation(at):
    config = with_(with_(SMALL, "adapt.teachers", {"own": "net"}), "train.teacher", "own")
    table(at, BARE_TRAIN, ROWS[0].replace("train", "test"))

    text = refused_table(config, at)

    assert text == ": no training scene has elevation, expected one for teacher 'own'"
    table(at, BARE_TRAIN, ROWS[0])
    assert loaded(at, config).teachers_used() == ["own"]


def test_an_adapted_teacher_that_nobody_uses_needs_nothing(at):
    table(at, BARE_TRAIN)

    assert loaded(at, with_(SMALL, "adapt.teachers", {"own": "net"})).teachers_used() == ["net"]


def test_the_table_lies_beside_the_study_file_and_its_paths_too(at):
    home = at / "deep" / "studies"
    table(home)
    for name in ("a.tif", "b.tif", "l.tif", "e.tif"):
        (home / name).write_text("")
    (at / "scenes.tsv").unlink()

    found = loaded(home, SMALL)

    assert (found.table, found.root) == (str(home / "scenes.tsv"), str(home))
    assert found.scenes["north"].images == (str(home / "a.tif"),)


def test_data_root_is_relative_to_the_working_directory(at):
    table(at / "studies")

    found = loaded(at, SMALL | {"data_root": "."}, "studies/study.yaml")

    assert found.table == str(at / "studies/scenes.tsv")
    assert Path(found.scenes["north"].images[0]).resolve() == at / "a.tif"


def test_a_file_laid_over_the_study_leaves_the_table_beside_the_study(at):
    loaded(at, SMALL)
    (at / "over").mkdir()
    (at / "over/more.yaml").write_text("train: {steps: 7}\n")

    found = load(with_(SMALL, "train.steps", 7), [str(at / "study.yaml"), "over/more.yaml"])

    assert found.table == str(at / "scenes.tsv")


def test_a_table_that_a_later_file_names_lies_beside_that_file(at):
    loaded(at, SMALL)
    table(at / "over", ROWS[0])
    (at / "over/more.yaml").write_text("scenes: scenes.tsv\n")

    found = load(SMALL | {"data_root": "."}, [str(at / "study.yaml"), "over/more.yaml"])

    assert found.table == "over/scenes.tsv"
    assert list(found.scenes) == ["north"]


def test_a_table_that_no_file_names_is_relative_to_the_working_directory(at):
    loaded(at, SMALL)
    table(at / "asked", ROWS[0])

    found = load(SMALL | {"scenes": "asked/scenes.tsv", "data_root": "."}, [str(at / "study.yaml")])

    assert found.table == "asked/scenes.tsv"


def test_an_absolute_table_is_taken_as_it_is(at):
    found = loaded(at, SMALL | {"scenes": str(at / "scenes.tsv")}, "elsewhere/study.yaml")

    assert found.table == str(at / "scenes.tsv")


def test_made_scenes_need_not_exist_in_a_study_that_synthesizes(at):
    config = SMALL | {"data_root": MADE}

    assert loaded(at, config | {"synthesize": {}}).scenes["north"].images == (f"{MADE}/a.tif",)
    assert refused_table(config, at).startswith(":2: image is ")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["one"], "tabulate.reported has 'one', expected a name that no experiment has"),
        (["a", "b", "a"], "tabulate: reported: has 'a' twice, expected each name once"),
        (["a\nb"], "tabulate.reported.0.name is 'a\\nb', expected "),
    ],
)
def test_what_others_report_has_a_name_of_its_own(at, names, words):
    config = SMALL | {"tabulate": {"reported": [{"name": name, "oa": 0.5} for name in names]}}

    with pytest.raises(StudyError) as error:
        loaded(at, config)

    assert words in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(str(at / "study.yaml"))


# Experiments

BASE = {
    "teacher": "net",
    "steps": 7,
    "network": {
        "widths": [1, 2, 3, 4],
        "encoder": {"name": "vit", "arguments": {"depth": 4, "size": {"patch": 4, "image": 8}}},
    },
}
OVER = {
    "lr": 0.5,
    "network": {
        "adapter": False,
        "widths": [5, 6, 7, 8],
        "encoder": {"arguments": {"size": {"patch": 2}}},
    },
}


def test_overrides_are_merged_key_by_key_and_leave_the_base_alone(at):
    config = SMALL | {"train": BASE, "experiments": {"zebra": {"train": OVER}, "ape": {}}}
    before = copy.deepcopy(config)

    found = loaded(at, config)

    zebra, ape = found.trainings["zebra"], found.trainings["ape"]
    assert (zebra.lr, zebra.steps, zebra.teacher) == (0.5, 7, "net")
    assert (zebra.network.adapter, zebra.network.widths) == (False, (5, 6, 7, 8))
    assert zebra.network.encoder.name == "vit"
    assert zebra.network.encoder.arguments == {"depth": 4, "size": {"patch": 2, "image": 8}}
    assert ape == found.config.train == Train.model_validate_json(json.dumps(BASE))
    assert config == before


def test_an_override_by_null_takes_the_base_back(at):
    config = SMALL | {"train": BASE, "experiments": {"one": {"train": {"network": {}}}}}
    config["experiments"]["one"]["train"]["network"]["widths"] = None

    found = loaded(at, config)

    assert found.trainings["one"].network.widths is None
    assert found.config.train.network.widths == (1, 2, 3, 4)


def test_a_network_of_another_model_begins_anew(at):
    other = {"model": "baseline", "encoder": {"name": "resnet18"}}
    base = {"train": BASE, "experiments": {"one": {"train": {"network": other}}, "two": {}}}

    found = loaded(at, SMALL | base)

    assert found.trainings["one"].network.model_dump(exclude_defaults=True) == {
        "encoder": {"name": "resnet18"}
    }
    assert found.trainings["one"].steps == found.trainings["two"].steps == 7
    assert found.trainings["two"].network.widths == (1, 2, 3, 4)


def test_a_network_of_the_same_model_is_merged_whether_its_model_is_stated_or_not(at):
    over = {"network": {"model": "depthseg", "adapter": False}}
    base = {"train": BASE, "experiments": {"one": {"train": over}}}

    network = loaded(at, SMALL | base).trainings["one"].network

    assert (network.adapter, network.widths) == (False, (1, 2, 3, 4))


def written(folder, **studies):
    """Write studies, merge them as Snakemake does, and load them."""
    files = []
    for name, study in studies.items():
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(json.dumps(study))
    return load(merged(*files), [str(file) for file in files])


def test_a_network_of_another_model_in_a_later_file_begins_anew_too(at):
    network = {"model": "baseline", "arguments": {"decoder_channels": [8]}}
    more = {"train": {"network": {"encoder": {"bands": "all"}}}}

    found = written(
        at, first=SMALL | {"train": BASE}, over={"train": {"network": network}}, more=more
    )

    assert found.trainings["one"].network.model_dump(exclude_defaults=True) == {
        "encoder": {"bands": "all"},
        "arguments": {"decoder_channels": [8]},
    }


def test_an_ensemble_of_an_earlier_file_is_dropped_by_null(at):
    first = SMALL | {"experiments": {"one": {}, "two": {}}, "ensembles": {"mean": ["one", "two"]}}
    over = {"experiments": {"two": None}, "ensembles": {"mean": None}}

    assert list(written(at, first=first, over=over).experiments) == ["one"]


def test_an_experiment_of_an_earlier_file_is_dropped_by_null(at):
    first = SMALL | {"experiments": {"one": {}, "two": {}}}

    assert list(written(at, first=first, over={"experiments": {"one": None}}).trainings) == ["two"]
    with pytest.raises(StudyError, match=r"over\.yaml: experiments\.new is null, expected"):
        written(at, first=first, over={"experiments": {"new": None}})


def test_experiments_keep_their_order_and_have_three_seeds_by_default(at):
    names = ["zebra", "ape", "Mule", "2-more"]

    found = loaded(at, SMALL | {"experiments": {name: {} for name in names}})

    assert list(found.trainings) == list(found.config.experiments) == names
    assert found.config.experiments["ape"].seeds == (0, 1, 2)


def test_teachers_are_those_that_a_prompter_uses_each_once(at):
    trains = {
        "bare": {"teacher": "bones", "network": {"prompter": False}},
        "high": {"teacher": "elevation"},
        "deep": {},
        "deep-again": {"steps": 9},
    }

    found = loaded(at, SMALL | {"experiments": {n: {"train": t} for n, t in trains.items()}})

    assert found.teachers_used() == ["elevation", "net"]


FOLDS = tuple(f"{name}\t{name}.tif\tl.tif\t\tfolds" for name in "abe")


@pytest.mark.parametrize(
    "rows, folds, words",
    [
        (FOLDS, None, "a scene has split folds, expected their number (split.folds)"),
        (
            ROWS[:1] + FOLDS[1:],
            None,
            "a scene has split folds, expected their number (split.folds)",
        ),
        (ROWS, 2, "split.folds is 2, expected a scene to divide (folds)"),
        (FOLDS, 4, "3 scenes have split folds, expected at least 4"),
        (FOLDS[:2], 3, "2 scenes have split folds, expected at least 3"),
    ],
)
def test_folds_and_scenes_that_do_not_go_together_are_named(at, rows, folds, words):
    table(at, *rows)

    assert refused_table(SMALL | {"split": {"folds": folds}}, at) == f": {words}"


def test_an_adapted_teacher_would_learn_from_every_test_and_does_not_go_with_folds(at):
    config = with_(with_(SMALL, "adapt.teachers", {"own": "net"}), "train.teacher", "own")
    table(at, *(row.replace("l.tif\t", "l.tif\te.tif") for row in FOLDS[:2]))

    text = refused_table(config | {"split": {"folds": 2}}, at)

    assert text.startswith(": split.folds is 2 and teacher 'own' is adapted, which would learn")


def test_an_experiment_has_a_run_for_each_seed_and_fold(at):
    config = with_(SMALL, "experiments.one.seeds", [7, 3])
    assert [run.name for run in loaded(at, config).runs("one")] == ["seed-7", "seed-3"]

    table(at, *FOLDS)
    found = loaded(at, config | {"split": {"folds": 2}})

    names = ["seed-7-fold-0", "seed-7-fold-1", "seed-3-fold-0", "seed-3-fold-1"]
    assert [run.name for run in found.runs("one")] == names


def test_an_ensemble_of_folds_keeps_to_the_networks_of_its_fold(at):
    table(at, *FOLDS)
    found = loaded(at, SMALL | {"split": {"folds": 2}, "ensembles": {"mean": ["one"]}})

    runs = found.runs("mean")

    assert [run.name for run in runs] == ["seeds-fold-0", "seeds-fold-1"]
    for run in runs:
        members = [one.name for _, one in found.members("mean", run)]
        assert members == [f"seed-{seed}-fold-{run.fold}" for seed in (0, 1, 2)]


def test_every_scene_of_folds_is_tested_once_and_learned_from_in_all_other_folds(at):
    table(at, *FOLDS, "new\tl.tif\t\t\tpredict")
    found = loaded(at, SMALL | {"split": {"folds": 3}})

    tested = [found.split("test", fold=fold) for fold in range(3)]

    assert sorted(tested) == [["a"], ["b"], ["e"]]
    for fold, (one,) in enumerate(tested):
        assert found.split("train", fold=fold) == [name for name in "abe" if name != one]
        assert found.split("val", fold=fold) == []
    assert found.split("test") == found.split("train") == ["a", "b", "e"]
    assert found.split("predict", fold=1) == ["new"]


def test_a_scene_of_blocks_has_ground_of_every_part_that_has_a_share(at):
    table(at, ROWS[0].replace("train", "blocks"), ROWS[1])
    found = loaded(at, SMALL | {"split": {"shares": {"train": 0.7, "val": 0.0, "test": 0.3}}})

    parts = {part: found.split(part) for part in ("train", "val", "test")}

    assert parts == {"train": ["north"], "val": [], "test": ["north", "south"]}
    assert found.divided(["south", "north"]) == ["north"]
    in_folds = loaded(at, SMALL | {"split": {"folds": 2}})
    assert in_folds.split("train", fold=1) == ["north"]
    assert in_folds.split("test", fold=1) == ["north", "south"]
    assert in_folds.split("val") == []


def test_splits_are_listed_in_the_tables_order(at):
    table(at, ROWS[1], ROWS[0], "new\tl.tif\t\t\tpredict", "more\te.tif\tl.tif\t\ttest")

    found = loaded(at, SMALL)

    assert found.split("test") == ["south", "more"]
    assert found.split("predict", "train") == ["north", "new"]
    assert found.split("val") == []


# The studies that come along


def merged(*files):
    config = {}
    for file in files:
        update_config(config, load_configfile(str(file)))
    return config


def test_the_demo_study_loads_wherever_it_is_called_from(at):
    file = CONFIG / "config.yaml"

    found = load(merged(file), [str(file)])

    assert found.table == str(CONFIG / "scenes.tsv")
    assert found.split("train") and found.split("test")
    for scene in found.scenes.values():
        assert Path(scene.images[0]).is_relative_to(MADE) and scene.elevation


def test_the_study_of_shifts_is_the_demos_towns_seen_otherwise(at):
    files = [CONFIG / "config.yaml", SHIFT]

    found = load(merged(*files), [str(file) for file in files])

    shifts = list(found.config.synthesize.shifts)
    assert found.domains(found.split("test")) == ["summer", *shifts]
    assert found.domains(found.split("train")) == ["summer"]
    for scene in found.split("test"):
        ground, look = found.config.synthesize.look_of(scene)
        assert ground in ("harbour", "market")
        assert look == found.config.synthesize.shifts.get(found.scenes[scene].domain, Shift())
    trainings = found.trainings
    assert list(trainings) == ["frozen", "depthseg", "unet", "tokens", "depthforge"]
    assert {found.runs(name)[-1].name for name in trainings} == {"seed-2"}
    with_depth, without = (trainings[name].model_dump() for name in ("depthforge", "tokens"))
    assert (with_depth["network"].pop("tokens"), without["network"].pop("tokens")) == (
        "shared",
        "plain",
    )
    assert with_depth == without


@pytest.mark.parametrize("more", [(), (OVERLAY,)], ids=["alone", "pretrained"])
def test_dubai_loads_alone_and_with_pretrained_weights(at, more):
    for row in DUBAI.with_suffix(".tsv").read_text().splitlines()[1:]:
        for cell in row.split("\t")[1:3]:
            file = at / "data" / cell.replace("*", "x")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")
    config = merged(DUBAI, *more) | {"data_root": str(at / "data")}

    found = load(config, [str(DUBAI), *map(str, more)])

    assert found.table == str(DUBAI.with_suffix(".tsv"))
    assert found.split("train") and found.split("test")
    if more:
        assert found.trainings["depthseg"].network.encoder.weights == "dinov2-small"
        assert found.teachers_used() == ["depth-anything-v2-small"]
        # what makes the encoder tiny would not fit the weights
        assert found.trainings["depthseg"].network.encoder.arguments is None


# that they load with weights, and on what data, is tests/workflow/test_presets.py's to say
@pytest.mark.parametrize("study", PRESETS, ids=lambda file: file.stem)
def test_a_preset_that_needs_weights_says_so(study):
    with pytest.raises(StudyError, match=rf"{study.stem}\.yaml: experiments\.\w+\.train\.teacher"):
        load(merged(study), [str(study)])
