import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
import zarr
from PIL import Image

from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import IGNORE, ClassCode
from pipeline_steps.tile import Params, run
from tests.steps.conftest import CODES, tile_arguments

GRID = Grid(40, 50, "EPSG:32632", (0.5, 0.0, 5e5, 0.0, -0.5, 5e6))


def tiled(folder, params=None, classes=CODES, **cells):
    """Tile the one row that ``cells`` make into ``folder``; return its manifest."""
    arguments = tile_arguments(folder, "a", **cells)
    run(**arguments | {"classes": classes, "params": params or Params(chunk=16)})
    return json.loads((folder / "manifest.json").read_text())


def picture(tmp_path, image=None):
    """Write an image, by default of noise; return its file."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 256, (3, 40, 50), np.uint8) if image is None else image
    write_raster(tmp_path / "image.tif", image, GRID)
    return tmp_path / "image.tif"


def scene(tmp_path, labels=None, image=None, params=None, **cells):
    """Tile an image and labels of its grid into ``out``."""
    if labels is None:
        labels = np.random.default_rng(0).integers(0, 7, (1, 40, 50), np.uint8)
    write_raster(tmp_path / "labels.tif", labels, GRID)
    files = {"image": picture(tmp_path, image), "labels": tmp_path / "labels.tif"}
    return labels, tiled(tmp_path / "out", params, **files | cells)


def stored(tmp_path, name, index="0"):
    return zarr.open_group(tmp_path / "out" / f"{name}.zarr", mode="r")[index][:]


def test_pixels_and_labels_are_kept_bit_for_bit_with_their_georeference(tmp_path):
    image = np.random.default_rng(1).integers(1, 256, (3, 40, 50), np.uint8)
    labels, manifest = scene(tmp_path, image=image)

    assert np.array_equal(stored(tmp_path, "image"), image)
    assert np.array_equal(stored(tmp_path, "labels"), labels[0])
    raster = manifest["rasters"][0]
    assert rasterio.CRS.from_wkt(raster["crs"]).to_epsg() == 32632
    assert raster["transform"] == list(GRID.transform)
    assert manifest["label_counts"] == np.bincount(labels.ravel(), minlength=7).tolist()


def test_file_of_the_file_and_of_the_study_is_not_valid_and_not_labelled(tmp_path):
    image = np.full((3, 40, 50), 9, np.uint8)
    image[:, :10] = 0
    _, manifest = scene(tmp_path, image=image, params=Params(nodata=0))

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

    _, manifest = scene(tmp_path, labels=labels, params=Params(unlisted_labels="ignore"))

    assert manifest["unlisted"] == {"77": 3}
    assert (stored(tmp_path, "labels")[0, :3] == IGNORE).all()


def test_ignored_labels_pass_in_silence(tmp_path):
    labels = np.full((1, 40, 50), 77, np.uint8)
    _, manifest = scene(tmp_path, labels=labels, params=Params(ignore_labels=(77,)))
    assert manifest["unlisted"] == {}
    assert sum(manifest["label_counts"]) == 0


def stripes(easting):
    """Return what a ground of stripes, three metres wide, is labelled at these eastings."""
    return (np.floor((easting - 5e5) / 3) % 7).astype(np.uint8)


def eastings(grid, crs=GRID.crs):
    """Return the easting of every pixel's centre in a CRS."""
    rows, columns = np.mgrid[: grid.height, : grid.width] + 0.5
    x, y = rasterio.Affine(*grid.transform) @ (columns, rows)
    found, _ = rasterio.warp.transform(grid.crs, crs, x.ravel(), y.ravel())
    return np.reshape(found, x.shape)


@pytest.mark.parametrize(
    "grid",
    [
        Grid(40, 50, GRID.crs, (0.5, 0, 5e5 + 3, 0, -0.5, 5e6)),
        Grid(38, 60, GRID.crs, (0.5, 0, 5e5 - 3, 0, -0.5, 5e6 - 0.5)),
        Grid(20, 25, GRID.crs, (1, 0, 5e5, 0, -1, 5e6)),
    ],
    ids=["shifted", "of another size", "of larger pixels"],
)
def test_labels_of_another_grid_are_laid_where_they_belong(tmp_path, grid):
    write_raster(tmp_path / "other.tif", stripes(eastings(grid))[None], grid)

    files = {"image": picture(tmp_path), "labels": tmp_path / "other.tif"}
    manifest = tiled(tmp_path / "out", **files)

    x, y = np.meshgrid(np.arange(50) / 2 + 0.25, -np.arange(40) / 2 - 0.25)
    left, top = grid.transform[2] - 5e5, grid.transform[5] - 5e6
    right, bottom = (left + grid.width * grid.transform[0], top + grid.height * grid.transform[4])
    is_there = (left < x) & (x < right) & (bottom < y) & (y < top)
    expected = np.where(is_there, stripes(5e5 + x), IGNORE)
    np.testing.assert_array_equal(stored(tmp_path, "labels"), expected)
    assert manifest["label_counts"] == np.bincount(expected[is_there], minlength=7).tolist()
    assert manifest["rasters"][0]["labels"] == "warped, nearest"


