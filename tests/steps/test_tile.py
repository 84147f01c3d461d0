import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from PIL import Image

from pipeline_steps.rasters.raster import Grid, write_raster
from pipeline_steps.study.classes import IGNORE, ClassCode
from pipeline_steps.tile import Params, run
from tests.steps.conftest import tile_arguments

GRID = Grid(40, 50, "EPSG:32632", (0.5, 0.0, 5e5, 0.0, -0.5, 5e6))


def scene(tmp_path, labels=None, image=None, **changes):
    rng = np.random.default_rng(0)
    image = rng.integers(1, 256, (3, 40, 50), np.uint8) if image is None else image
    write_raster(tmp_path / "image.tif", image, GRID)
    labels = rng.integers(0, 7, (1, 40, 50), np.uint8) if labels is None else labels
    write_raster(tmp_path / "labels.tif", labels, GRID)
    arguments = {
        "images": [tmp_path / "image.tif"],
        "label_files": [tmp_path / "labels.tif"],
        "elevation_files": [],
        "params": Params(chunk=16),
    }
    arguments |= tile_arguments(tmp_path / "out", "a") | changes
    run(**arguments)
    return image, labels, json.loads((tmp_path / "out/manifest.json").read_text())


def stored(tmp_path, name, index="0"):
    return zarr.open_group(tmp_path / "out" / f"{name}.zarr", mode="r")[index][:]


def test_pixels_and_labels_are_kept_bit_for_bit_with_their_georeference(tmp_path):
    image, labels, manifest = scene(tmp_path)

    assert np.array_equal(stored(tmp_path, "image"), image)
    assert np.array_equal(stored(tmp_path, "labels"), labels[0])
    raster = manifest["rasters"][0]
    assert rasterio.CRS.from_wkt(raster["crs"]).to_epsg() == 32632
    assert raster["transform"] == list(GRID.transform)
    assert manifest["label_counts"] == np.bincount(labels.ravel(), minlength=7).tolist()


def test_nodata_of_the_file_and_of_the_study_is_not_valid_and_not_labelled(tmp_path):
    image = np.full((3, 40, 50), 9, np.uint8)
    image[:, :10] = 0
    _, _, manifest = scene(tmp_path, image=image, params=Params(nodata=0))

    assert stored(tmp_path, "valid").sum() == 30 * 50
    assert manifest["rasters"][0]["valid_pixels"] == 30 * 50
    assert (stored(tmp_path, "labels")[:10] == IGNORE).all()


def test_a_label_outside_the_table_is_counted_and_named_and_nothing_is_published(tmp_path):
    labels = np.zeros((1, 40, 50), np.uint8)
    labels[0, 0, :3] = 77

    with pytest.raises(ValueError, match=r"labels\.tif: has label values 77 \(3 pixels\),"):
        scene(tmp_path, labels=labels)

    assert [f.name for f in (tmp_path / "out").iterdir()] == []


def test_a_label_outside_the_table_passes_only_if_the_study_says_so(tmp_path):
    labels = np.zeros((1, 40, 50), np.uint8)
    labels[0, 0, :3] = 77

    _, _, manifest = scene(tmp_path, labels=labels, params=Params(unlisted_labels="ignore"))

    assert manifest["unlisted"] == {"77": 3}
    assert (stored(tmp_path, "labels")[0, :3] == IGNORE).all()


def test_ignored_labels_pass_in_silence(tmp_path):
    labels = np.full((1, 40, 50), 77, np.uint8)
    _, _, manifest = scene(tmp_path, labels=labels, params=Params(ignore_labels=(77,)))
    assert manifest["unlisted"] == {}
    assert sum(manifest["label_counts"]) == 0


@pytest.mark.parametrize(
    ("grid", "trouble"),
    [
        (Grid(39, 50, GRID.crs, GRID.transform), "is 50x39 pixels, expected 50x40"),
        (Grid(40, 50, "EPSG:32633", GRID.transform), "has CRS EPSG:32633, expected EPSG:32632"),
        (Grid(40, 50, GRID.crs, (0.5, 0, 5e5 + 3, 0, -0.5, 5e6)), "has transform"),
    ],
)
def test_labels_of_another_grid_are_refused_with_both_sides_named(tmp_path, grid, trouble):
    other = tmp_path / "other.tif"
    write_raster(other, np.zeros((1, grid.height, grid.width), np.uint8), grid)
    with pytest.raises(ValueError, match=f"other.tif: {trouble}"):
        scene(tmp_path, label_files=[other])


