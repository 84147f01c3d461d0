"""Studies that mean harm: refused in one line that names the file, or taken for plain text.

Every input is a parameter, so pytest's numbers count them. Nothing that one of them asks for is
run: a file called `harm` would tell.
"""

import json
import re

import pytest
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError

from pipeline_steps.study.config import load
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.scenes import read_scenes

STUDY = {
    "scenes": "scenes.tsv",
    "classes": [
        {"name": "roof", "value": 0, "color": "#c8372d"},
        {"name": "road", "value": 1, "color": "#5a5a60"},
    ],
    "fetch": {"models": {"net": {"architecture": {"size": 1}}}},
    "train": {"teacher": "net"},
    "experiments": {"one": {}},
}
TABLE = "scene\timage\tlabels\tsplit\nnorth\ta.tif\tl.tif\ttrain\nsouth\tb.tif\tl.tif\ttest\n"

COMMANDS = [
    *("$(touch harm)", "`touch harm`", "a; touch harm", "a && touch harm", "a | touch harm"),
    *("a\ntouch harm", "a\r\ntouch harm", "{input}", "{params.step:q}", "$HOME", "%(x)s", "a'b"),
    *('a"b', "a'; touch harm; '", 'a"; touch harm; "', "> harm", "a\\", "~", "*", "?", "[a-z]"),
]
PATHS = ["..", ".", "../up", "/etc/passwd", "a/b", "a/../../b", "-rf", "--config", "-", ".hidden"]
ODD = ["", " ", "a b", "a\x00b", "a\x1b[2Jb", "a\u202eb", "a\u200bb", "\ufeffa", "ä", "a" * 300]
ODD += ["a\u2028b", "a\x85b", "=1+1", "+1", "@a", "<script>", "\\input{harm}", "a:b", "a%b", "１"]
HOSTILE = COMMANDS + PATHS + ODD
PLAIN = ["CON", "nul", "null", "no", "true", "NaN", "0x10", "1e9", "constructor", "a" * 100]
"""What other systems take for something else, and is a name here."""


