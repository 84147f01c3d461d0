import pytest

from pipeline_steps.study.patterns import is_pattern, matches, partners


@pytest.fixture
def folder(tmp_path):
    """A function that makes empty files and returns their folder."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("")
        return tmp_path

    return make


def found(pattern, root):
    """Return what a pattern matches as key → path below ``root``."""
    files = matches(pattern, str(root))
    return {key: path.removeprefix(f"{root}/") for key, path in files.items()}


@pytest.mark.parametrize("cell", ["*.tif", "a?.tif", "a[12].tif", "**/a.tif", "x*/b.tif"])
def test_a_cell_with_a_wildcard_is_a_pattern(cell):
    assert is_pattern(cell)


@pytest.mark.parametrize("cell", ["", "a.tif", "deep/a-b_c.tif", "../a.tif", "a[.tif", "a].tif"])
def test_a_plain_path_is_no_pattern(cell):
    assert not is_pattern(cell)


def test_a_key_holds_what_each_wildcard_stood_for(folder):
    root = folder("east/img/IMG_7.tif", "west/img/IMG_x.tif", "west/msk/IMG_x.tif")

    assert found("*/img/IMG_?.tif", root) == {
        ("east", "7"): "east/img/IMG_7.tif",
        ("west", "x"): "west/img/IMG_x.tif",
    }


def test_a_set_of_letters_is_a_wildcard_and_may_be_turned_round(folder):
    root = folder("a1.tif", "a2.tif", "ab.tif")

    assert set(found("a[12].tif", root)) == {("1",), ("2",)}
    assert set(found("a[!12].tif", root)) == {("b",)}


def test_two_stars_stand_for_any_folders_and_for_none(folder):
    root = folder("a.tif", "x/a.tif", "x/y/a.tif", "x/y/b.png")

    assert found("**/*.tif", root) == {
        ("", "a"): "a.tif",
        ("x/", "a"): "x/a.tif",
        ("x/y/", "a"): "x/y/a.tif",
    }


def test_other_letters_of_a_pattern_stand_for_themselves(folder):
    root = folder("a+b (1).tif", "aab (1).tif", "a+b 1.tif")

    assert found("a+b (*).tif", root) == {("1",): "a+b (1).tif"}


def test_files_come_in_natural_order(folder):
    root = folder(*(f"top_{n}.tif" for n in (10, 9, 2, 1, 100)))

    assert list(found("top_*.tif", root)) == [("1",), ("2",), ("9",), ("10",), ("100",)]


def test_words_and_numbers_in_one_place_can_be_ordered(folder):
    root = folder("a.tif", "1.tif", "a2.tif", "a10.tif", "2b.tif")

    names = [key[0] for key in found("*.tif", root)]

    assert sorted(names) == ["1", "2b", "a", "a10", "a2"]
    assert names.index("a2") < names.index("a10")


def test_folders_match_no_pattern(folder):
    root = folder("a.tif", "b.tif/inside.txt")

    assert found("*.tif", root) == {("a",): "a.tif"}


def test_wildcards_in_the_root_are_letters(folder):
    root = folder("data [12]*/a.tif", "data 1/a.tif") / "data [12]*"

    assert found("*.tif", root) == {("a",): "a.tif"}


def test_a_pattern_without_a_root_is_relative_to_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder("x/a.tif"))

    assert matches("x/*.tif", "") == {("a",): "x/a.tif"}


def test_an_absolute_pattern_needs_no_root(folder):
    root = folder("x/a.tif")

    assert matches(f"{root}/x/*.tif", "/somewhere") == {("a",): f"{root}/x/a.tif"}


def test_a_pattern_that_matches_nothing_finds_nothing(folder):
    assert found("*.png", folder("a.tif")) == {}


def test_hidden_files_match_no_star(folder):
    assert found("*.tif", folder(".a.tif", "a.tif")) == {("a",): "a.tif"}


def partner(key, files):
    return partners([key], files)[key]


def test_the_partner_has_wildcards_that_stand_for_the_same():
    files = {("2", "10"): "two", ("2", "11"): "eleven"}

    assert partner(("2", "11"), files) == "eleven"
    assert partner(("2", "12"), files) is None


@pytest.mark.parametrize(
    "key, other", [(("2", "10"), ("02", "10")), (("007",), ("7",)), (("a0b",), ("a00b",))]
)
def test_leading_zeros_do_not_part_partners(key, other):
    assert partner(key, {other: "file"}) == "file"
    assert partner(other, {key: "file"}) == "file"


@pytest.mark.parametrize("key, other", [(("10",), ("1",)), (("1",), ("10",)), (("0",), ("",))])
def test_zeros_that_count_do_part_them(key, other):
    assert partner(key, {other: "file"}) is None


def test_the_same_key_is_preferred_to_one_that_differs_in_zeros():
    files = {("02",): "padded", ("2",): "plain"}

    assert partner(("2",), files) == "plain"
    assert partner(("02",), files) == "padded"


def test_a_key_that_fits_several_files_fits_none():
    assert partner(("2",), {("02",): "two", ("002",): "three"}) is None
