"""What ``corrupt`` counts, and that a killed run goes on."""

import json

import numpy as np
import pytest

from pipeline_steps import corrupt, predict, score, strata, tile
from pipeline_steps.mapping import predicting
from pipeline_steps.models.mapper import Mapper
from pipeline_steps.rasters import corruption
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.manifest import digest_of
from tests.steps.conftest import LOOKS, division, stretch_file, tile_arguments, training
from tests.steps.test_train import baseline, trained

SETTINGS = {"window": 32, "batch": 2, "precision": "fp32"}
FEW = {"kinds": ("haze", "noise"), "severities": (1, 5)}


@pytest.fixture(scope="module")
def model(tmp_path_factory, covered, height):
    folder = tmp_path_factory.mktemp("model")
    return trained(folder, covered, training(steps=40, lr=1e-2), [height]) / "manifest.json"


@pytest.fixture(scope="module")
def scene(tmp_path_factory, town):
    """The tiled town with its own labels and heights."""
    folder = tmp_path_factory.mktemp("scene") / "somewhere"
    files = [town / f"{name}.tif" for name in ("image", "labels", "elevation")]
    arguments = tile_arguments(folder, "somewhere", *files, split="test")
    tile.run(**arguments | {"params": tile.Params(chunk=32)})
    return folder / "manifest.json"


def counted(folder, models, scene, splits=(), depths=(), fold=None, changes=None, **asked):
    models = models if isinstance(models, list) else [models]
    params = corrupt.Params(**FEW | asked)
    how = corrupt.Predict(**SETTINGS | (changes or {}))
    file = folder / "somewhere.json"
    inputs = (models, scene, list(splits), list(depths), file, "one", 3, fold, how, params)
    corrupt.run(*inputs)
    return json.loads(file.read_text())


def clean(folder, model, scene, splits=(), fold=None, fed=()):
    """Return what ``score`` counts of the map of the scene as it is."""
    maps = [folder / "classes.tif"]
    params = predict.Params(**SETTINGS, outputs=())
    predict.run([model], scene, list(fed), maps, LOOKS, params)
    names = ("strata.zarr", "strata.png", "manifest.json")
    ground = [folder / "strata" / name for name in names]
    settings = strata.Params(boundary_px=(), shadow=False, height_m=())
    strata.run(scene, stretch_file(folder), *ground, settings)
    counts = folder / "score.json"
    rest = (None, None, None, counts, "one", 3, fold, score.Params(boundary_iou_px=0))
    score.run(scene, list(splits), ground[-1], maps[0], *rest)
    return np.array(json.loads(counts.read_text())["strata"]["all"])


def test_every_kind_and_severity_has_a_matrix_of_all_that_is_tested(tmp_path, model, scene):
    found = counted(tmp_path, model, scene, kinds=tuple(corruption.VALUES), severities=(2, 5))

    facts = json.loads(scene.read_text())
    assert list(found["kinds"]) == list(corruption.VALUES) and found["left_out"] == {}
    for of in found["kinds"].values():
        assert list(of) == ["2", "5"]
        for matrix in of.values():
            assert np.array(matrix).sum(axis=1).tolist() == facts["label_counts"]
    told = {key: found[key] for key in ("experiment", "seed", "fold", "scene", "classes")}
    assert told == {
        "experiment": "one",
        "seed": 3,
        "fold": None,
        "scene": "somewhere",
        "classes": [look.name for look in LOOKS],
    }


@pytest.fixture
def harmless(monkeypatch):
    """Let haze do nothing."""
    monkeypatch.setattr(corruption, "haze", lambda picture, share, rgb: picture)


def test_what_corrupts_nothing_counts_as_score_does(tmp_path, model, scene, harmless):
    found = counted(tmp_path, model, scene)["kinds"]

    expected = clean(tmp_path, model, scene)
    assert np.array_equal(found["haze"]["1"], expected)
    assert not np.array_equal(found["noise"]["5"], expected)


def test_of_a_divided_scene_what_is_tested_counts_as_in_score(tmp_path, model, scene, harmless):
    splits = [division(tmp_path / "split", "somewhere", [[0, 2], [1, 2]], reach=3)]
    found = counted(tmp_path, model, scene, splits)["kinds"]

    expected = clean(tmp_path, model, scene, splits)
    assert 0 < expected.sum() < 64 * 64 / 2
    assert np.array_equal(found["haze"]["5"], expected)


def test_of_a_fold_its_own_blocks_count(tmp_path, model, scene, harmless):
    splits = [division(tmp_path / "split", "somewhere", [[0, 1], [1, 1]], folds=2)]

    found = [
        counted(tmp_path / str(fold), model, scene, splits, fold=fold, kinds=("haze",))
        for fold in (0, 1)
    ]

    assert [np.array(one["kinds"]["haze"]["1"]).sum() for one in found] == [1024, 3072]
    assert [one["fold"] for one in found] == [0, 1]


