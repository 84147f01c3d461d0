"""What jobs ask of a cluster grows with their scene and with every attempt."""

import json
import os
from types import SimpleNamespace

import pytest

from pipeline_steps.study.config import load
from pipeline_steps.study.needs import BASES, Needs
from tests.data.studies import TINY_ROWS, tiny_study, write_study


@pytest.fixture
def study(tmp_path, monkeypatch):
    config = tiny_study()
    config["predict"] |= {"turns": True}
    file = write_study(tmp_path, config, TINY_ROWS)
    monkeypatch.chdir(tmp_path)
    return load(config, [str(file)])


def measured(file, pixels, megapixels, bands="3 uint8"):
    """Write what `check` finds of one scene."""
    row = {"scene": "harbour", "pixels": pixels, "megapixels": megapixels, "bands": bands}
    file.write_text(json.dumps({"scenes": [row]}))


def job(**wildcards):
    return SimpleNamespace(scene="harbour", experiment="depthseg", run="seed-0", **wildcards)


def test_until_check_has_looked_a_job_asks_for_what_its_stage_needs_in_any_case(study):
    needs = Needs(study, "findings.json")

    assert needs.mb("tile")(job(), 1) == BASES["tile"].mb
    assert needs.minutes("tile")(job(), 1) == BASES["tile"].minutes
    assert needs.mb("stretch")(SimpleNamespace(), 1) == BASES["stretch"].mb


def test_every_attempt_asks_for_half_as_much_again(study):
    asks = Needs(study, "findings.json").mb("train")

    assert [asks(job(), attempt) for attempt in (1, 2, 3)] == [16000, 24000, 32000]


def test_memory_grows_with_the_width_of_the_widest_image_and_its_bands(study, tmp_path):
    needs, file = Needs(study, "findings.json"), tmp_path / "findings.json"

    measured(file, "500x9000 to 100000x1000", 104.5)
    assert needs.mb("tile")(job(), 1) == 2000 + 2.5 * 4 * 512 * 3 * 100000 / 1e6
    measured(file, "100000x1000", 100.0, bands="8 uint16")
    os.utime(file, ns=(1, 1))
    assert needs.mb("tile")(job(), 1) == 2000 + 2.5 * 4 * 512 * 8 * 100000 / 1e6
    classes, window = len(study.config.classes), study.config.predict.window
    blended = 2.5 * 4 * classes * window * 100000 / 1e6
    assert needs.mb("predict")(job(), 1) == int(8000 + blended)


def test_time_grows_with_pixels_and_with_how_often_networks_see_them(study, tmp_path):
    needs = Needs(study, "findings.json")
    measured(tmp_path / "findings.json", "60000x10000", 600.0)

    assert needs.minutes("tile")(job(), 1) == 30 + 600 / 60
    # eight turns by one network
    assert needs.minutes("predict")(job(), 1) == 60 + 8 * 10 * 600 / 60
    # the same for each of eight kinds at five severities
    assert needs.minutes("corrupt")(job(), 1) == 60 + 8 * 5 * 8 * 10 * 600 / 60
    assert needs.minutes("depth")(job(teacher="town"), 1) == 60 + 10 * 600 / 60


def test_a_scene_that_check_has_not_seen_asks_as_if_it_were_small(study, tmp_path):
    needs = Needs(study, "findings.json")
    measured(tmp_path / "findings.json", "60000x10000", 600.0)

    assert needs.mb("tile")(SimpleNamespace(scene="new"), 1) == BASES["tile"].mb


@pytest.mark.parametrize("text", ["", "{", "[]", '{"scenes": [{"scene": "a"}]}'])
def test_findings_that_are_damaged_stop_nobody_from_asking(study, tmp_path, text):
    file = tmp_path / "findings.json"
    file.write_text(text)

    assert Needs(study, str(file)).mb("tile")(job(), 1) == BASES["tile"].mb