def test_a_truncated_image_is_an_error_and_leaves_nothing_behind(tmp_path):
    scene(tmp_path)
    whole = (tmp_path / "image.tif").read_bytes()
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ValueError, match=r"cut\.tif: cannot be read"):
        run(
            images=[cut],
            label_files=[],
            elevation_files=[],
            params=Params(),
            **tile_arguments(tmp_path / "new", "a"),
        )

    assert not any((tmp_path / "new").iterdir())


def test_unsupported_pixels_are_refused(tmp_path):
    write_raster(tmp_path / "deep.tif", np.ones((3, 40, 50), np.uint16), GRID)
    with pytest.raises(ValueError, match=r"deep\.tif: is uint16, expected uint8"):
        scene(tmp_path, images=[tmp_path / "deep.tif"])


def test_plain_pictures_of_different_sizes_make_one_scene_in_pixels(tmp_path):
    codes = [ClassCode(name="a", rgb=(255, 0, 0)), ClassCode(name="b", rgb=(0, 0, 255))]
    images, masks = [], []
    for number, size in enumerate([(30, 20), (31, 22)]):
        picture = Image.new("RGB", size, (10, 20, 30))
        picture.save(tmp_path / f"{number}.jpg")
        mask = Image.new("RGB", size, (255, 0, 0))
        mask.putpixel((0, 0), (0, 0, 255))
        (mask.quantize(4) if number else mask).save(tmp_path / f"{number}.png")
        images.append(tmp_path / f"{number}.jpg")
        masks.append(tmp_path / f"{number}.png")

    arguments = tile_arguments(tmp_path / "out", "both") | {"folder": 1, "classes": codes}
    run(images=images, label_files=masks, elevation_files=[], params=Params(), **arguments)

    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [r["name"] for r in manifest["rasters"]] == ["0", "1"]
    assert manifest["rasters"][0]["crs"] is None
    assert manifest["label_counts"] == [30 * 20 - 1 + 31 * 22 - 1, 2]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    digests = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        _, _, manifest = scene(folder)
        digests.append(manifest["made"])
    assert digests[0] == digests[1]


@pytest.mark.real
def test_a_real_orthophoto_with_building_labels_tiles_on_its_own_grid(tmp_path, real_data):
    codes = [ClassCode(name="other", value=0), ClassCode(name="building", value=1)]
    image = real_data / "kampala" / "A_z20_rgb.tif"
    run(
        images=[image],
        label_files=[Path(str(image).replace("rgb", "building"))],
        elevation_files=[],
        params=Params(),
        **tile_arguments(tmp_path / "out", "kampala") | {"classes": codes},
    )
    with rasterio.open(image) as source:
        assert np.array_equal(stored(tmp_path, "image"), source.read([1, 2, 3]))
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert sum(manifest["label_counts"]) == 1024 * 1536
    assert manifest["label_counts"][1] > 0


def test_labels_that_are_no_integers_are_refused(tmp_path):
    labels = np.full((1, 40, 50), 0.7, np.float32)

    with pytest.raises(ValueError, match=r"labels\.tif: is float32, expected integer labels"):
        scene(tmp_path, labels=labels)


def test_elevation_is_unknown_where_the_image_has_no_data(tmp_path):
    image = np.full((3, 40, 50), 9, np.uint8)
    image[:, :10] = 0
    write_raster(tmp_path / "elevation.tif", np.full((1, 40, 50), 5, np.float32), GRID)

    files = {"elevation_files": [tmp_path / "elevation.tif"]}
    scene(tmp_path, image=image, params=Params(nodata=0), **files)

    assert np.isnan(stored(tmp_path, "elevation")[:10]).all()
    assert (stored(tmp_path, "elevation")[10:] == 5).all()
