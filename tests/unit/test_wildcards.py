import re

import pytest

from pipeline_steps.study.scenes import NAME
from pipeline_steps.study.wildcards import one_of, part_of

SCENES = [f"scene-{number:04}" for number in range(1000)]


def matched(pattern, names):
    """Return the names that match, alone and as a folder of a path."""
    alone = {name for name in names if re.fullmatch(pattern, name)}
    path = re.compile(f"results/(?P<scene>{pattern})/classes.tif$")
    assert {name for name in names if path.match(f"results/{name}/classes.tif")} == alone
    return alone


def test_one_of_matches_names_and_nothing_else():
    assert matched(one_of(["a.b", "c"]), ["a.b", "axb", "c", "", "a.bc"]) == {"a.b", "c"}
    assert matched(one_of([]), ["a", ""]) == set()


@pytest.mark.parametrize(
    "chosen", [[], SCENES[:1], SCENES[1:], SCENES[::2], SCENES, ["scene-0001"]], ids=len
)
def test_a_part_is_told_from_the_other_names_that_are_known(chosen):
    pattern = part_of(SCENES, chosen, NAME.pattern)

    assert matched(pattern, SCENES) == set(chosen)


@pytest.mark.parametrize("chosen", [SCENES, SCENES[1:], SCENES[:1], []], ids=len)
def test_a_part_of_nearly_all_or_nearly_none_is_short(chosen):
    assert len(part_of(SCENES, chosen, NAME.pattern)) < 100


@pytest.mark.parametrize("name", ["a; rm -rf ~", "$(id)", "a/b", "../a", "", "-a", "a b"])
def test_no_form_but_that_of_a_name_is_matched(name):
    assert not re.fullmatch(part_of(SCENES, SCENES, NAME.pattern), name)


def test_a_name_that_begins_as_another_is_its_own():
    assert matched(
        part_of(["a", "a1", "a.b"], ["a1", "a.b"], NAME.pattern), ["a", "a1", "a.b"]
    ) == {
        "a1",
        "a.b",
    }