def test_pixels_that_are_not_labelled_or_have_no_data_count_nowhere(tmp_path, model, town):
    y, x = np.mgrid[:64, :64]
    labels, image = np.where(x < 20, 99, 2), np.full((3, 64, 64), 90)
    image[:, y < 10] = 0
    grid = Grid(64, 64, None, (1, 0, 0, 0, 1, 0))
    for name, pixels in (("image", image), ("labels", labels[None])):
        write_raster(tmp_path / f"{name}.tif", pixels.astype(np.uint8), grid)
    files = [tmp_path / "image.tif", tmp_path / "labels.tif"]
    arguments = tile_arguments(tmp_path / "tile", "somewhere", *files)
    params = tile.Params(ignore_labels=(99,), nodata=0)
    tile.run(**arguments | {"params": params})

    found = counted(tmp_path, model, arguments["manifest"], kinds=("blur", "jpeg"))

    for of in found["kinds"].values():
        for matrix in of.values():
            assert np.array(matrix).sum() == 54 * 44 == np.array(matrix)[2].sum()


def test_a_scene_of_many_images_is_counted_whole(tmp_path, model, town):
    for name in ("a", "b"):
        for layer in ("image", "labels"):
            file = tmp_path / layer / f"{name}.tif"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes((town / f"{layer}.tif").read_bytes())
    files = [tmp_path / "image" / "*.tif", tmp_path / "labels" / "*.tif"]
    arguments = tile_arguments(tmp_path / "tile", "somewhere", *files)
    tile.run(**arguments)

    found = counted(tmp_path, model, arguments["manifest"], kinds=("haze",))

    assert np.array(found["kinds"]["haze"]["1"]).sum() == 2 * 64 * 64


def test_sun_is_left_out_without_elevation_and_that_is_said(tmp_path, model, town, caplog):
    files = [town / "image.tif", town / "labels.tif"]
    arguments = tile_arguments(tmp_path / "tile", "somewhere", *files)
    tile.run(**arguments)

    found = counted(tmp_path, model, arguments["manifest"], kinds=("sun", "haze"))

    assert list(found["kinds"]) == ["haze"]
    assert found["left_out"] == {"sun": "has no elevation"}
    assert "somewhere: has no elevation, so sun is left out" in caplog.text


def test_ensembles_are_tried_too_and_networks_that_are_fed_elevation(
    tmp_path, covered, scene, height
):
    settings = {"fed": training(network={"depth": "fed"}), "plain": baseline()}
    models = [
        trained(tmp_path / name, covered, one, [height]) / "manifest.json"
        for name, one in settings.items()
    ]

    found = counted(tmp_path, models, scene, depths=[height], kinds=("haze",))

    assert np.array(found["kinds"]["haze"]["5"]).sum() == 64 * 64


def test_equal_work_gives_equal_bytes_and_a_manifest(tmp_path, model, scene):
    for name in ("one", "two"):
        counted(tmp_path / name, model, scene)

    one, two = (tmp_path / name / "somewhere.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    told = json.loads((tmp_path / "one" / "somewhere" / "manifest.json").read_text())
    assert told["made"] == {"../somewhere.json": digest_of(one)}
    assert told["step"] == "corrupt" and told["predict"]["window"] == 32
    assert not list(tmp_path.rglob("*.partial"))


def killed(monkeypatch, after):
    """End the run as a kill does when so many batches were mapped."""
    own, calls = Mapper.__call__, []

    def call(self, inputs):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return own(self, inputs)

    monkeypatch.setattr(Mapper, "__call__", call)
    return calls


@pytest.mark.parametrize("after", [2, 5, 9, 15])
def test_a_killed_run_goes_on_with_what_is_finished(tmp_path, model, scene, monkeypatch, after):
    expected = counted(tmp_path / "whole", model, scene)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed(patch, after)
        counted(tmp_path / "killed", model, scene)
    assert not (tmp_path / "killed" / "somewhere.json").exists()

    calls = killed(monkeypatch, 1000)
    assert counted(tmp_path / "killed", model, scene) == expected

    # a map is of 9 windows, 5 batches of two of them, and there are four
    assert len(calls) < 20 - after // 5 * 5 + 1
    assert not list(tmp_path.rglob("*.partial"))


def test_what_another_network_left_unfinished_is_not_gone_on_with(
    tmp_path, model, scene, monkeypatch
):
    expected = counted(tmp_path / "whole", model, scene, changes={"overlap": 0.5})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed(patch, 7)
        counted(tmp_path / "killed", model, scene)

    assert counted(tmp_path / "killed", model, scene, changes={"overlap": 0.5}) == expected


def test_a_network_that_says_no_number_ends_the_run_with_kind_and_severity(
    tmp_path, model, scene, monkeypatch
):
    own = Mapper.__call__

    def call(self, inputs):
        found = own(self, inputs)()
        found[:] = np.nan
        return lambda: found

    monkeypatch.setattr(Mapper, "__call__", call)
    with pytest.raises(ValueError, match=r"somewhere, haze 1: raster image: rows 0 .* no numbers"):
        counted(tmp_path, model, scene)
    assert not list(tmp_path.glob("*.json"))


def test_a_model_of_other_images_is_refused(tmp_path, model, deep):
    with pytest.raises(ValueError, match=r"image is 3 bands of uint16, expected 3 bands of uint8"):
        counted(tmp_path, model, deep)
    assert not list(tmp_path.iterdir())


def test_networks_are_loaded_once_for_all_kinds(tmp_path, model, scene, monkeypatch):
    loaded, own = [], predicting.load_mapped

    def load(*arguments):
        loaded.append(1)
        return own(*arguments)

    monkeypatch.setattr(predicting, "load_mapped", load)
    counted(tmp_path, model, scene)

    assert len(loaded) == 1
