import pytest

from pipeline_steps.inspection.findings import Finding, Findings, shown


def test_a_finding_reads_as_where_what_and_remedy():
    assert str(Finding("error", "a.tif", "is gone", "fetch it")) == "a.tif: is gone; fetch it"
    assert str(Finding("note", "a.tif", "is fine")) == "a.tif: is fine"


def test_findings_keep_their_order_and_the_same_one_counts_once():
    found = Findings()
    for where in ("b", "a", "b"):
        found.add("error", where, "is gone", "fetch it")
    found.add("warning", "b", "is gone", "fetch it")

    assert [(one.level, one.where) for one in found] == [
        ("error", "b"),
        ("error", "a"),
        ("warning", "b"),
    ]


def test_findings_of_a_level_are_those_alone():
    found = Findings()
    found.add("note", "a", "is here")
    found.add("error", "b", "is gone")

    assert [one.where for one in found.of("error")] == ["b"]
    assert found.of("warning") == []


def test_what_a_finding_says_is_one_line():
    found = Findings()
    found.add("error", "a.tif", "cannot be\n read\t here ")

    assert found[0].what == "cannot be read here"


@pytest.mark.parametrize(
    "text, where, what",
    [
        ("a.tif: is 3x4, expected 4x4", "a.tif", "is 3x4, expected 4x4"),
        ("a.tif: cannot be read (b: c)", "a.tif", "cannot be read (b: c)"),
        ("broken", "broken", "cannot be used"),
    ],
)
def test_what_reading_a_file_has_raised_is_an_error_of_that_file(text, where, what):
    found = Findings()
    found.raised(ValueError(text))

    assert found == [Finding("error", where, what)]


def test_a_table_has_a_heading_of_words_and_units_and_a_line_for_each_row():
    rows = [
        {"scene": "a", "gsd_m": 0.123456789, "nodata_percent": None, "disk_gb": 2},
        {"scene": "b", "gsd_m": 12.0, "nodata_percent": 35.5, "disk_gb": 10},
    ]

    heading, _, first, second = shown(rows).splitlines()

    assert heading.split("  ")[0] == "scene"
    assert all(word in heading for word in ("gsd m", "nodata %", "disk GB"))
    assert first.split() == ["a", "0.12346", "–", "2"]
    assert second.split() == ["b", "12", "35.5", "10"]


def test_columns_can_be_left_out_of_a_table():
    text = shown([{"between": "train and test", "pair": ("a", "b")}], without=("pair",))

    assert "pair" not in text and "train and test" in text


def test_text_that_looks_like_a_number_stays_text():
    assert "0010" in shown([{"scene": "0010"}])