def test_labels_of_another_crs_are_laid_where_they_belong(tmp_path):
    left, bottom, right, top = rasterio.warp.transform_bounds(
        GRID.crs, "EPSG:32633", 5e5, 5e6 - 20, 5e5 + 25, 5e6
    )
    size = int(np.ceil((top - bottom) / 0.5)) + 4, int(np.ceil((right - left) / 0.5)) + 4
    grid = Grid(*size, "EPSG:32633", (0.5, 0, left - 1, 0, -0.5, top + 1))
    write_raster(tmp_path / "other.tif", stripes(eastings(grid))[None], grid)

    files = {"image": picture(tmp_path), "labels": tmp_path / "other.tif"}
    manifest = tiled(tmp_path / "out", **files)

    # the nearest pixel of the other grid is at most 0.36 m away
    x = eastings(GRID)
    is_inside = stripes(x - 0.4) == stripes(x + 0.4)
    assert is_inside.mean() > 0.6
    np.testing.assert_array_equal(stored(tmp_path, "labels")[is_inside], stripes(x)[is_inside])
    assert sum(manifest["label_counts"]) == 40 * 50
    assert manifest["rasters"][0]["labels"] == "warped, nearest"


def test_elevation_of_another_grid_is_interpolated_and_unknown_beyond_its_edge(tmp_path):
    grid = Grid(20, 20, GRID.crs, (1, 0, 5e5, 0, -1, 5e6))
    slope = np.broadcast_to(np.arange(20, dtype=np.float32) + 0.5, (1, 20, 20))
    write_raster(tmp_path / "slope.tif", slope, grid)

    _, manifest = scene(tmp_path, elevation=tmp_path / "slope.tif")

    height = stored(tmp_path, "elevation")
    assert np.isfinite(height[:, :40]).all() and np.isnan(height[:, 40:]).all()
    metres = np.arange(50) / 2 + 0.25
    np.testing.assert_allclose(height[:, 1:39], np.tile(metres[1:39], (40, 1)), atol=1e-3)
    assert manifest["rasters"][0]["elevation"] == {"warped": True, "ground": None}


@pytest.mark.parametrize("layer", ["labels", "elevation"])
@pytest.mark.parametrize(
    ("image_crs", "other_crs"), [(None, None), (GRID.crs, None), (None, GRID.crs)]
)
def test_another_size_is_refused_with_both_sizes_where_a_crs_is_missing(
    tmp_path, layer, image_crs, other_crs
):
    image, other = tmp_path / "image.tif", tmp_path / "other.tif"
    write_raster(image, np.ones((3, 40, 50), np.uint8), Grid(40, 50, image_crs, GRID.transform))
    write_raster(other, np.zeros((1, 39, 50), np.uint8), Grid(39, 50, other_crs, GRID.transform))

    with pytest.raises(
        ValueError, match=r"other\.tif: is 50x39 pixels, expected 50x40 like its im"
    ):
        tiled(tmp_path / "out", image=image, **{layer: other})

    assert not any((tmp_path / "out").iterdir())


def test_a_truncated_image_is_an_error_and_leaves_nothing_behind(tmp_path):
    scene(tmp_path)
    whole = (tmp_path / "image.tif").read_bytes()
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ValueError, match=r"cut\.tif: cannot be read"):
        tiled(tmp_path / "new", image=cut)

    assert not any((tmp_path / "new").iterdir())


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_pixels_keep_their_type_and_every_value_they_can_have(tmp_path, dtype):
    ends = np.finfo(dtype) if dtype == "float32" else np.iinfo(dtype)
    low, high = float(ends.min), float(ends.max)
    image = np.linspace(low / 2, high / 2, 3 * 40 * 50).astype(dtype).reshape(3, 40, 50)
    image[:, 0, :2] = low, high

    _, manifest = scene(tmp_path, image=image)

    found = stored(tmp_path, "image")
    assert found.dtype == manifest["dtype"] == dtype
    np.testing.assert_array_equal(found, image)
    assert stored(tmp_path, "valid").all()


@pytest.mark.parametrize("dtype", ["float64", "uint32", "int32", "complex64"])
def test_unsupported_pixels_are_refused(tmp_path, dtype):
    write_raster(tmp_path / "deep.tif", np.ones((3, 40, 50), dtype), GRID)
    with pytest.raises(
        ValueError,
        match=rf"deep\.tif: is {dtype}, expected one of uint8, uint16, int16, float32",
    ):
        tiled(tmp_path / "out", image=tmp_path / "deep.tif")


def test_images_of_different_types_make_no_scene(tmp_path):
    for name, dtype in (("a", np.uint8), ("b", np.uint16)):
        write_raster(tmp_path / f"{name}.tif", np.ones((3, 40, 50), dtype), GRID)

    with pytest.raises(ValueError, match=r"b\.tif: is uint16, expected uint8 as before it"):
        tiled(tmp_path / "out", image=tmp_path / "?.tif")


