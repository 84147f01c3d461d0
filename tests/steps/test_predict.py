import json
import shutil

import numpy as np
import pytest
import rasterio
import zarr

from pipeline_steps import predict, tile
from pipeline_steps.study.classes import IGNORE, ClassLook
from tests.steps.conftest import LOOKS, tile_arguments, training
from tests.steps.test_train import baseline, trained


@pytest.fixture(scope="session")
def model(tmp_path_factory, covered, height):
    folder = tmp_path_factory.mktemp("model")
    return trained(folder, covered, training(steps=40, lr=1e-2), [height]) / "manifest.json"


def mapped(folder, model, scene, fed=None, looks=LOOKS, many=False, **params):
    settings = {"window": 32, "batch": 2, "precision": "fp32"} | params
    names = ("classes", "confidence") if many else ("classes.tif", "confidence.tif")
    files = [folder / name for name in names]
    depths = [fed] if fed else []
    predict.run([model], scene, depths, files, looks, predict.Params(**settings))
    return files


def test_a_map_lies_on_its_sources_grid_with_colours_and_names(tmp_path, model, covered, town):
    classes, confidence = mapped(tmp_path, model, covered)

    with rasterio.open(classes) as found, rasterio.open(town / "image.tif") as source:
        assert found.crs == source.crs
        assert found.transform == source.transform
        assert found.shape == source.shape
        assert found.nodata == IGNORE
        assert found.colormap(1)[1][:3] == LOOKS[1].rgb
        assert found.tags(1)["class_0"] == "building"
        assert 1 < len(np.unique(found.read(1))) <= found.read(1).max() + 1 <= len(LOOKS)
    with rasterio.open(confidence) as sure:
        assert 100 / len(LOOKS) - 1 <= sure.read(1).min() <= sure.read(1).max() <= 100


def test_a_baseline_maps_too(tmp_path, covered):
    model = trained(tmp_path / "model", covered, baseline()) / "manifest.json"

    classes, confidence = mapped(tmp_path, model, covered)

    with rasterio.open(classes) as found, rasterio.open(confidence) as sure:
        assert found.read(1).max() < len(LOOKS)
        assert sure.read(1).max() <= 100


def test_windows_of_another_batch_give_the_same_map(tmp_path, model, covered):
    one = mapped(tmp_path / "one", model, covered, batch=1)[0]
    all_at_once = mapped(tmp_path / "all", model, covered, batch=64)[0]
    with rasterio.open(one) as a, rasterio.open(all_at_once) as b:
        assert (a.read(1) == b.read(1)).mean() > 0.999


def test_the_same_work_gives_the_same_bytes(tmp_path, model, covered):
    one, two = (mapped(tmp_path / name, model, covered)[0].read_bytes() for name in "ab")
    assert one == two


def test_a_scene_smaller_than_the_window_is_mapped_whole(tmp_path, model, covered):
    classes, _ = mapped(tmp_path, model, covered, window=128)
    with rasterio.open(classes) as found:
        assert found.shape == (64, 64)
        assert (found.read(1) != IGNORE).all()


def test_pixels_without_data_stay_without(tmp_path, model, town):
    with rasterio.open(town / "image.tif") as source:
        darkest = int(source.read().max(0).min())
    arguments = tile_arguments(tmp_path / "tiled", "somewhere", town / "image.tif")
    tile.run(**arguments | {"params": tile.Params(nodata=darkest)})
    facts = json.loads((tmp_path / "tiled/manifest.json").read_text())["rasters"][0]
    classes, _ = mapped(tmp_path, model, tmp_path / "tiled/manifest.json")
    with rasterio.open(classes) as found:
        assert (found.read(1) != IGNORE).sum() == facts["valid_pixels"]


def test_a_scene_of_many_images_gives_a_folder_of_maps(tmp_path, model, town):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("image.tif", "other.tif"):
        (images / name).write_bytes((town / "image.tif").read_bytes())
    tile.run(**tile_arguments(tmp_path / "tiled", "both", images / "*.tif"))
    classes, _ = mapped(tmp_path, model, tmp_path / "tiled/manifest.json", many=True)
    assert sorted(f.name for f in classes.iterdir()) == ["image.tif", "other.tif"]


def test_a_network_that_is_fed_sees_the_height(tmp_path, covered, height):
    folder = trained(tmp_path, covered, training(network={"depth": "fed"}), [height])
    classes, _ = mapped(tmp_path / "map", folder / "manifest.json", covered, fed=height)
    assert classes.is_file()


