import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline_steps.study.errors import in_one_line


class Window(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    size: int = Field(1, ge=1)
    name: str = ""

    @field_validator("name")
    @classmethod
    def _lower(cls, name):
        if name != name.lower():
            raise ValueError(f"is {name!r}, expected lower case")
        return name


class Stage(BaseModel):
    window: Window
    steps: int = 1


def trouble(under="", **values):
    with pytest.raises(ValidationError) as caught:
        Stage(**values)
    return in_one_line(caught.value, under)


def test_a_value_of_the_wrong_kind_is_named_with_what_was_expected():
    text = trouble(window={"size": "big"})

    assert text == "window.size is 'big', expected integer"


def test_a_value_out_of_range_is_named_with_its_range():
    assert trouble(window={"size": 0}) == "window.size is '0', expected greater than or equal to 1"


def test_an_unknown_key_is_named():
    assert trouble(window={"sise": 2}).startswith("window.sise is not a key, expected")


def test_a_missing_key_is_named():
    assert trouble() == "window is missing, expected a value"


def test_a_rule_of_our_own_speaks_for_itself():
    assert trouble(window={"name": "A"}) == "window.name: is 'A', expected lower case"


def test_a_key_stands_under_its_section():
    text = trouble("experiments.depthseg.train", window={"size": 0})

    assert text.startswith("experiments.depthseg.train.window.size is '0'")


def test_the_number_of_further_troubles_is_told():
    assert trouble(window={"size": 0}, steps="many").endswith(" (and 1 more)")


def test_a_long_value_is_cut():
    text = trouble(window={"size": "x" * 500})

    assert len(text) < 120 and "..." in text


def test_a_number_that_yaml_takes_for_a_word_is_told_how_to_be_written():
    text = trouble(window={"size": "1e3"})

    assert text == "window.size is '1e3', expected integer; YAML reads a number in 1.0e3"


def test_line_breaks_of_a_key_do_not_break_the_line():
    assert "\n" not in trouble(window={"bad\nkey": 1})