@pytest.fixture
def at(tmp_path, monkeypatch):
    """A folder with rasters and a scene table, which is the working directory too."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.tif", "b.tif", "l.tif"):
        (tmp_path / name).write_text("")
    (tmp_path / "scenes.tsv").write_text(TABLE)
    yield tmp_path
    assert not list(tmp_path.rglob("*harm*"))


def loaded(folder, text):
    """Load a study as Snakemake does: it reads the file, and gives us what it read."""
    file = folder / "study.yaml"
    file.write_text(text if isinstance(text, str) else json.dumps(text))
    return load(load_configfile(str(file)), [str(file)])


def refused(folder, text, name="study.yaml"):
    with pytest.raises(StudyError) as caught:
        loaded(folder, text)
    said = str(caught.value)
    assert said.startswith(str(folder / name))
    assert "expected" in said
    assert said.isprintable()
    return said


def changed(*keys, value):
    """Return the study with a value elsewhere."""
    study = json.loads(json.dumps(STUDY))
    place = study
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return study


# names


def quoted(cell):
    """Return a cell as CSV has it, where it must."""
    return '"' + cell.replace('"', '""') + '"' if re.search('["\r\n]', cell) else cell


@pytest.mark.parametrize("name", HOSTILE)
def test_a_scene_is_called_by_plain_letters_alone(at, name):
    (at / "scenes.tsv").write_text(TABLE + f"{quoted(name)}\tb.tif\tl.tif\ttest\n", newline="")

    refused(at, STUDY, "scenes.tsv")


@pytest.mark.parametrize("name", PLAIN)
def test_a_name_of_plain_letters_is_a_name(at, name):
    (at / "scenes.tsv").write_text(TABLE.replace("south", name))

    study = loaded(at, changed("experiments", value={name: {}}))

    assert list(study.scenes) == ["north", name]
    assert list(study.experiments) == [name]


@pytest.mark.parametrize("section", ["experiments", "ensembles", "variants", "domains"])
@pytest.mark.parametrize("name", [*COMMANDS[:4], "../up", "-rf", "a\u202eb", "a" * 300, "a.b\n"])
def test_an_experiment_and_its_like_are_called_by_plain_letters_alone(at, section, name):
    inside = {"experiments": {}, "ensembles": ["one"], "variants": {}, "domains": {}}[section]
    study = STUDY | {section: {"one": {}, name: inside} if section == "experiments" else {}}
    study |= {} if section == "experiments" else {section: {name: inside}}

    refused(at, study)


@pytest.mark.parametrize("name", [*COMMANDS[:4], "../up", "-rf", "a\u202eb", "a" * 300, "a/b"])
def test_a_model_and_an_adapted_teacher_are_called_by_plain_letters_alone(at, name):
    refused(at, changed("fetch", "models", name, value={"source": "owner/net"}))
    refused(at, STUDY | {"adapt": {"teachers": {name: "net"}}})


SEEN_ELSEWHERE = [
    *(
        "a\x00b",
        "a\x1b[2Jb",
        "a\nb",
        "a\tb",
        "a\u202eb",
        "a\u200bb",
        "\ufeffa",
        "a\u2028b",
        "a\x85b",
    ),
    *("=1+1", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "", "a" * 300, "a\u2066b", "a\x7fb"),
]


@pytest.mark.parametrize("name", SEEN_ELSEWHERE)
def test_a_class_is_no_formula_and_has_nothing_that_is_not_seen(at, name):
    said = refused(at, changed("classes", 0, "name", value=name))

    assert "classes.0.name" in said


@pytest.mark.parametrize(
    "name",
    ["$(touch harm)", "`touch harm`", "<script>alert(1)</script>", "\\input{harm}", "a;b", "%s"],
)
def test_a_class_may_be_called_by_other_signs_which_mean_nothing(at, name):
    assert loaded(at, changed("classes", 0, "name", value=name)).config.classes[0].name == name


# YAML

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
ENDS = yaml.safe_dump(STUDY)


@pytest.mark.parametrize(
    "text",
    [
        BOMB + ENDS,
        BOMB.replace("[", "{k: [").replace("]", "]}") + ENDS,
        "loop: &loop [*loop]\n" + ENDS,
        "loop: &loop {again: *loop}\n" + ENDS,
        ENDS + "scenes: other.tsv\n",
        ENDS + "train: {teacher: net, teacher: other}\n",
        ENDS + "report: {dpi: 50, dpi: 60}\n",
        ENDS.replace("teacher: net", "teacher: net\n  steps: .nan"),
        ENDS.replace("teacher: net", "teacher: net\n  steps: .inf"),
        ENDS.replace("teacher: net", "teacher: net\n  lr: .nan"),
        ENDS.replace("teacher: net", "teacher: net\n  lr: -.inf"),
        ENDS.replace("teacher: net", f"teacher: net\n  steps: {'9' * 400}"),
        ENDS.replace("teacher: net", f"teacher: net\n  steps: 0x{'f' * 400}"),
        ENDS.replace("teacher: net", "teacher: net\n  steps: no"),
        ENDS.replace("teacher: net", "teacher: no"),
        ENDS.replace("teacher: net", "teacher: 2020-01-01"),
        ENDS.replace("teacher: net", "teacher: net\n  steps: 010_000.5"),
        ENDS.replace("teacher: net", "teacher: net\n  steps: !!binary aGFybQ=="),
        ENDS.replace("teacher: net", "teacher: net\n  steps: !!set {1, 2}"),
        ENDS.replace("one: {}", "no: {}"),
        ENDS.replace("one: {}", "~: {}"),
        ENDS.replace("one: {}", "2020-01-01: {}"),
        ENDS.replace("one: {}", "1.5: {}"),
        ENDS.replace("one: {}", "1: {}\n  one: 3"),
        ENDS + "? [a, b]\n: c\n",
        ENDS + "__class__: {}\n",
        ENDS + "<<: {unknown: 1}\n",
        ENDS + f"{'k' * 10_000}: 1\n",
        ENDS + f"report: {{dpi: {'[' * 200}{']' * 200}}}\n",
    ],
)
def test_yaml_that_plays_tricks_is_refused(at, text):
    # a loader may see it first, and says so its own way
    try:
        refused(at, text)
    except (WorkflowError, yaml.YAMLError, TypeError) as error:
        assert str(error)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch harm']",
        "!!python/object/new:os.system ['touch harm']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object:builtins.object {}",
        "!!python/tuple [1, 2]",
        "!include /etc/passwd",
        "!ENV ${HOME}",
    ],
)
def test_a_tag_of_yaml_makes_nothing(at, tag):
    with pytest.raises((StudyError, WorkflowError, yaml.YAMLError)):
        loaded(at, ENDS + f"report: {tag}\n")


def test_merge_keys_and_aliases_of_a_usual_size_are_what_yaml_says_that_they_are(at):
    text = ENDS + "report: &r {dpi: 50}\n"

    assert loaded(at, text).config.report.dpi == 50
    shared = text.replace(
        "one: {}", "one: {train: &t {steps: 3}}\n  two: {train: {<<: *t, batch: 1}}"
    )
    assert loaded(at, shared).trainings["two"].steps == 3


def test_a_file_of_10_mb_is_read_in_seconds_and_refused(at):
    said = refused(
        at, STUDY | {"experiments": {"one": {}, "e": {f"k{n}": "x" * 5000 for n in range(2000)}}}
    )

    assert (at / "study.yaml").stat().st_size > 10**7
    assert "experiments.e" in said
    assert len(said) < 1000


# the scene table


@pytest.mark.parametrize(
    "text",
    [
        "\t".join(["scene", "image", "split", *(f"c{n}" for n in range(200_000))]) + "\n",
        TABLE + "\t" * 200_000 + "\n",
        TABLE + "east\tb.tif\tl.tif\ttest\textra\n",
        TABLE + "east\n",
        TABLE + '"east\tb.tif\tl.tif\ttest\n',
        TABLE + 'east\t"b.tif\nb.tif"\tl.tif\ttest\n',
        TABLE + "east\tb.tif\x00\tl.tif\ttest\n",
        TABLE + "east\t=1+1\tl.tif\ttest\n",
        TABLE + f"east\t{'b' * 5000}\tl.tif\ttest\n",
        TABLE + f"east\t{'x/' * 3000}b.tif\tl.tif\ttest\n",
        TABLE + "east\t$(touch harm)\tl.tif\ttest\n",
        TABLE + "east\t/vsicurl/http://127.0.0.1/b.tif\tl.tif\ttest\n",
        TABLE + "east\t/vsizip/b.zip/b.tif\tl.tif\ttest\n",
        TABLE + "east\thttp://127.0.0.1/b.tif\tl.tif\ttest\n",
        TABLE + "east\ts3://bucket/b.tif\tl.tif\ttest\n",
        TABLE + "east\tGTIFF_DIR:1:b.tif\tl.tif\ttest\n",
        TABLE + 'east\t"NETCDF:""b.nc"":v"\tl.tif\ttest\n',
        TABLE + "east\t/dev/zero\tl.tif\ttest\n",
        TABLE + "east\t/dev/stdin\tl.tif\ttest\n",
        TABLE + "east\t.\tl.tif\ttest\n",
        TABLE + "east\t**/**/**/**/*\tl.tif\ttest\n",
        TABLE + "east\t[\tl.tif\ttest\n",
        TABLE + "east\t[z-a]*.tif\tl.tif\ttest\n",
        TABLE + "east\tb.tif\tl.tif\t=test\n",
        TABLE + "east\tb.tif\tl.tif\ttest\u200b\n",
        TABLE.replace("scene\t", "scene\tscene\t"),
        TABLE.replace("\t", ","),
        TABLE.replace("scene", "sc\u0435ne"),
        "\x00" * 100,
        "",
    ],
)
def test_a_table_that_plays_tricks_is_refused(at, text):
    (at / "scenes.tsv").write_text(text, encoding="utf-8", newline="")

    refused(at, STUDY, "scenes.tsv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_a_table_in_another_encoding_is_refused(at, encoding):
    (at / "scenes.tsv").write_text(TABLE.replace("north", "nörth"), encoding=encoding)

    refused(at, STUDY, "scenes.tsv")


def test_a_byte_order_mark_and_line_ends_of_windows_are_no_trouble(at):
    (at / "scenes.tsv").write_text("\ufeff" + TABLE.replace("\n", "\r\n"), newline="")

    assert list(read_scenes(at / "scenes.tsv", str(at))) == ["north", "south"]


ODD_PATHS = ["$(touch harm)", "`touch harm`", "a\nb", "../..", "-x", "\x1b[2J"]


@pytest.mark.parametrize("value", ODD_PATHS)
@pytest.mark.parametrize("key", ["scenes", "data_root"])
def test_paths_are_paths_whatever_stands_in_them(at, key, value):
    with pytest.raises(StudyError) as caught:
        loaded(at, STUDY | {key: value})

    assert str(caught.value).isprintable()
