import pytest

from pipeline_steps.inspection.findings import Findings
from pipeline_steps.inspection.weights import look_at_models
from pipeline_steps.study.licences import KNOWN, is_restricted, licence_of
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
        ("LiheYoung/depth_anything_vits14", "Apache-2.0"),
        ("/data/depth_anything_v2_vitl.pth", "CC-BY-NC-4.0"),
        ("weights/dinov2_vitg14_reg4_pretrain.pth", "Apache-2.0"),
        ("weights/dinov2_mine.pth", "unknown"),
        ("weights/Depth-Anything-V2-Large-hf", "CC-BY-NC-4.0"),
        ("weights/dinov2-mine", "unknown"),
        ("apple/DepthPro-hf", "apple-amlr"),
        ("someone/else", "unknown"),
        (None, "none needed: drawn at random"),
    ],
)
def test_a_licence_is_known_by_the_beginning_of_a_source_or_the_name_of_what_is_here(
    source, licence
):
    assert licence_of(source, None) == licence


def test_the_longest_beginning_counts(monkeypatch):
    monkeypatch.setitem(KNOWN, "facebook/dinov2-giant-nc", "CC-BY-NC-4.0")

    assert licence_of("facebook/dinov2-giant-nc", None) == "CC-BY-NC-4.0"
    assert licence_of("facebook/dinov2-base", None) == "Apache-2.0"


def test_what_a_study_states_counts_more_than_what_is_known():
    assert licence_of("depth-anything/Depth-Anything-V2-Large-hf", "MIT") == "MIT"


def test_what_is_known_counts_more_than_a_card_and_a_card_more_than_nothing():
    assert licence_of("facebook/dinov2-base", None, "other") == "Apache-2.0"
    assert licence_of("someone/else", None, "cc-by-nc-4.0") == "cc-by-nc-4.0"
    assert licence_of("someone/else", "MIT", "cc-by-nc-4.0") == "MIT"


@pytest.mark.parametrize(
    "licence",
    [
        "CC-BY-NC-4.0",
        "cc-by-nc-sa-4.0",
        "CC BY NC 4.0",
        "cc_by_nc_4.0",
        "PolyForm-Noncommercial-1.0.0",
        "Non-Commercial",
        "non_commercial",
        "fair-noncommercial-research",
        "NCGL-UK-2.0",
        "apple-amlr",
        "Apple AMLR",
        "intel-research",
        "research-only",
    ],
)
def test_a_licence_that_forbids_commercial_use_is_known_as_such(licence):
    assert is_restricted(licence)


@pytest.mark.parametrize(
    "licence", ["Apache-2.0", "MIT", "CC-BY-4.0", "unknown", "NCSA", "OGL-UK-3.0", "apple-ascl"]
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
        " snakemake --cores 1 results/fetch/mine/manifest.json"
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


def test_a_licence_that_fetching_found_on_the_card_is_known(look, tmp_path):
    (tmp_path / "results/fetch/mine").mkdir(parents=True)
    (tmp_path / "results/fetch/mine/manifest.json").write_text('{"license": "cc-by-nc-4.0"}')

    row, said = look(source="someone/else")
    assert row["licence"] == "cc-by-nc-4.0"
    assert said["warning"] == ["fetch.models.mine: cc-by-nc-4.0: not for commercial use"]

    row, said = look(source="someone/else", license="MIT")
    assert row["licence"] == "MIT" and not any(said.values())


def test_a_file_is_here(look, tmp_path):
    (tmp_path / "depth_anything_v2_vits.pth").write_bytes(b"")

    row, said = look(source=str(tmp_path / "depth_anything_v2_vits.pth"))

    assert (row["state"], row["licence"]) == ("here", "Apache-2.0")
    assert said == {
        "error": [],
        "warning": [],
        "note": ["fetch.models.mine: no sha256 stated, nothing is compared"],
    }


@pytest.mark.parametrize("source", ["/no/such/folder", "weights/gone.pth", "gone"])
def test_a_source_that_is_neither_here_nor_an_id_is_an_error(look, source):
    row, said = look(source=source)

    assert row["state"] == "missing"
    assert said["error"] == [
        f"{source}: is neither here nor an id on the hub, expected one for fetch.models.mine"
    ]


def test_weights_of_another_name_are_looked_for_in_a_folder(look, tmp_path):
    folder = folder_of(tmp_path / "model", "depth_anything_v2_vits.pth")

    assert look(source=str(folder), file="depth_anything_v2_vits.pth")[1]["error"] == []
    assert look(source=str(folder), file="other.pth")[1]["error"] == [
        f"{folder}: has no other.pth, expected one for fetch.models.mine"
    ]


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.safetensors.index.json"])
def test_weights_that_are_converted_are_weights(look, tmp_path, weights):
    folder = folder_of(tmp_path / "model", "config.json", weights)

    assert look(source=str(folder))[1]["error"] == []


def test_a_licence_is_known_by_the_file_that_is_chosen_of_a_source(look, tmp_path):
    folder = folder_of(tmp_path / "weights", "depth_anything_v2_vitl.pth")

    row, said = look(source=str(folder), file="depth_anything_v2_vitl.pth")

    assert row["licence"] == "CC-BY-NC-4.0"
    assert said["warning"] == ["fetch.models.mine: CC-BY-NC-4.0: not for commercial use"]
    assert licence_of("someone/mirror", None, "mit", "v2/depth_anything_v2_vitl.pth") == (
        "CC-BY-NC-4.0"
    )


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
