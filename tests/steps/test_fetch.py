import json
from pathlib import Path

import pytest

from pipeline_steps.fetch import run
from pipeline_steps.models.teacher import load_teacher
from pipeline_steps.study.manifest import digest_of
from pipeline_steps.study.params.fetch import Model
from tests.steps.conftest import TEACHER, model_files


def fetch(folder: Path, params: Model) -> Path:
    run("tiny", *model_files(folder), params)
    return folder


def test_an_architecture_becomes_a_model_that_loads_and_is_the_same_each_time(tmp_path):
    one, two = (fetch(tmp_path / name, TEACHER) for name in ("one", "two"))

    assert load_teacher(one, 1.0).patch == 4
    assert digest_of(one / "model.safetensors") == digest_of(two / "model.safetensors")


def test_a_folder_is_taken_over_bit_for_bit(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    copy = fetch(tmp_path / "copy", Model(source=str(source)))

    assert digest_of(copy / "model.safetensors") == digest_of(source / "model.safetensors")
    made = json.loads((copy / "manifest.json").read_text())["made"]
    assert made["model.safetensors"] == digest_of(source / "model.safetensors")


def test_how_the_input_is_normalised_is_taken_over_or_imagenets(tmp_path):
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    source = fetch(tmp_path / "source", TEACHER)
    stated = json.loads((source / "preprocessor_config.json").read_text())
    assert stated["image_mean"] == [0.485, 0.456, 0.406]

    (source / "preprocessor_config.json").write_text(json.dumps(own))
    copy = fetch(tmp_path / "copy", Model(source=str(source)))
    assert load_teacher(copy, 1.0).image_std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])

    (source / "preprocessor_config.json").unlink()
    fetch(tmp_path / "copy", Model(source=str(source)))  # what was there before does not stay
    assert load_teacher(copy, 1.0).image_mean[0, 0, 0, 0] == pytest.approx(0.485)


def test_a_folder_without_weights_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text("{}")
    (tmp_path / "source" / "pytorch_model.bin").write_bytes(b"pickle")

    with pytest.raises(ValueError, match=r"holds config\.json, pytorch_model\.bin, expected model"):
        fetch(tmp_path / "copy", Model(source=str(tmp_path / "source")))

    assert not list((tmp_path / "copy").rglob("*"))


def test_truncated_weights_are_refused(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors: cannot be read"):
        fetch(tmp_path / "copy", Model(source=str(source)))


def test_another_checksum_is_refused(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    params = Model(source=str(source), sha256={"model.safetensors": "0" * 64})
    with pytest.raises(ValueError, match=r"SHA-256 is [0-9a-f]{64}, expected 0{64}"):
        fetch(tmp_path / "copy", params)


def test_a_hub_out_of_reach_ends_with_the_command_that_fetches(tmp_path):
    with pytest.raises(ValueError, match=r"snakemake --cores 1 results/fetch/tiny/manifest\.json"):
        fetch(tmp_path / "copy", Model(source="someone/something"))


def test_what_is_neither_folder_nor_id_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"/no/such/folder: is no folder"):
        fetch(tmp_path / "copy", Model(source="/no/such/folder"))