def probable(folder, models, scene, *fed):
    params = predict.Params(window=32, batch=2, precision="fp32", outputs=("probabilities",))
    files = [folder / "classes.tif", folder / "probabilities.zarr"]
    predict.run(models, scene, list(fed), files, LOOKS, params)
    return zarr.open_group(files[1], mode="r")["probabilities"][:].astype(int)


def test_an_ensemble_s_probabilities_are_the_mean_of_its_networks(tmp_path, covered, height):
    settings = {"fed": training(network={"depth": "fed"}), "plain": baseline()}
    fed, plain = (
        trained(tmp_path / name, covered, one, [height]) / "manifest.json"
        for name, one in settings.items()
    )

    together = probable(tmp_path / "both", [fed, plain], covered, height)

    one = probable(tmp_path / "one", [fed], covered, height)
    two = probable(tmp_path / "two", [plain], covered)
    assert np.abs(one - two).max() > 4
    # each is rounded to a 254th
    assert np.abs(together - (one + two) / 2).max() <= 1


def test_other_classes_than_the_models_are_refused(tmp_path, model, covered):
    looks = [ClassLook(name=str(i), color="#000000") for i in range(7)]
    with pytest.raises(ValueError, match=r"manifest\.json: classes are"):
        mapped(tmp_path, model, covered, looks=looks)
    assert not list(tmp_path.iterdir())


def retold(folder, model, **facts):
    """Copy a trained model, and change what its manifest says."""
    shutil.copytree(model.parent, folder)
    told = json.loads(model.read_text()) | facts
    (folder / "manifest.json").write_text(json.dumps(told))
    return folder / "manifest.json"


def test_an_image_is_seen_between_the_limits_that_the_model_was_trained_on(
    tmp_path, model, covered, deep
):
    maps = [mapped(tmp_path / "plain", model, covered)]
    for high in (65535, 20000):
        facts = {"dtype": "uint16", "stretch": [[0, high]] * 3}
        other = retold(tmp_path / f"model-{high}", model, **facts)
        maps.append(mapped(tmp_path / f"map-{high}", other, deep))

    plain, same, other = ([file.read_bytes() for file in files] for files in maps)
    assert plain == same != other


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"dtype": "uint16"}, "3 bands of uint8, expected 3 bands of uint16"),
        ({"bands": [1, 2, 3, 4]}, "3 bands of uint8, expected 4 bands of uint8"),
    ],
)
def test_an_image_of_another_kind_than_the_model_was_trained_on_is_refused(
    tmp_path, model, covered, facts, words
):
    other = retold(tmp_path / "model", model, **facts)
    with pytest.raises(ValueError, match=rf"manifest\.json: image is {words}, as trained on"):
        mapped(tmp_path / "map", other, covered)
    assert not (tmp_path / "map").exists()


def test_a_network_of_all_bands_sees_them_in_the_order_of_the_store(tmp_path, model, covered):
    plain = mapped(tmp_path / "plain", model, covered)[1].read_bytes()
    network = json.loads(model.read_text())["network"]
    maps = []
    for rgb in ([0, 1, 2], [2, 1, 0]):
        encoder = network["encoder"] | {"bands": "all", "in_bands": 3, "rgb": rgb}
        name = f"model-{rgb[0]}"
        other = retold(tmp_path / name, model, network=network | {"encoder": encoder})
        maps.append(mapped(tmp_path / f"map-{name}", other, covered)[1].read_bytes())

    assert plain == maps[0] != maps[1]


def test_a_network_is_rebuilt_as_it_was_resolved_whatever_the_config_said(tmp_path, model, covered):
    told = json.loads(model.read_text())["params"]
    told["network"]["encoder"]["name"] = "teacher"
    other = retold(tmp_path / "model", model, params=told)

    one, two = (mapped(tmp_path / str(i), m, covered)[0] for i, m in enumerate((model, other)))

    assert one.read_bytes() == two.read_bytes()


def test_labels_are_not_needed_to_predict(tmp_path, model, town):
    tile.run(**tile_arguments(tmp_path / "tiled", "new", town / "image.tif"))
    classes, _ = mapped(tmp_path, model, tmp_path / "tiled/manifest.json")
    with rasterio.open(classes) as found:
        assert np.isin(found.read(1), range(7)).all()
