import json

import numpy as np
import pytest

from pipeline_steps import split, stretch
from pipeline_steps.rasters.store import Scene
from pipeline_steps.rasters.windows import Window
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.stretch import Params
from pipeline_steps.study.params.split import Params as Split
from tests.data.tiling import facts_of, stored, tile_scene, utm_grid

RANGES = {"uint8": (0, 255), "uint16": (300, 9000), "int16": (-2000, 3000), "float32": (-0.4, 1.7)}


def pixels_of(dtype, seed=0, height=200, width=300):
    """Return three bands of the same type and different brightness."""
    low, high = RANGES[dtype]
    rng = np.random.default_rng(seed)
    bands = rng.triangular(low, (low + high) / 2, high, (3, height, width))
    return (bands * np.array([1, 0.5, 0.8])[:, None, None]).astype(dtype)


def tiled(folder, pixels, split="train", nodata=None, **params):
    """Tile an image of half a metre, with labels in stripes; return its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    grid = utm_grid(*pixels.shape[1:], 0.5)
    write_raster(folder / "image.tif", pixels, grid, nodata=nodata)
    labels = np.tile(np.arange(grid.width) % 4, (grid.height, 1)).astype(np.uint8)
    write_raster(folder / "labels.tif", labels[None], grid)
    files = {"image": "image.tif", "labels": "labels.tif"}
    return tile_scene(folder, split=split, chunk=64, **files, **params)


def limits_of(folder, tiles, splits=(), **params):
    stretch.run(list(tiles), list(splits), folder / "stretch.json", Params(**params))
    return json.loads((folder / "stretch.json").read_text())["limits"]


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("percentiles", [(2.0, 98.0), (0.0, 100.0)])
def test_limits_are_percentiles_of_each_band(tmp_path, dtype, percentiles):
    pixels = pixels_of(dtype)

    found = limits_of(tmp_path, [tiled(tmp_path / "a", pixels)], percentiles=percentiles)

    expected = np.percentile(pixels.reshape(3, -1).astype(float), percentiles, axis=1).T
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_training_scenes_are_taken_together(tmp_path):
    ones = [pixels_of("uint16", 0), pixels_of("uint16", 1, 100, 150) + 4000]
    tiles = [tiled(tmp_path / str(n), pixels) for n, pixels in enumerate(ones)]

    found = limits_of(tmp_path, tiles, percentiles=(5.0, 95.0))

    together = np.concatenate([pixels.reshape(3, -1) for pixels in ones], axis=1)
    np.testing.assert_allclose(found, np.percentile(together, (5, 95), axis=1).T)


@pytest.mark.parametrize("by", ["file", "study", "NaN"])
def test_nodata_does_not_count(tmp_path, by):
    pixels = pixels_of("float32")
    pixels[:, :120] = np.nan if by == "NaN" else -9999
    facts = {"file": {"nodata": -9999}, "study": {}, "NaN": {}}[by]
    tile = tiled_with(tmp_path / "a", pixels, by, **facts)

    found = limits_of(tmp_path, [tile], percentiles=(1.0, 99.0))

    expected = np.percentile(pixels[:, 120:].reshape(3, -1), (1, 99), axis=1).T
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def tiled_with(folder, pixels, by, nodata=None):
    """Tile an image whose nodata is said by the file or by the study."""
    folder.mkdir()
    write_raster(folder / "image.tif", pixels, utm_grid(*pixels.shape[1:]), nodata=nodata)
    return tile_scene(folder, image="image.tif", **({"nodata": -9999.0} if by == "study" else {}))


def test_a_divided_scene_counts_with_its_training_part_alone(tmp_path):
    pixels = pixels_of("uint16")
    tile = tiled(tmp_path / "a", pixels, split="blocks")
    manifest = tmp_path / "split" / "manifest.json"
    options = Split(unit="pixels", size=40, buffer=10)
    split.run(tile, tmp_path / "split" / "split.png", manifest, options)
    division = Scene(tile, facts_of(tile), facts_of(manifest)).division(0)
    is_learned = division.mask(Window(0, 0, 200, 300), "train")
    outside = np.where(is_learned, stored(tile, "image"), 60_000).astype(np.uint16)
    other = tiled(tmp_path / "b", outside, split="blocks")

    found = limits_of(tmp_path, [tile], [manifest], percentiles=(0.0, 100.0))

    expected = np.percentile(pixels[:, is_learned], (0, 100), axis=1).T
    np.testing.assert_allclose(found, expected)
    # what the other parts hold makes no difference
    assert limits_of(tmp_path, [other], [manifest], percentiles=(0.0, 100.0)) == found


def test_a_large_scene_is_sampled_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(stretch, "SAMPLE", 2000)
    pixels = pixels_of("uint16", height=900, width=700)
    pixels[:, 600:] += 5000

    found = limits_of(tmp_path, [tiled(tmp_path / "a", pixels)], percentiles=(2.0, 98.0))

    expected = np.percentile(pixels.reshape(3, -1), (2, 98), axis=1).T
    spread = pixels.std(axis=(1, 2))[:, None]
    assert (abs(np.array(found) - expected) / spread < 0.25).all()


def test_small_scenes_beside_a_large_one_do_not_count_more_than_their_ground(tmp_path, monkeypatch):
    monkeypatch.setattr(stretch, "SAMPLE", 500)
    large = tiled(tmp_path / "large", pixels_of("uint16", height=600, width=600))
    folder = tmp_path / "small"
    folder.mkdir()
    for number in range(40):
        bright = np.full((3, 16, 16), 60_000, np.uint16)
        write_raster(folder / f"{number}.tif", bright, utm_grid(16, 16))
    small = tile_scene(folder, image="*.tif")

    found = np.array(limits_of(tmp_path, [large, small], percentiles=(50.0, 95.0)))

    # they are 40 · 256 of 370 240 pixels, which is less than 3 %
    assert found[:, 1].max() < 10_000


def test_stated_limits_are_passed_on_and_no_scene_is_needed(tmp_path):
    assert limits_of(tmp_path, [], limits=((0.0, 3000.0),)) == [[0, 3000]]


def test_a_study_that_says_nothing_leaves_the_limits_of_8_bits(tmp_path):
    assert limits_of(tmp_path, []) is None


def test_scenes_without_any_data_are_refused(tmp_path):
    tile = tiled_with(tmp_path / "a", np.full((3, 20, 30), -9999, np.float32), "study")

    with pytest.raises(ValueError) as caught:
        limits_of(tmp_path, [tile], percentiles=(2.0, 98.0))

    text = str(caught.value)
    assert str(tile.parent) in text and "no pixel of the training scenes has data" in text
    assert "expected" in text and "\n" not in text
    assert not (tmp_path / "stretch.json").exists()


def test_a_flat_band_is_refused_with_its_number_and_the_way_out(tmp_path):
    pixels = pixels_of("uint8")
    pixels[1] = 7

    with pytest.raises(ValueError) as caught:
        limits_of(tmp_path, [tiled(tmp_path / "a", pixels)], percentiles=(2.0, 98.0))

    text = str(caught.value)
    assert "band 2 is 7 at both percentiles, expected two values; stretch.limits" in text
    assert str(tmp_path / "a") in text


def test_bands_are_counted_as_the_study_orders_them(tmp_path):
    pixels = pixels_of("int16")
    write_raster(tmp_path / "image.tif", pixels, utm_grid(200, 300))
    tile = tile_scene(tmp_path, image="image.tif", bands=(3, 1, 2))

    found = limits_of(tmp_path, [tile], percentiles=(2.0, 98.0))

    expected = np.percentile(pixels[[2, 0, 1]].reshape(3, -1), (2, 98), axis=1).T
    np.testing.assert_allclose(found, expected)
