import json
import logging

import pytest

from pipeline_steps import bundle, tile
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.bundles import read_bundle
from pipeline_steps.study.classes import ClassLook
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.manifest import digest_of
from pipeline_steps.study.params.predict import Params as Predict
from tests.steps.conftest import LOOKS, tile_arguments, training
from tests.steps.test_train import trained


@pytest.fixture(scope="module")
def model(tmp_path_factory, covered, height):
    return trained(tmp_path_factory.mktemp("model"), covered, training(), [height])


def bundled(folder, model, *tiles, **changes):
    """Bundle a trained model, and return the file that says how to use it."""
    arguments = {
        "name": "plain/seed-0",
        "model": model / "manifest.json",
        "tiles": list(tiles),
        "encoders": [],
        "weights": folder / "model.safetensors",
        "manifest": folder / "bundle.json",
        "looks": LOOKS,
        "licences": {},
        "predict": Predict(window=32, batch=2),
        "params": bundle.Params(),
    }
    bundle.run(**arguments | changes)
    return folder / "bundle.json"


def test_a_bundle_holds_the_weights_and_all_that_a_map_needs(tmp_path, model, covered):
    found = read_bundle(bundled(tmp_path, model, covered))

    told = json.loads((model / "manifest.json").read_text())
    assert found.network == told["network"]
    assert found.classes == tuple(LOOKS)
    assert (found.bands, found.rgb, found.dtype) == ((1, 2, 3), (0, 1, 2), "uint8")
    assert found.stretch == ((0.0, 255.0),) * 3
    assert found.predict == Predict(window=32, batch=2)
    assert found.depth_control == "none" and not found.is_fed
    assert found.licence is None and found.params.gsd_factor == 1.5
    weights = tmp_path / "model.safetensors"
    assert weights.read_bytes() == (model / "model.safetensors").read_bytes()
    assert found.made == {"model.safetensors": digest_of(weights)}


def test_the_same_work_gives_the_same_bundle(tmp_path, model, covered):
    one, two = (bundled(tmp_path / name, model, covered) for name in "ab")
    assert digest_of(one.parent) == digest_of(two.parent)


def test_the_ends_of_the_ground_sampling_distance_are_those_of_all_training_rasters(
    tmp_path, model, covered, town
):
    with raster.opened(town / "image.tif") as source:
        grid, pixels = Grid.of(source), source.read()
    tiles = []
    for gsd in (0.25, 2.0):
        a, b, c, d, e, f = grid.transform
        placed = Grid(64, 64, grid.crs, (a / abs(a) * gsd, b, c, d, e / abs(e) * gsd, f))
        write_raster(tmp_path / f"{gsd}.tif", pixels, placed)
        tile.run(**tile_arguments(tmp_path / f"tile-{gsd}", "s", tmp_path / f"{gsd}.tif"))
        tiles.append(tmp_path / f"tile-{gsd}" / "manifest.json")

    found = read_bundle(bundled(tmp_path / "bundle", model, covered, *tiles))

    assert found.gsd == pytest.approx((0.25, 2.0), rel=0.01)


def test_without_a_crs_the_ground_sampling_distance_is_unknown(tmp_path, model, town):
    with raster.opened(town / "image.tif") as source:
        pixels = source.read()
    plain = Grid(64, 64, None, (1, 0, 0, 0, 1, 0))
    write_raster(tmp_path / "plain.tif", pixels, plain)
    tile.run(**tile_arguments(tmp_path / "tile", "s", tmp_path / "plain.tif"))

    assert read_bundle(bundled(tmp_path, model, tmp_path / "tile/manifest.json")).gsd is None


@pytest.mark.parametrize("stated, expected", [(None, "CC-BY-NC-4.0"), ("Apache-2.0", "Apache-2.0")])
def test_the_licence_of_the_encoder_is_the_one_that_was_fetched_unless_the_study_states_it(
    tmp_path, model, covered, caplog, stated, expected
):
    fetched = tmp_path / "fetched.json"
    fetched.write_text(json.dumps({"license": "CC-BY-NC-4.0"}))
    licences = {str(fetched): stated} if stated else {}
    with caplog.at_level(logging.WARNING):
        file = bundled(tmp_path / "b", model, covered, encoders=[fetched], licences=licences)

    assert read_bundle(file).licence == expected
    assert ("not for commercial use" in caplog.text) == (stated is None)


def test_of_two_encoders_the_bundle_has_both_licences(tmp_path, model, covered, caplog):
    files = [tmp_path / f"{name}.json" for name in ("visual", "depth")]
    for file, licence in zip(files, ("Apache-2.0", "CC-BY-NC-4.0"), strict=True):
        file.write_text(json.dumps({"license": licence}))
    with caplog.at_level(logging.WARNING):
        file = bundled(tmp_path / "b", model, covered, encoders=files)

    assert read_bundle(file).licence == "Apache-2.0 and CC-BY-NC-4.0"
    assert "not for commercial use" in caplog.text


def test_a_training_of_other_classes_is_refused_and_nothing_is_left(tmp_path, model, covered):
    looks = [ClassLook(name="roof", color="#000000")] * 7
    with pytest.raises(ValueError, match=r"manifest\.json: classes are .* those of the study"):
        bundled(tmp_path / "bundle", model, covered, looks=looks)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": 8}, "dtype is '8', expected"),
        ({"predict": {"windw": 3}}, r"predict\.windw is not a key"),
        ({"gsd": [-1.0, 2.0]}, "gsd.* greater than 0"),
    ],
)
def test_a_bundle_that_was_spoilt_is_refused_in_one_line(tmp_path, model, covered, change, words):
    file = bundled(tmp_path, model, covered)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(StudyError, match=rf"bundle\.json: .*{words}"):
        read_bundle(file)


def test_what_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "bundle.json").write_text("no JSON")
    with pytest.raises(StudyError, match=r"bundle\.json: it is not JSON"):
        read_bundle(tmp_path / "bundle.json")
    with pytest.raises(StudyError, match=r"gone\.json: cannot be read"):
        read_bundle(tmp_path / "gone.json")
