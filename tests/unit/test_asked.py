"""What `snakemake map` is asked on the command line: taken out of the config, or refused."""

import json
import os

import pytest

from pipeline_steps.study.asked import asked_of
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.params.predict import Params as Predict

BUNDLE = {
    "name": "plain/seed-0",
    "classes": [{"name": name, "color": "#000000"} for name in ("roof", "road")],
    "network": {"model": "depthseg", "prompter": True, "depth": "predicted"},
    "depth_control": "none",
    "bands": [4, 3, 2],
    "rgb": [0, 1, 2],
    "nodata": 0,
    "dtype": "uint8",
    "stretch": [[0.0, 255.0]] * 3,
    "gsd": None,
    "licence": None,
    "params": {"gsd_factor": 1.5},
    "predict": Predict(window=96).model_dump(mode="json"),
    "made": {"model.safetensors": "0" * 64},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A function that writes a bundle; an image lies beside them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my town.tif").write_text("")

    def write(name="net", **changes):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("")
        (tmp_path / name / "bundle.json").write_text(json.dumps(BUNDLE | changes))
        return name

    return write


def ask(**stated):
    return asked_of({"image": "my town.tif", "checkpoint": "net"} | stated)


def test_a_study_s_config_asks_nothing_and_stays(here):
    config = {"scenes": "scenes.tsv", "predict": {"window": 64}}
    assert asked_of(config) is None
    assert config == {"scenes": "scenes.tsv", "predict": {"window": 64}}


def test_what_is_asked_is_taken_out_of_the_config(here):
    here()
    config = {"image": "my town.tif", "checkpoint": "net", "overlap": 0.5, "scenes": "scenes.tsv"}

    found = asked_of(config)

    assert config == {"scenes": "scenes.tsv"}
    assert (found.scene.name, found.folder) == ("my_town", "results/map/my_town")
    assert found.bundles == ["net/bundle.json"]
    assert found.files == ["my town.tif", "net/model.safetensors"]
    assert (found.params.window, found.params.overlap) == (96, 0.5)


def test_lists_are_stated_with_commas(here):
    here(), here("other")

    found = ask(
        checkpoint="net,other/bundle.json", outputs="entropy,depth", scales="1,0.5", out="m/"
    )

    assert found.bundles == ["net/bundle.json", "other/bundle.json"]
    assert found.params.outputs == ("entropy", "depth")
    assert found.params.scales == (1.0, 0.5)
    assert found.folder == "m"


def test_a_delivery_has_all_unless_something_else_is_stated(here):
    here()

    found, plain = ask(), ask(deliver={"polygons": {}})

    assert found.deliver == plain.deliver and found.deliver.polygons and found.deliver.maps
    assert [look.name for look in found.looks] == ["roof", "road"]


def test_what_a_delivery_is_made_of_is_stated_as_in_a_study(here):
    """Snakemake reads a section on the command line as text."""
    here()
    stated = {
        "polygons": {"minimum_area": "25", "simplify": "0.5", "files": ["gpkg"]},
        "datetime": "2021-06-01",
        "style": "false",
    }

    found = ask(deliver=stated).deliver

    assert (found.polygons.minimum_area, found.polygons.simplify) == (25.0, 0.5)
    assert (found.polygons.files, found.datetime, found.style) == (("gpkg",), "2021-06-01", False)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"image": "gone.tif"}, "image is gone.tif, where no file is"),
        ({"checkpoint": "gone"}, "checkpoint is gone, where no bundle.json is; expected a bundle"),
        ({"checkpoint": "net,fed"}, "fed/bundle.json: plain/seed-0 is fed a depth"),
        ({"checkpoint": "net,named"}, "named/bundle.json: classes are a, b, expected roof, road"),
        ({"checkpoint": "net,deep"}, "deep/bundle.json: images are .* of uint16 .*, expected"),
        ({"window": 33}, "--config: window is '33', expected .*multiple of 32"),
        ({"outputs": "classes"}, "--config: outputs.* is 'classes', expected"),
        ({"window": "["}, r"--config: window is '\[', expected a value as YAML has it"),
        ({"scales": "1]"}, r"--config: scales is '1\]', expected a value as YAML has it"),
        ({"window": "2001-99-99"}, "--config: window is '2001-99-99', expected a value as YAML"),
        ({"scales": "1,1"}, r"--config: scales is \[1.0, 1.0\], expected each once"),
        ({"gsd": "some"}, "--config: gsd is 'some', expected"),
        ({"deliver": True}, "--config: deliver is 'True', expected"),
        ({"deliver": {"polygon": {}}}, "--config: deliver.polygon is not a key"),
        ({"image": "{x}.tif"}, "--config: image: it is '{x}.tif', expected a path without braces"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(here, stated, words):
    here()
    here("fed", network=BUNDLE["network"] | {"depth": "fed"})
    here("named", classes=[{"name": name, "color": "#000000"} for name in "ab"])
    here("deep", dtype="uint16")

    with pytest.raises(StudyError, match=words) as refused:
        ask(**stated)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("missing", ["image", "checkpoint"])
def test_one_without_the_other_is_refused_with_the_command(here, missing):
    config = {"image": "my town.tif", "checkpoint": "net"}
    del config[missing]
    with pytest.raises(StudyError, match=f"{missing} is not stated, expected snakemake .* map"):
        asked_of(config)


def maps_of(folder, image):
    """Leave in a folder what `map` does."""
    folder.mkdir(parents=True)
    (folder / "map.json").write_text(json.dumps({"image": os.path.relpath(image, folder)}))


@pytest.mark.parametrize("out", [None, "maps"])
def test_maps_of_another_image_of_the_same_name_are_not_replaced(here, tmp_path, out):
    here(), (tmp_path / "far").mkdir()
    (tmp_path / "far" / "my town.tif").write_text("")
    folder, stated = out or "results/map/my_town", {"out": out} if out else {}
    maps_of(tmp_path / folder, "far/my town.tif")

    words = f"{folder} has the maps of far/my town.tif, expected another folder for those of my"
    with pytest.raises(StudyError, match=words) as refused:
        ask(**stated)

    assert "\n" not in str(refused.value)
    for image in ("far/my town.tif", "./far/my town.tif", str(tmp_path / "far/my town.tif")):
        assert ask(image=image, **stated).folder == folder
    assert ask(out="elsewhere").folder == "elsewhere"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"image": 3}'])
def test_a_folder_that_has_something_else_under_that_name_is_not_used(here, tmp_path, text):
    here(), (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "map.json").write_text(text)

    with pytest.raises(StudyError, match=r"maps/map\.json: does not say of which image it is"):
        ask(out="maps")
