import json
import shutil

import pytest

from pipeline_steps.lineage import main
from pipeline_steps.study.manifest import digest_of, write_manifest, write_text
from pipeline_steps.study.params.bundle import Params as Bundle
from pipeline_steps.study.params.fetch import Model
from pipeline_steps.study.params.score import Params as Score
from pipeline_steps.study.params.stretch import Params as Stretch
from pipeline_steps.study.params.tile import Params as Tile


def told(path, step, params, made_from, made, **facts):
    write_manifest(
        path, f"pipeline_steps.{step}", params=params, made_from=made_from, made=made, **facts
    )
    return path


def filled(path, text="bytes of it"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}: {path.name}")
    return path


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study as stages leave it, whose one scene lies elsewhere; the working directory is its."""
    monkeypatch.chdir(tmp_path)
    image = filled(tmp_path / "data" / "town" / "image.tif")
    results = tmp_path / "study" / "results"
    filled(results / "tile" / "town" / "image.zarr" / "0" / "c" / "0")
    folder = results / "tile" / "town"
    made = [folder / "image.zarr"]
    sources = {"town/image.tif": image}
    tile = told(folder / "manifest.json", "tile", Tile(chunk=64), [], made, sources=sources)
    stretch = filled(results / "stretch" / "stretch.json")
    told(stretch.with_name("manifest.json"), "stretch", Stretch(), [tile], [stretch])
    weights = filled(results / "fetch" / "small" / "model.safetensors")
    facts = {"source": "owner/small", "revision": "c0ffee", "license": "MIT", "sha256": {"w": "ab"}}
    model = Model(source="owner/small")
    fetched = told(weights.with_name("manifest.json"), "fetch", model, [], [weights], **facts)
    counts = filled(results / "score" / "deep" / "seed-0" / "town.json")
    record = counts.with_suffix("") / "manifest.json"
    told(record, "score", Score(), [tile, stretch, fetched], [counts])
    bundle = filled(results / "bundle" / "deep" / "seed-0" / "model.safetensors")
    params = Bundle(), [fetched, tile], [bundle]
    told(bundle.with_name("bundle.json"), "bundle", *params)
    write_text(results / "check" / "findings.json", json.dumps({"root": str(tmp_path / "data")}))
    return tmp_path / "study"


COUNTS = "study/results/score/deep/seed-0/town.json"


def printed(capsys, *arguments):
    main([str(one) for one in arguments])
    return capsys.readouterr().out.splitlines()


def refused(capsys, *arguments):
    """Return what was printed, and the line it ended with."""
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    return capsys.readouterr().out.splitlines(), ended.value.code


def names(lines):
    """Return the lines of artifacts, without what leads to them and what is said of them."""
    return [line.lstrip("│├└─ ") for line in lines if line.lstrip("│├└─ ").startswith("results/")]


def test_an_artifact_is_told_down_to_the_digest_of_its_source(study, capsys):
    lines = printed(capsys, COUNTS)

    assert names(lines) == [
        "results/score/deep/seed-0/town.json",
        "results/tile/town/manifest.json",
        "results/stretch/stretch.json",
        "results/tile/town/manifest.json  (above)",
        "results/fetch/small/manifest.json",
    ]
    source = study.parent / "data" / "town" / "image.tif"
    assert [line for line in lines if line.endswith(f"{source}  {digest_of(source)}")]


def test_code_versions_weights_and_licence_are_told(study, capsys):
    text = "\n".join(printed(capsys, study / "results" / "fetch" / "small"))

    facts = json.loads((study / "results" / "fetch" / "small" / "manifest.json").read_text())
    assert f"step      fetch, code {facts['code']}" in text
    assert f"torch {facts['versions']['torch']}" in text
    for line in ("source    owner/small", "revision  c0ffee", "licence   MIT", "original  "):
        assert line in text
    assert f"made      {facts['made']['model.safetensors']}  model.safetensors" in text


def test_params_are_those_that_differ_from_defaults_or_all(study, capsys):
    few, many = (
        [line.split("param ")[1].strip() for line in printed(capsys, *asked) if "param " in line]
        for asked in ([COUNTS], [COUNTS, "--params"])
    )

    assert few == ["chunk 64", 'source "owner/small"']
    assert {"chunk 64", "block_px 512", 'compression "zstd"'} < set(many)


@pytest.mark.parametrize(
    "name",
    [
        "study/results/tile/town",
        "study/results/tile/town/manifest.json",
        "study/results/tile/town/image.zarr",
        "study/results/tile/town/image.zarr/0/c/0",
    ],
)
def test_any_file_and_folder_leads_to_its_manifest(study, capsys, name):
    found = json.loads("\n".join(printed(capsys, name, "--json")))

    assert found["manifest"] == "results/tile/town/manifest.json"


def test_the_same_comes_as_json(study, capsys):
    found = json.loads("\n".join(printed(capsys, COUNTS, "--json")))

    assert found["artifact"] == "results/score/deep/seed-0/town.json"
    first = found["records"][found["manifest"]]
    assert list(first["made"]) == [found["artifact"]]
    assert first["made_from"]["results/stretch/stretch.json"] == {
        "sha256": digest_of(study / "results" / "stretch" / "stretch.json"),
        "manifest": "results/stretch/manifest.json",
    }
    assert len(found["records"]) == 4


def test_what_is_as_it_was_is_counted(study, capsys):
    (line,) = printed(capsys, COUNTS, "--verify")

    # four manifests, four things made, one source
    assert line == "9 files and stores are what they were"


FLIPPED = [
    "data/town/image.tif",
    "study/results/tile/town/image.zarr",
    "study/results/tile/town/manifest.json",
    "study/results/stretch/stretch.json",
    "study/results/stretch/manifest.json",
    "study/results/fetch/small/model.safetensors",
    "study/results/fetch/small/manifest.json",
    COUNTS,
]


@pytest.mark.parametrize("place", [0, 3, -3])
@pytest.mark.parametrize("name", FLIPPED)
def test_a_flipped_byte_is_found_and_named(study, capsys, name, place):
    path = study.parent / name
    file = path / "0" / "c" / "0" if path.is_dir() else path
    text = bytearray(file.read_bytes())
    text[place] ^= 1
    file.write_bytes(text)

    lines, end = refused(capsys, COUNTS, "--verify")

    shown = name.removeprefix("study/") if name.startswith("study/") else str(path)
    assert [line for line in lines if line.startswith(f"{shown}: found ")]
    assert end.startswith("error: lineage: ") and "\n" not in end


def test_a_manifest_that_says_something_else_is_found_though_nothing_was_made_from_it(
    study, capsys
):
    manifest = study / "results" / "score" / "deep" / "seed-0" / "town" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"block_px": 512', '"block_px": 513'))

    lines, _ = refused(capsys, COUNTS, "--verify")

    assert lines[0].startswith("results/score/deep/seed-0/town/manifest.json: found ")


def test_found_and_expected_are_told(study, capsys):
    weights = study / "results" / "fetch" / "small" / "model.safetensors"
    was = digest_of(weights)
    weights.write_text("others")

    lines, end = refused(capsys, COUNTS, "--verify")

    shown = "results/fetch/small/model.safetensors"
    assert lines == [f"{shown}: found {digest_of(weights)}, expected {was}"]
    assert "town.json: 1 digests along its lineage differ, expected none" in end


def test_what_is_gone_is_found(study, capsys):
    shutil.rmtree(study / "results" / "tile" / "town" / "image.zarr")
    (study / "results" / "stretch" / "manifest.json").unlink()

    lines, _ = refused(capsys, COUNTS, "--verify")

    assert lines[0].startswith("results/tile/town/image.zarr: found nothing, expected ")
    assert lines[1:] == ["results/stretch/stretch.json: found no manifest beside it, expected one"]


def test_a_study_and_its_scenes_may_be_moved(study, capsys, tmp_path):
    moved = shutil.move(study, tmp_path / "elsewhere")
    data = shutil.move(tmp_path / "data", tmp_path / "disk")
    counts = tmp_path / "elsewhere" / COUNTS.removeprefix("study/")

    lines, end = refused(capsys, counts, "--verify")
    assert len(lines) == 1 and "town/image.tif: found nothing" in lines[0] and "--data-root" in end
    assert printed(capsys, counts, "--verify", "--data-root", data)
    assert moved == tmp_path / "elsewhere"


def test_a_bundle_that_is_moved_leaves_behind_what_it_was_made_from(study, capsys, tmp_path):
    moved = shutil.copytree(study / "results" / "bundle" / "deep" / "seed-0", tmp_path / "bundle")

    assert printed(capsys, moved, "--verify") == ["2 files and stores are what they were"]
    assert sum("is not here or cannot be read" in line for line in printed(capsys, moved)) == 2


@pytest.mark.parametrize(
    "name, expected",
    [
        ("study/results/none", "nothing is there, expected a file or folder of a study"),
        ("study/results", "no manifest tells of it, expected one beside it or in it"),
        ("data/town/image.tif", "no manifest tells of it, expected one beside it or in it"),
    ],
)
def test_what_has_no_manifest_is_an_error_of_one_line(study, capsys, name, expected):
    assert refused(capsys, name) == ([], f"error: lineage: {study.parent / name}: {expected}")