def test_plain_pictures_of_different_sizes_make_one_scene_in_pixels(tmp_path):
    codes = [ClassCode(name="a", rgb=(255, 0, 0)), ClassCode(name="b", rgb=(0, 0, 255))]
    for number, size in enumerate([(30, 20), (31, 22)]):
        picture = Image.new("RGB", size, (10, 20, 30))
        picture.save(tmp_path / f"{number}.jpg")
        mask = Image.new("RGB", size, (255, 0, 0))
        mask.putpixel((0, 0), (0, 0, 255))
        (mask.quantize(4) if number else mask).save(tmp_path / f"{number}.png")

    files = {"image": tmp_path / "*.jpg", "labels": tmp_path / "*.png"}
    manifest = tiled(tmp_path / "out", classes=codes, **files)

    assert [r["name"] for r in manifest["rasters"]] == ["0", "1"]
    assert manifest["rasters"][0]["crs"] is None
    assert manifest["label_counts"] == [30 * 20 - 1 + 31 * 22 - 1, 2]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    digests = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        _, manifest = scene(folder)
        digests.append(manifest["made"])
    assert digests[0] == digests[1]


def test_the_manifest_is_the_same_wherever_the_data_lie_and_names_them_by_the_table(tmp_path):
    manifests = []
    for name in ("here", "over/there"):
        data = tmp_path / name / "data"
        data.mkdir(parents=True)
        picture(data)
        (data / "image.tfw").write_text("0.5\n0\n0\n-0.5\n500000\n5000000\n")
        arguments = tile_arguments(tmp_path / name / "out", "a", "image.tif")
        run(**arguments | {"root": str(data)})
        manifests.append((tmp_path / name / "out" / "manifest.json").read_bytes())

    assert manifests[0] == manifests[1]
    assert list(json.loads(manifests[0])["sources"]) == ["image.tif", "image.tfw"]


@pytest.mark.real
def test_a_real_orthophoto_with_building_labels_tiles_on_its_own_grid(tmp_path, real_data):
    codes = [ClassCode(name="other", value=0), ClassCode(name="building", value=1)]
    image = real_data / "kampala" / "A_z20_rgb.tif"
    labels = Path(str(image).replace("rgb", "building"))
    manifest = tiled(tmp_path / "out", Params(), codes, image=image, labels=labels)
    with rasterio.open(image) as source:
        assert np.array_equal(stored(tmp_path, "image"), source.read([1, 2, 3]))
    assert sum(manifest["label_counts"]) == 1024 * 1536
    assert manifest["label_counts"][1] > 0


def test_floating_labels_of_whole_numbers_are_labels_and_nan_is_none(tmp_path):
    whole = np.random.default_rng(1).integers(0, 7, (1, 40, 50)).astype(np.float32)
    whole[0, :3] = np.nan

    scene(tmp_path, labels=whole)

    expected = np.where(np.isnan(whole[0]), IGNORE, np.nan_to_num(whole[0]))
    np.testing.assert_array_equal(stored(tmp_path, "labels"), expected)


def test_labels_with_fractions_are_refused(tmp_path):
    labels = np.zeros((1, 40, 50), np.float32)
    labels[0, 20, 30] = 0.7

    with pytest.raises(
        ValueError, match=r"labels\.tif: is float32 with fractions, expected integer labels"
    ):
        scene(tmp_path, labels=labels)


def test_elevation_is_unknown_where_the_image_has_no_data(tmp_path):
    image = np.full((3, 40, 50), 9, np.uint8)
    image[:, :10] = 0
    write_raster(tmp_path / "elevation.tif", np.full((1, 40, 50), 5, np.float32), GRID)

    scene(tmp_path, image=image, params=Params(nodata=0), elevation=tmp_path / "elevation.tif")

    assert np.isnan(stored(tmp_path, "elevation")[:10]).all()
    assert (stored(tmp_path, "elevation")[10:] == 5).all()


def test_a_class_that_the_labels_do_not_know_is_a_class_still(tmp_path):
    classes = [ClassCode(name="road"), ClassCode(name="other", value=0), ClassCode(name="roof")]
    classes[2] = classes[2].model_copy(update={"value": (1, 2)})
    labels = np.random.default_rng(0).integers(0, 3, (1, 40, 50), np.uint8)
    write_raster(tmp_path / "labels.tif", labels, GRID)

    files = {"image": picture(tmp_path), "labels": tmp_path / "labels.tif"}
    manifest = tiled(tmp_path / "out", classes=classes, **files)

    assert np.array_equal(stored(tmp_path, "labels"), np.array([1, 2, 2])[labels[0]])
    assert manifest["classes"] == ["road", "other", "roof"]
    assert manifest["labelled"] == ["other", "roof"]
    counts = np.bincount(labels.ravel())
    assert manifest["label_counts"] == [0, counts[0], counts[1] + counts[2]]
