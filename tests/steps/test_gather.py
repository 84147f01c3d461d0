import json

import pytest

from pipeline_steps import gather
from pipeline_steps.presentation.counts import lines_of
from pipeline_steps.study.manifest import read_made, write_manifest


def written(file, facts):
    """Write what a stage measured, with the manifest that tells of it."""
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(facts, indent=1))
    told = {"params": None, "made_from": [], "made": [file]}
    write_manifest(file.parent / "manifest.json", "pipeline_steps.score", **told)
    return file


@pytest.fixture
def measured(tmp_path):
    counts = [written(tmp_path / "score" / n / "town.json", {"scene": n}) for n in ("b", "a")]
    return counts, [], [written(tmp_path / "depth" / "town" / "quality.json", {"r": 0.5})]


def test_what_was_measured_stands_in_a_line_each_in_the_order_that_was_asked_for(
    tmp_path, measured
):
    gather.run(*measured, tmp_path / "gather")

    counts, corruptions, qualities = gather.places_in(tmp_path / "gather")
    assert [one["scene"] for one in lines_of(counts)] == ["b", "a"]
    assert list(lines_of(corruptions)) == []
    assert list(lines_of(qualities)) == [{"r": 0.5}]
    assert len(counts.read_text().splitlines()) == 2


def test_the_manifest_tells_of_all_that_was_read_and_made(tmp_path, measured):
    gather.run(*measured, tmp_path / "gather")

    facts = read_made(tmp_path / "gather" / "manifest.json")
    assert len(facts["made_from"]) == 3
    assert set(facts["made"]) == {"counts.jsonl", "corruptions.jsonl", "qualities.jsonl"}


@pytest.mark.parametrize("text", ['{"scene": "c"}', "no JSON"])
def test_a_file_that_is_not_what_it_was_is_refused_by_name(tmp_path, measured, text):
    damaged = measured[0][1]
    damaged.write_text(text)

    with pytest.raises(ValueError, match=f"^{damaged}: "):
        gather.run(*measured, tmp_path / "gather")

    assert not (tmp_path / "gather" / "manifest.json").exists()


def test_a_line_that_is_no_json_is_named(tmp_path):
    file = tmp_path / "counts.jsonl"
    file.write_text('{"scene": "a"}\nno JSON\n')

    with pytest.raises(ValueError, match=rf"^{file}:2: is not JSON"):
        list(lines_of(file))
