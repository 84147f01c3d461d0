import pytest
from pydantic import ValidationError

from pipeline_steps.study.classes import ClassCode, ClassLook, ClassSpec


def spec(**fields):
    return ClassSpec.model_validate({"name": "roof"} | fields)


def test_keys_are_all_labels_that_mean_the_class():
    assert spec(value=3, color="#000000").keys == (3,)
    assert spec(value=(3, 9), color="#000000").keys == (3, 9)
    assert spec(rgb=(1, 2, 3)).keys == ((1, 2, 3),)


def test_a_label_is_any_integer_of_32_bits_or_a_polygons_word():
    values = (-1, 65536, 2**32 - 1, "building:part")
    assert spec(value=values, color="#000000").keys == values
    assert spec(value="roof", color="#000000").keys == ("roof",)


def test_a_class_has_value_or_colour_or_neither_but_not_both():
    assert spec(color="#000000").keys == ()
    with pytest.raises(ValidationError, match="'roof': has value and rgb, expected one of them"):
        spec(color="#000000", value=3, rgb=(1, 2, 3))


def test_a_class_by_value_needs_a_display_colour():
    with pytest.raises(ValidationError, match="'roof' has no color, expected '#rrggbb'"):
        spec(value=3)


@pytest.mark.parametrize(
    "fields",
    [
        {"value": -(2**31) - 1},
        {"value": 2**32},
        {"value": 3.0},
        {"value": True},
        {"value": ()},
        {"value": ""},
        {"value": "x" * 201},
        {"value": ("roof", 2**32)},
        {"value": 3, "color": "red"},
        {"value": 3, "color": "#12345"},
        {"rgb": (1, 2, 256)},
        {"value": 3, "name": "a\nb"},
        {"value": 3, "name": ""},
    ],
)
def test_labels_names_and_colours_out_of_range_are_refused(fields):
    with pytest.raises(ValidationError):
        spec(**({"color": "#000000"} | fields))


def test_a_look_is_the_display_colour_or_else_the_label_colour():
    assert spec(rgb=(226, 169, 41)).look == ClassLook(name="roof", color="#e2a929")
    assert spec(rgb=(226, 169, 41), color="#C8372D").look.rgb == (200, 55, 45)


def test_another_display_colour_leaves_the_code_as_it_is():
    assert spec(value=3, color="#000000").code == spec(value=3, color="#ffffff").code
    assert spec(value=3, color="#000000").code == ClassCode(name="roof", value=3)
