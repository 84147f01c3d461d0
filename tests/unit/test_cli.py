import json
import logging
import os
from pathlib import Path

import pytest

from pipeline_steps.study import cli
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.params.score import Params

CALLS = []
LOOK = {"name": "roof", "color": "#c8372d"}


@pytest.fixture(autouse=True)
def calls():
    CALLS.clear()
    before = logging.getLogger().handlers[:]
    yield CALLS
    logging.getLogger().handlers[:] = before


def run(
    image: Path,
    scene: str,
    seed: int,
    params: Params,
    looks: list[ClassLook],
    depth: Path | None = None,
    made_from: list[Path] = (),
) -> None:
    """Remember how it was called."""
    CALLS.append((image, scene, seed, params, looks, depth, list(made_from)))


def arguments(**changes):
    given = {
        "--image": "a b.tif",
        "--scene": "12",
        "--seed": "3",
        "--params": Params().model_dump_json(),
        "--looks": json.dumps([LOOK]),
    } | changes
    return [word for flag, value in given.items() if value is not None for word in (flag, value)]


def raising(error):
    def failing() -> None:
        raise error

    return failing


def ended(function, argv=()):
    with pytest.raises(SystemExit) as end:
        cli.main(function, list(argv))
    return end.value.code


def test_arguments_arrive_typed_as_the_function_says():
    cli.main(run, arguments())

    looks = [ClassLook(**LOOK)]
    assert [(Path("a b.tif"), "12", 3, Params(), looks, None, [])] == CALLS


def test_optional_paths_and_lists_of_paths_are_given_by_flags():
    cli.main(run, [*arguments(), "--depth", "d.zarr", "--made-from", "x", "y"])

    assert CALLS[0][5:] == (Path("d.zarr"), [Path("x"), Path("y")])


def test_a_list_of_paths_may_be_in_a_file_whatever_their_names_are(tmp_path):
    names = ["a b", "new\nline", "@c", "-d", "é", "\udcff"]
    file = tmp_path / "list"
    file.write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))

    cli.main(run, [*arguments(), "--made-from-from", str(file)])

    assert CALLS[0][6] == [Path(name) for name in names]


def test_a_file_without_names_is_an_empty_list(tmp_path):
    # what `printf` makes of no words
    (tmp_path / "list").write_bytes(b"\0")

    cli.main(run, [*arguments(), "--made-from-from", str(tmp_path / "list")])

    assert CALLS[0][6] == []


def test_what_is_json_may_be_in_a_file(tmp_path):
    (tmp_path / "list").write_text(json.dumps([LOOK]) + "\0")

    cli.main(run, [*arguments(**{"--looks": None}), "--looks-from", str(tmp_path / "list")])

    assert CALLS[0][4] == [ClassLook(**LOOK)]


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--made-from", "x", "--made-from-from", "list"], "not allowed with"),
        (["--made-from-from", "no such"], "no such"),
        (["--looks-from", "list"], "not allowed with"),
    ],
)
def test_a_list_that_is_not_there_or_there_twice_is_named(tmp_path, argv, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("list").write_bytes(b"[]")

    text = ended(run, [*arguments(), *argv])

    assert text.startswith("error: test_cli: ") and words in text
    assert "\n" not in text and not CALLS


# a text as the code of SystemExit is printed on stderr and makes the status 1
def test_a_missing_argument_is_named():
    text = ended(run, arguments(**{"--scene": None}))

    assert text.startswith("error: test_cli: ") and "--scene" in text
    assert "\n" not in text and not CALLS


@pytest.mark.parametrize(
    "params, words",
    [
        ('{"no_such": 1}', "--params: no_such is not a key"),
        ('{"size"', "--params: it is not JSON"),
    ],
)
def test_params_that_do_not_fit_are_named_with_key_and_value(params, words):
    text = ended(run, arguments(**{"--params": params}))

    assert text.startswith("error: test_cli: ") and words in text
    assert "\n" not in text and not CALLS


@pytest.mark.parametrize(
    "error", [ValueError("a is 1,\nexpected 2"), OSError("a is 1, expected 2")]
)
def test_bad_input_ends_in_one_line_that_names_the_step_without_a_traceback(error, capsys):
    assert ended(raising(error)) == "error: test_cli: a is 1, expected 2"
    assert "Traceback" not in capsys.readouterr().err


def test_unexpected_trouble_ends_in_one_line_below_its_traceback(caplog):
    assert ended(raising(KeyError("width"))) == "error: test_cli: KeyError: 'width'"

    assert any(record.exc_info for record in caplog.records)


def test_trouble_without_words_is_called_by_its_kind():
    assert ended(raising(ValueError())) == "error: test_cli: ValueError"
