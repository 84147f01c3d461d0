import pytest

from pipeline_steps.inspection.findings import Findings
from pipeline_steps.inspection.weights import KNOWN, is_restricted, licence_of, look_at_models
from pipeline_steps.study.params.fetch import Model
from pipeline_steps.study.params.fetch import Params as Models


@pytest.fixture
def look(tmp_path, monkeypatch):
    """A function that looks at one model, and says its row and what was found by level."""
    monkeypatch.chdir(tmp_path)

    def at(**facts):
        found = Findings()
        (row,) = look_at_models(Models(models={"mine": Model(**facts)}), found)
        return row, {
            level: [str(one) for one in found.of(level)] for level in ("error", "warning", "note")
        }

    return at


def folder_of(path, *names):
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    return path


@pytest.mark.parametrize(
    "source, licence",
    [
        ("depth-anything/Depth-Anything-V2-Small-hf", "Apache-2.0"),
        ("depth-anything/Depth-Anything-V2-Large-hf", "CC-BY-NC-4.0"),
        ("timm/vit_small_patch14_dinov2.lvd142m", "Apache-2.0"),
        ("someone/else", "unknown"),
        (None, "none needed: drawn at random"),
    ],
)
def test_a_licence_is_known_by_the_beginning_of_a_source(source, licence):
    assert licence_of(source, None) == licence


def test_the_longest_beginning_counts(monkeypatch):
    monkeypatch.setitem(KNOWN, "facebook/dinov2-giant-nc", "CC-BY-NC-4.0")

    assert licence_of("facebook/dinov2-giant-nc", None) == "CC-BY-NC-4.0"
    assert licence_of("facebook/dinov2-base", None) == "Apache-2.0"


def test_what_a_study_states_counts_more_than_what_is_known():
    assert licence_of("depth-anything/Depth-Anything-V2-Large-hf", "MIT") == "MIT"


@pytest.mark.parametrize(
    "licence", ["CC-BY-NC-4.0", "cc-by-nc-sa-4.0", "PolyForm-Noncommercial-1.0.0", "Non-Commercial"]
)
def test_a_licence_that_forbids_commercial_use_is_known_as_such(licence):
    assert is_restricted(licence)


@pytest.mark.parametrize(
    "licence", ["Apache-2.0", "MIT", "CC-BY-4.0", "unknown", "NCSA", "OGL-UK-3.0"]
)
def test_a_licence_that_allows_it_is_not(licence):
    assert not is_restricted(licence)


def test_random_weights_need_nothing(look):
    row, said = look(architecture={"patch_size": 4})

    assert row == {
        "model": "mine",
        "source": "drawn at random",
        "licence": "none needed: drawn at random",
        "state": "",
    }
    assert not any(said.values())


def test_a_model_that_is_not_fetched_is_a_warning_with_its_command(look):
    row, said = look(source="facebook/dinov2-base")

    assert (row["state"], row["licence"]) == ("to fetch", "Apache-2.0")
    assert said["warning"] == [
        "fetch.models.mine: facebook/dinov2-base is not fetched yet; where there is internet:"
        " snakemake results/fetch/mine/manifest.json"
    ]
    assert said["error"] == []


def test_a_model_that_is_fetched_already_is_no_warning(look, tmp_path):
    (tmp_path / "results/fetch/mine").mkdir(parents=True)
    (tmp_path / "results/fetch/mine/manifest.json").write_text("{}")

    _, said = look(source="facebook/dinov2-base")

    assert said["warning"] == []


def test_a_fetched_model_is_said_to_be_here(look, tmp_path):
    (tmp_path / "results/fetch/mine").mkdir(parents=True)
    (tmp_path / "results/fetch/mine/manifest.json").write_text("{}")

    row, _ = look(source="facebook/dinov2-base")

    assert row["state"] == "here"


def test_a_folder_with_its_files_is_here(look, tmp_path):
    folder = folder_of(tmp_path / "model", "config.json", "model.safetensors")

    row, said = look(source=str(folder), license="MIT", sha256={"config.json": "0" * 64})

    assert (row["state"], row["licence"]) == ("here", "MIT")
    assert not any(said.values())


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_file_that_a_folder_lacks_is_an_error(look, tmp_path, missing):
    names = {"config.json", "model.safetensors"} - {missing}
    folder = folder_of(tmp_path / "model", *names)

    _, said = look(source=str(folder))

    assert said["error"] == [f"{folder}: has no {missing}, expected one for fetch.models.mine"]


def test_a_folder_without_checksums_and_an_unknown_licence_are_notes(look, tmp_path):
    folder = folder_of(tmp_path / "model", "config.json", "model.safetensors")

    _, said = look(source=str(folder))

    assert said["note"] == [
        "fetch.models.mine: no sha256 stated, nothing is compared",
        "fetch.models.mine: licence unknown; state it as fetch.models.mine.license",
    ]


def test_weights_not_for_commercial_use_are_a_warning(look):
    _, said = look(source="depth-anything/Depth-Anything-V2-Base-hf")

    assert "fetch.models.mine: CC-BY-NC-4.0: not for commercial use" in said["warning"]


def test_without_models_there_is_no_row():
    assert look_at_models(Models(), Findings()) == []
