import json

import numpy as np
import pytest
import zarr

from pipeline_steps import depth, fetch, tile
from tests.steps.conftest import TEACHER, model_files, stretch_file, tile_arguments


def made(folder, scene, teacher=None, limits=None, **params):
    settings = {"window": 32, "batch": 2, "precision": "fp32"} | params
    names = ("depth.zarr", "quality.json", "manifest.json")
    files = [folder / "town" / "a" / name for name in names]
    stretch = stretch_file(folder, limits)
    depth.run(teacher, scene, stretch, *files, depth.Params(**settings))
    field = zarr.open_group(files[0], mode="r")["0"][:]
    return field, json.loads(files[1].read_text())["rasters"][0]


@pytest.fixture
def teacher(tmp_path):
    folder = tmp_path / "fetched"
    files = model_files(folder)
    fetch.run("tiny", *files, TEACHER)
    return files[-1]


def test_elevation_as_the_teacher_is_height_scaled_to_its_percentiles(tmp_path, covered):
    field, quality = made(tmp_path, covered)

    height = zarr.open_group(covered.parent / "elevation.zarr", mode="r")["0"][:]
    low, high = np.percentile(height, [2, 98])
    expected = ((height - low) / (high - low)).clip(0, 1)
    assert np.abs(field - expected).max() < 1e-3
    assert quality["auc_tall"] == pytest.approx(1.0)


def test_a_network_gives_one_field_in_the_unit_range_with_its_quality(tmp_path, covered, teacher):
    field, quality = made(tmp_path, covered, teacher)

    assert field.shape == (64, 64)
    assert field.dtype == np.float16
    assert np.isfinite(field).all()
    assert field.min() == 0
    assert field.max() == 1
    assert 0 < quality["auc_tall"] < 1
    assert quality["disagreement"] <= quality["disagreement_before"]
    assert not list((tmp_path / "town" / "a").glob("*.partial"))


def test_a_scene_smaller_than_the_window_works(tmp_path, covered, teacher):
    field, _ = made(tmp_path, covered, teacher, window=96)
    assert field.shape == (64, 64)
    assert np.isfinite(field).all()


def test_no_depth_where_there_is_no_image_and_none_at_all_without_relief(tmp_path, town):
    tile.run(**tile_arguments(tmp_path / "flat", "flat", town / "image.tif"))
    field, quality = made(tmp_path, tmp_path / "flat" / "manifest.json")
    assert np.isnan(field).all()
    assert quality["spearman"] is None


def test_an_image_of_sixteen_bits_is_seen_between_the_studys_limits(
    tmp_path, covered, deep, teacher
):
    plain, _ = made(tmp_path / "plain", covered, teacher)
    same, _ = made(tmp_path / "same", deep, teacher, limits=[[0, 65535]])
    other, _ = made(tmp_path / "other", deep, teacher, limits=[[0, 30000]])

    np.testing.assert_allclose(same, plain, atol=2e-3)
    assert np.abs(other - plain).max() > 0.05


def test_an_image_of_sixteen_bits_without_limits_is_refused_by_name(tmp_path, deep, teacher):
    with pytest.raises(ValueError, match=r"somewhere/manifest\.json: image is uint16, expected"):
        made(tmp_path, deep, teacher)
    assert not list((tmp_path / "town" / "a").iterdir())


def test_the_same_work_gives_the_same_bytes(tmp_path, covered, teacher):
    manifests = []
    for name in ("one", "two"):
        made(tmp_path / name, covered, teacher)
        manifests.append((tmp_path / name / "town" / "a" / "manifest.json").read_text())
    assert manifests[0] == manifests[1]
