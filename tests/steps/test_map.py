import dataclasses
import json
import logging
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from pipeline_steps import bundle, map, predict
from pipeline_steps.models.mapper import Mapper
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study import publish
from pipeline_steps.study.params.predict import Params as Predict
from tests.steps.conftest import LOOKS, training
from tests.steps.test_train import trained

HOW = {"window": 32, "batch": 2, "precision": "fp32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, covered, height):
    """A folder with a training and its bundle."""
    made = tmp_path_factory.mktemp("made")
    model = trained(made / "train", covered, training(steps=20, lr=1e-2), [height])
    (made / "bundle").mkdir()
    bundle.run(
        name="plain/seed-0",
        model=model / "manifest.json",
        tiles=[covered],
        encoders=[],
        weights=made / "bundle" / "model.safetensors",
        manifest=made / "bundle" / "bundle.json",
        looks=LOOKS,
        licences={},
        predict=Predict(**HOW),
        params=bundle.Params(),
    )
    return made


@pytest.fixture
def retold(tmp_path, folder):
    """A function that copies the bundle, and changes what it says."""

    def tell(name="other", **facts):
        shutil.copytree(folder / "bundle", tmp_path / name)
        file = tmp_path / name / "bundle.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))
        return file

    return tell


def mapped(out, image, *models, names=("classes.tif", "confidence.tif"), **params):
    maps = [out / name for name in names]
    map.run("new", str(image), [*models], maps, out / "map.json", map.Params(**HOW | params))
    return maps


def test_a_new_image_is_mapped_as_the_study_would_have_done(tmp_path, folder, covered, town):
    """On the bundle alone: labels, elevation and table are not there."""
    model = shutil.copytree(folder / "bundle", tmp_path / "moved") / "bundle.json"
    maps = mapped(tmp_path / "out", town / "image.tif", model)

    own = [tmp_path / "study" / name for name in ("classes.tif", "confidence.tif")]
    manifest = folder / "train" / "manifest.json"
    predict.run([manifest], covered, [], own, LOOKS, predict.Params(**HOW))
    assert [f.read_bytes() for f in maps] == [f.read_bytes() for f in own]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [
        *("classes.tif", "confidence.tif", "map.json")
    ]


def test_what_a_map_was_made_from_is_told(tmp_path, folder, town):
    mapped(tmp_path, town / "image.tif", folder / "bundle" / "bundle.json")

    told = json.loads((tmp_path / "map.json").read_text())
    assert (tmp_path / told["image"]).resolve() == (town / "image.tif").resolve()
    assert told["networks"] == [{"name": "plain/seed-0", "licence": None}]
    assert set(told["made"]) == {"classes.tif", "confidence.tif"}
    assert "torch" in told["versions"]


def test_two_bundles_are_one_ensemble(tmp_path, folder, town):
    model, names = folder / "bundle" / "bundle.json", ("classes.tif", "disagreement.tif")
    one = mapped(tmp_path / "a", town / "image.tif", model, names=names)
    two = mapped(tmp_path / "b", town / "image.tif", model, model, names=names)

    assert [f.read_bytes() for f in one] == [f.read_bytes() for f in two]


def test_a_pattern_gives_a_folder_of_maps(tmp_path, folder, town):
    for name in "ab":
        (tmp_path / "images").mkdir(exist_ok=True)
        shutil.copy(town / "image.tif", tmp_path / "images" / f"{name}.tif")
    model, names = folder / "bundle" / "bundle.json", ("classes", "confidence")
    classes, _ = mapped(tmp_path / "out", tmp_path / "images/*.tif", model, names=names)

    assert sorted(f.name for f in classes.iterdir()) == ["a.tif", "b.tif"]


@pytest.fixture
def like_town(tmp_path, town):
    """A function that writes the town's image with another grid or other pixels."""

    def write(name, pixels=lambda values: values, **changes):
        with raster.opened(town / "image.tif") as source:
            grid, values = Grid.of(source), source.read()
        write_raster(tmp_path / name, pixels(values), dataclasses.replace(grid, **changes))
        return tmp_path / name

    return write


def at(gsd):
    return {"crs": "EPSG:32632", "transform": (gsd, 0, 400000, 0, -gsd, 5000000)}


def test_an_image_of_another_ground_sampling_distance_is_refused_unless_it_may_be_any(
    tmp_path, like_town, retold
):
    model = retold(gsd=[0.5, 1.0])
    for gsd in (0.35, 1.45):
        assert mapped(tmp_path / f"map-{gsd}", like_town(f"{gsd}.tif", **at(gsd)), model)
    coarse = like_town("coarse.tif", **at(1.6))

    with pytest.raises(
        ValueError, match=r"coarse.tif: ground .* is 1\.6 m, expected 0\.333 to 1\.5"
    ):
        mapped(tmp_path / "none", coarse, model)
    assert not (tmp_path / "none").exists()
    assert mapped(tmp_path / "any", coarse, model, gsd="any")


def test_where_no_crs_tells_it_the_ground_sampling_distance_is_not_compared(
    tmp_path, like_town, retold, caplog
):
    image = like_town("plain.tif", crs=None, transform=(1, 0, 0, 0, 1, 0))
    with caplog.at_level(logging.WARNING):
        mapped(tmp_path / "out", image, retold(gsd=[100.0, 200.0]))
    assert "is not compared" in caplog.text


def test_an_image_of_other_pixels_is_refused(tmp_path, like_town, folder):
    model = folder / "bundle" / "bundle.json"
    deep = like_town("deep.tif", lambda values: values.astype(np.uint16))
    with pytest.raises(ValueError, match=r"deep\.tif: is uint16, expected uint8, as the images"):
        mapped(tmp_path / "out", deep, model)
    grey = like_town("grey.tif", lambda values: values[:1])
    with pytest.raises(ValueError, match=r"grey\.tif: has 1 bands, expected 3, as the images"):
        mapped(tmp_path / "out", grey, model)
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_the_bundle_s_are_refused(tmp_path, retold, town):
    model = retold()
    with (model.parent / "model.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ValueError, match=r"model\.safetensors: SHA-256 is .*, expected"):
        mapped(tmp_path / "out", town / "image.tif", model)


def test_a_band_more_is_left_out(tmp_path, like_town, folder, town):
    model = folder / "bundle" / "bundle.json"
    four = like_town("four.tif", lambda values: np.concatenate([values, values[:1]]))
    one, two = (mapped(tmp_path / n, f, model) for n, f in (("a", four), ("b", town / "image.tif")))
    with rasterio.open(one[0]) as found, rasterio.open(two[0]) as expected:
        assert (found.read() == expected.read()).all()


def test_a_licence_that_forbids_commercial_use_is_said(tmp_path, retold, town, caplog):
    with caplog.at_level(logging.WARNING):
        mapped(tmp_path / "out", town / "image.tif", retold(licence="CC-BY-NC-4.0"))
    assert "plain/seed-0: weights are CC-BY-NC-4.0: not for commercial use" in caplog.text


def test_a_killed_map_does_not_tile_again(tmp_path, folder, town, monkeypatch):
    model, out = folder / "bundle" / "bundle.json", tmp_path / "out"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(map, "make_maps", killed)
        with pytest.raises(KeyboardInterrupt):
            mapped(out, town / "image.tif", model)
    assert (out / "work.partial" / "tile" / "manifest.json").is_file()
    monkeypatch.setattr(map, "carried", killed)

    assert mapped(out, town / "image.tif", model)[0].is_file()
    assert not (out / "work.partial").exists()


WORLD = "{0}\n0\n0\n-{0}\n400000\n5000000\n"


def test_what_lies_beside_an_image_is_part_of_what_a_killed_map_was_begun_with(
    tmp_path, folder, town, monkeypatch
):
    image = tmp_path / "plain.png"
    with rasterio.open(town / "image.tif") as source:
        rasterio.shutil.copy(source, image, driver="PNG", worldfile="YES")
    image.with_suffix(".png.aux.xml").unlink()
    model, out = folder / "bundle" / "bundle.json", tmp_path / "out"

    def killed(*_):
        raise KeyboardInterrupt

    image.with_suffix(".wld").write_text(WORLD.format(1))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(map, "make_maps", killed)
        mapped(out, image, model)
    image.with_suffix(".wld").write_text(WORLD.format(2))
    classes, _ = mapped(out, image, model)

    with rasterio.open(classes) as found, rasterio.open(image) as source:
        assert found.transform == source.transform and found.transform.a == 2
    assert len(json.loads((out / "map.json").read_text())["made_from"]) == 3


@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_as_it_is_released_it_goes_on_with_what_it_made(
    tmp_path, folder, town, monkeypatch, number
):
    model, out, replaced = folder / "bundle" / "bundle.json", tmp_path / "out", []
    mapped(tmp_path / "whole", town / "image.tif", model)

    def replace(*paths):
        replaced.append(paths)
        if len(replaced) == number:
            raise KeyboardInterrupt
        os.replace(*paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publish, "os", SimpleNamespace(link=os.link, replace=replace))
        mapped(out, town / "image.tif", model)
    for file in out.glob("*.*"):
        if file.name != "work.partial":
            file.unlink()
    monkeypatch.setattr(map, "carried", None)
    monkeypatch.setattr(Mapper, "__call__", None)
    mapped(out, town / "image.tif", model)

    for file in (tmp_path / "whole").iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes()
    assert not (out / "work.partial").exists()
