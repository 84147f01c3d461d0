import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from scipy.ndimage import gaussian_filter, zoom

from pipeline_steps.inspection import files
from pipeline_steps.inspection.findings import Findings
from pipeline_steps.inspection.orientation import STRAIGHT, edges_followed
from pipeline_steps.inspection.parts import look_for_leaks
from pipeline_steps.inspection.scene import Look
from pipeline_steps.rasters.labels import Codebook
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.params.check import Params
from pipeline_steps.study.params.split import Params as Split
from pipeline_steps.study.params.tile import Elevation, Vectors
from pipeline_steps.study.params.tile import Params as Tile
from pipeline_steps.study.scenes import Scene
from tests.data.tiling import VALUES, utm_grid

GRID = utm_grid(80, 120)
PLAIN = Grid(80, 120, None, (1, 0, 0, 0, 1, 0))
IGNORE = 255


def book():
    return Codebook([one.keys for one in VALUES], (), IGNORE)


def picture(path, grid=GRID, bands=3, dtype=np.uint8, seed=0, **profile):
    """Write an image of noise and return its path."""
    shape = (bands, grid.height, grid.width)
    pixels = np.random.default_rng(seed).integers(1, 200, shape).astype(dtype)
    write_raster(path, pixels, grid, **profile)
    return path


def stripes(path, grid=GRID, dtype=np.uint8):
    """Write labels in stripes of all four classes and return their path."""
    rows = np.arange(grid.height)[:, None] * 4 // grid.height
    labels = np.broadcast_to(rows, (grid.height, grid.width)).astype(dtype)
    write_raster(path, labels[None], grid)
    return path


# single files


def test_an_image_is_described_by_its_header_and_a_sample(tmp_path):
    pixels = np.full((4, 80, 120), 9, np.uint16)
    pixels[:, :20] = 0
    write_raster(tmp_path / "a.tif", pixels, utm_grid(80, 120, 0.5), nodata=0)

    found = files.look_at_image(tmp_path / "a.tif", Tile(bands=(1, 2, 4)), 4)

    assert (found.dtype, found.bands, found.nodata, found.alpha) == ("uint16", 4, 0.25, None)
    assert found.gsd_m == pytest.approx(0.5, rel=1e-3)
    assert (found.grid.height, found.grid.width) == (80, 120)


def test_without_samples_no_pixel_is_read_and_nodata_is_unknown(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.tif")
    monkeypatch.setattr("pipeline_steps.rasters.raster.read", lambda *_: pytest.fail("was read"))

    assert files.look_at_image(path, Tile(), 0).nodata is None


@pytest.mark.parametrize(
    "other, share, trouble",
    [
        (GRID, 1.0, None),
        (utm_grid(80, 120, x=5e5 + 60), 0.5, "begins at column 60 and row 0, expected 0"),
        (utm_grid(40, 120), 0.5, "is 120x40 pixels, expected 120x80"),
        (
            Grid(80, 120, "EPSG:32633", GRID.transform),
            0.0,
            "has CRS EPSG:32633, expected EPSG:32632",
        ),
        (Grid(20, 20, None, PLAIN.transform), 1 / 24, "is 20x20 pixels, expected 120x80"),
        (PLAIN, 1.0, None),
    ],
    ids=["same", "shifted", "lower", "other CRS", "small, no CRS", "no CRS"],
)
def test_how_a_raster_lies_on_its_image_is_a_share_and_a_sentence(tmp_path, other, share, trouble):
    found = files.fit(stripes(tmp_path / "a.tif", other), GRID, Tile())

    assert found.share == pytest.approx(share)
    assert (found.trouble or "").startswith(trouble or "")
    assert (found.trouble is None) == (trouble is None)


def test_rows_and_columns_exchanged_are_seen_by_the_size(tmp_path):
    turned = files.fit(
        stripes(tmp_path / "a.tif", Grid(120, 80, None, PLAIN.transform)), PLAIN, Tile()
    )
    other = files.fit(
        stripes(tmp_path / "b.tif", Grid(100, 80, None, PLAIN.transform)), PLAIN, Tile()
    )

    assert turned.is_turned and turned.share == pytest.approx(80 * 80 / (80 * 120))
    assert not other.is_turned
    assert not turned.can_warp


def polygons(path, *shapes, crs="EPSG:32632"):
    features = np.array([shapely.to_wkb(shape) for shape in shapes], object)
    pyogrio.raw.write(path, features, [], [], crs=crs, geometry_type="Polygon")
    return path


def test_polygons_fit_by_the_box_around_them(tmp_path):
    left = shapely.box(5e5, 5e6 - 80, 5e5 + 10, 5e6)
    right = shapely.box(5e5 + 50, 5e6 - 80, 5e5 + 60, 5e6)
    file = polygons(tmp_path / "a.gpkg", left, right)

    assert files.fit(file, GRID, Tile()).share == pytest.approx(0.5)
    assert files.fit(file, PLAIN, Tile()) == files.Fit(0.0, "lies on an image without CRS")


def test_where_ground_without_a_polygon_has_a_class_polygons_need_not_cover_the_image(tmp_path):
    file = polygons(tmp_path / "a.gpkg", shapely.box(5e5, 5e6 - 10, 5e5 + 10, 5e6))
    scene = Scene(
        "a", (str(picture(tmp_path / "a.tif")),), (str(file),), (), (), "train", False, ("a",)
    )

    found = look(scene, Tile(vectors=Vectors(background=0)))[1]

    assert found.of("error") == []


def test_a_small_raster_is_sampled_whole_and_a_large_one_in_windows_inside_it():
    assert files.sample_windows(GRID, 5) == [(0, 0, 80, 120)]

    for grid in (utm_grid(5000, 3000), utm_grid(30, 900_000), utm_grid(900_000, 30)):
        windows = files.sample_windows(grid, 50)
        assert len(windows) == 50
        assert windows == files.sample_windows(grid, 50)
        for window in windows:
            assert window.y >= 0 and window.y + window.height <= grid.height
            assert window.x >= 0 and window.x + window.width <= grid.width
            assert window.height * window.width <= 64 * 64


def test_windows_of_a_sample_are_spread_over_the_raster():
    windows = files.sample_windows(utm_grid(6400, 6400), 200)

    quarters = {(window.y // 3200, window.x // 3200) for window in windows}
    assert len(quarters) == 4


def test_a_sample_of_labels_is_counted_and_what_is_strange_is_named(tmp_path):
    path, codes = stripes(tmp_path / "a.tif"), book()
    with rasterio.open(path, "r+") as target:
        values = target.read(1)
        values[:2] = 77
        target.write(values, 1)

    for _ in range(2):
        counts, strange = files.sample_labels(path, GRID, codes, Tile(), 3)
        assert counts[:4].tolist() == [18 * 120, 20 * 120, 20 * 120, 20 * 120]
        assert counts[IGNORE] == 240
        assert strange == {77: 240}


def test_a_sample_of_heights_is_in_metres_and_without_nodata(tmp_path):
    heights = np.full((2, 80, 120), 300, np.int16)
    heights[1, :40] = -9999
    write_raster(tmp_path / "a.tif", heights, GRID)

    found = files.sample_heights(tmp_path / "a.tif", 2, Elevation(unit=0.01, nodata=-9999), 3)

    assert found.size == 40 * 120
    assert found == pytest.approx(3)


# the way round


def patches(seed=0, height=240, width=240):
    """Return labels of three classes in blobs, and an image in which each has its own grey."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.normal(size=(height, width)), 12) for _ in range(3)]
    labels = np.argmax(fields, axis=0).astype(np.uint8)
    grey = np.array([60, 120, 180])[labels] + rng.normal(0, 10, (height, width))
    return np.repeat(grey[None], 3, 0).clip(0, 255).astype(np.uint8), labels


TURNED = {
    STRAIGHT: lambda labels: labels,
    "upside down": lambda labels: labels[::-1],
    "mirrored": lambda labels: labels[:, ::-1],
    "turned by half": lambda labels: labels[::-1, ::-1],
    "transposed": lambda labels: labels.T,
    "turned left": lambda labels: np.rot90(labels, -1),
    "turned right": np.rot90,
    "transposed the other way": lambda labels: labels[::-1, ::-1].T,
}


@pytest.mark.parametrize("way", TURNED)
def test_the_way_in_which_labels_follow_the_image_s_edges_has_the_highest_figure(way):
    image, labels = patches()
    valid = np.ones(labels.shape, bool)

    found = edges_followed(image, valid, TURNED[way](labels), IGNORE)

    assert max(found, key=found.get) == way
    others = [figure for name, figure in found.items() if name != way]
    assert found[way] > max(others) + 0.1
    assert all(0.3 < figure < 0.7 for figure in others)


def test_a_raster_that_is_no_square_cannot_have_been_turned_by_a_quarter():
    image, labels = patches(height=200)

    found = edges_followed(image, np.ones(labels.shape, bool), labels, IGNORE)

    assert set(found) == {STRAIGHT, "upside down", "mirrored", "turned by half"}


def test_the_edge_of_nodata_is_no_edge_of_the_ground():
    image, labels = patches()
    image[:, :120] = 0
    valid = np.ones(labels.shape, bool)
    valid[:120] = False
    ring = np.zeros_like(labels)
    ring[118:] = 1

    assert edges_followed(image, valid, ring, IGNORE) == {}


@pytest.mark.parametrize(
    "labels", [np.zeros((240, 240), np.uint8), np.full((240, 240), IGNORE, np.uint8)]
)
def test_labels_without_borders_say_nothing(labels):
    image, _ = patches()

    assert edges_followed(image, np.ones((240, 240), bool), labels, IGNORE) == {}


def test_the_border_of_what_is_not_labelled_does_not_count():
    image, labels = patches()
    labels[labels > 0] = IGNORE

    assert edges_followed(image, np.ones(labels.shape, bool), labels, IGNORE) == {}


def test_an_image_without_any_data_says_nothing():
    image, labels = patches()

    assert edges_followed(image, np.zeros(labels.shape, bool), labels, IGNORE) == {}


def test_an_image_that_is_not_a_number_anywhere_does_not_spoil_the_rest():
    image, labels = patches()
    image = image.astype(np.float32)
    valid = np.ones(labels.shape, bool)
    image[:, :30], valid[:30] = np.nan, False

    found = edges_followed(image, valid, labels, IGNORE)

    assert max(found, key=found.get) == STRAIGHT and found[STRAIGHT] > 0.7


# a scene


def look(scene, tile=None, params=None, classes=VALUES):
    """Look at a scene; return the look and what it found."""
    found = Findings()
    one = Look(scene, classes, tile or Tile(), params or Params(), found)
    one.look()
    return one, found


def scene_of(folder, labels=GRID, elevation=None, split="train", **image):
    """Write the files of a scene and return it; ``elevation`` is an array."""
    files = {"images": (str(picture(folder / "image.tif", **image)),)}
    files["labels"] = (str(stripes(folder / "labels.tif", labels)),) if labels else ()
    files["elevation"] = ()
    if elevation is not None:
        write_raster(folder / "elevation.tif", elevation, GRID)
        files["elevation"] = (str(folder / "elevation.tif"),)
    return Scene("a", terrain=(), split=split, is_folder=False, raster_names=("a",), **files)


def test_a_sound_scene_is_a_row_without_findings(tmp_path):
    one, found = look(scene_of(tmp_path, elevation=np.zeros((1, 80, 120), np.float32)))

    assert found == []
    row = one.row()
    assert (row["pixels"], row["crs"], row["bands"]) == ("120x80", "EPSG:32632", "3 uint8")
    assert (row["labels_percent"], row["elevation_percent"], row["nodata_percent"]) == (100, 100, 0)
    assert one.counts.tolist() == [20 * 120] * 4


def test_labels_that_cover_enough_will_be_warped_and_are_sampled_where_they_lie(tmp_path):
    one, found = look(scene_of(tmp_path, labels=utm_grid(80, 120, x=5e5 + 6)))

    (warning,) = found
    assert warning.level == "warning"
    assert "covers 95.0 % of its image" in warning.what
    assert warning.remedy == "will be warped (nearest)"
    assert one.counts.sum() == 80 * 114


def test_labels_that_cover_too_little_are_an_error_with_what_would_let_them_pass(tmp_path):
    scene = scene_of(tmp_path, labels=utm_grid(80, 120, x=5e5 + 60))

    (error,) = look(scene)[1].of("error")
    assert str(error).startswith(f"{tmp_path / 'labels.tif'}: begins at column 60")
    assert "covers 50.0 % of its image" in error.what and "check.overlap: 50" in error.remedy
    assert look(scene, params=Params(overlap=50))[1].of("error") == []


@pytest.mark.parametrize(
    "heights, options, level, words",
    [
        (np.full((1, 80, 120), -9999), {}, "error", "heights are -9999 to -9999 m"),
        (np.full((1, 80, 120), -9999), {"nodata": -9999}, "warning", "has a height"),
        (np.full((1, 80, 120), 20_000), {}, "error", "heights are 20000 to 20000 m"),
        (np.full((1, 80, 120), 20_000), {"unit": 0.001}, None, ""),
        (np.full((1, 80, 120), 120), {}, "warning", "half of the heights are above 120 m"),
        (np.full((1, 80, 120), 120), {"kind": "dsm"}, None, ""),
    ],
)
def test_heights_that_can_be_none_are_found(tmp_path, heights, options, level, words):
    scene = scene_of(tmp_path, elevation=heights.astype(np.float32))

    found = look(scene, Tile(elevation=Elevation(**options)))[1]

    assert [one.level for one in found] == ([level] if level else [])
    assert words in "".join(map(str, found))


def test_a_surface_that_cannot_find_its_ground_is_found_before_it_is_tiled(tmp_path):
    scene = scene_of(tmp_path, elevation=np.ones((1, 80, 120), np.float32), grid=PLAIN)

    found = look(scene, Tile(elevation=Elevation(kind="dsm")))[1]

    assert ["dsm" in str(one) for one in found.of("error")] == [True]


def test_a_height_s_band_that_is_not_there_is_an_error(tmp_path):
    scene = scene_of(tmp_path, elevation=np.ones((1, 80, 120), np.float32))

    (error,) = look(scene, Tile(elevation=Elevation(band=2)))[1].of("error")

    assert error.where == str(tmp_path / "elevation.tif")


def test_an_image_without_any_data_is_a_warning(tmp_path):
    scene = scene_of(tmp_path)

    found = look(scene, Tile(nodata=5))[1]
    assert found == []

    write_raster(tmp_path / "image.tif", np.full((3, 80, 120), 5, np.uint8), GRID)
    (warning,) = look(scene, Tile(nodata=5))[1]
    assert (warning.level, warning.what) == ("warning", "no pixel of the sample has data")


def test_a_band_that_the_file_calls_alpha_and_the_study_data_is_a_warning(tmp_path):
    scene = scene_of(tmp_path, bands=4, photometric="RGB", alpha="YES")

    (warning,) = look(scene, Tile(bands=(1, 2, 3, 4)))[1]

    assert warning.what == "band 4 is called alpha, and is among tile.bands"
    assert look(scene, Tile(bands=(1, 2, 3)))[1] == []


def test_labels_that_were_saved_upside_down_are_an_error(tmp_path):
    image, labels = patches()
    write_raster(tmp_path / "image.tif", image, PLAIN_SQUARE)
    write_raster(tmp_path / "labels.tif", labels[None, ::-1], PLAIN_SQUARE)
    names = (str(tmp_path / "image.tif"),), (str(tmp_path / "labels.tif"),)
    scene = Scene("a", *names, (), (), "train", False, ("a",))

    (error,) = look(scene)[1].of("error")
    assert "borders follow the image's edges when upside down" in error.what
    assert look(scene, params=Params(orientation="warning"))[1].of("error") == []


PLAIN_SQUARE = Grid(240, 240, None, PLAIN.transform)


@pytest.mark.parametrize("name", ["image.tif", "labels.tif"])
def test_a_file_that_cannot_be_read_is_an_error_and_the_look_goes_on(tmp_path, name):
    scene = scene_of(tmp_path)
    (tmp_path / name).write_text("no raster")

    one, found = look(scene)

    errors = found.of("error")
    assert {error.where for error in errors} == {str(tmp_path / name)}
    assert all("cannot be read" in error.what for error in errors)
    assert one.row()["scene"] == "a"


def test_of_many_images_as_many_are_sampled_as_the_study_says(tmp_path):
    images = [str(picture(tmp_path / f"{n}.tif", seed=n)) for n in range(7)]
    labels = [str(stripes(tmp_path / f"l{n}.tif")) for n in range(7)]
    scene = Scene("a", tuple(images), tuple(labels), (), (), "train", True, tuple("abcdefg"))

    one, found = look(scene, params=Params(rasters=3))

    sampled = [image.nodata is not None for image in one.images.values()]
    assert sampled == [True, False, False, True, False, False, True]
    assert one.counts.sum() == 3 * 80 * 120
    assert found == []


# parts


def looked(folder, name, split, grid, texture=None):
    """Return the look at a scene of one image, which no file must be read for."""
    path = folder / f"{name}.tif"
    scene = Scene(name, (str(path),), (), (), (), split, False, (name,))
    one = Look(scene, VALUES, Tile(), Params(), Findings())
    one.images[str(path)] = files.Image(grid, "uint8", 3, 1.0, None, None)
    return one


def leaks(looks, split=None, taught=(), **params):
    found = Findings()
    rows = look_for_leaks(looks, taught, (1, 2, 3), split or Split(), Params(**params), found)
    return rows, found


@pytest.mark.parametrize("other", ["val", "test"])
def test_shared_ground_is_an_error_in_square_metres_that_names_both_files(tmp_path, other):
    one = looked(tmp_path, "a", "train", GRID)
    two = looked(tmp_path, "b", other, utm_grid(80, 120, x=5e5 + 100))

    (row,), (finding,) = leaks([one, two])

    assert row["shared_m2"] == pytest.approx(20 * 80, rel=1e-3)
    assert (finding.level, finding.where) == ("error", f"train and {other}")
    assert "leak: share 1" in finding.what and "m² of ground" in finding.what
    assert str(tmp_path / "a.tif") in finding.what and str(tmp_path / "b.tif") in finding.what
    assert "check.leak: warning" in finding.remedy
    assert [one.level for one in leaks([one, two], leak="warning")[1]] == ["warning"]


def test_neighbours_are_a_warning_and_what_is_far_is_none(tmp_path):
    one = looked(tmp_path, "a", "train", GRID)
    near = looked(tmp_path, "b", "test", utm_grid(80, 120, x=5e5 + 120.5))
    far = looked(tmp_path, "c", "test", utm_grid(80, 120, x=5e5 + 150))

    assert [one.level for one in leaks([one, near])[1]] == ["warning"]
    (row,), found = leaks([one, far])
    assert found == [] and row["nearest_m"] == pytest.approx(30, rel=0.01)
    assert len(leaks([one, far], distance=40)[1]) == 1


def test_a_raster_that_has_no_place_leaves_a_record_that_is_json(tmp_path):
    nowhere = Grid(700, 800, rasterio.CRS.from_epsg(4326).to_wkt(), (1, 0, 0, 0, 1, 0))
    looks = [looked(tmp_path, "a", "train", GRID), looked(tmp_path, "b", "test", nowhere)]

    for one, other in (looks, looks[::-1]):
        rows, _ = leaks([one, other])
        assert json.loads(json.dumps(rows, allow_nan=False)) is not None


def test_a_damaged_or_misfit_label_is_one_error_and_not_two(tmp_path):
    misfit = scene_of(tmp_path, labels=Grid(120, 80, None, PLAIN.transform), grid=PLAIN)
    assert len(look(misfit)[1].of("error")) == 1

    (tmp_path / "labels.tif").write_text("no raster")
    assert len(look(misfit)[1].of("error")) == 1


def test_an_image_without_an_area_is_covered_by_nothing(tmp_path):
    flat = Grid(80, 120, GRID.crs, (0.0, 0.0, 5e5, 0.0, 0.0, 5e6))

    assert files.fit(stripes(tmp_path / "a.tif"), flat, Tile()).share == 0


def test_scenes_of_one_split_and_those_to_predict_may_share_ground(tmp_path):
    ones = [looked(tmp_path, name, "train", GRID) for name in "ab"]

    assert leaks([*ones, looked(tmp_path, "c", "predict", GRID)]) == ([], [])


@pytest.mark.parametrize("split", ["predict", "val"])
def test_ground_that_a_taught_scene_shares_with_a_tested_one_is_as_bad_as_of_training(
    tmp_path, split
):
    far = looked(tmp_path, "a", "train", utm_grid(80, 120, x=6e5))
    one = looked(tmp_path, "b", split, GRID)
    test = looked(tmp_path, "c", "test", utm_grid(80, 120, x=5e5 + 100))

    rows, found = leaks([far, one, test], taught=("a", "b"))

    (error,) = found.of("error")
    assert error.where == rows[-1]["between"] == "adapt.scenes and test"
    assert "leak: share 1" in error.what and str(tmp_path / "b.tif") in error.what
    assert "let the teacher learn from other scenes" in error.remedy
    assert "check.leak: warning" in error.remedy
    passed = leaks([far, one, test], taught=("a", "b"), leak="warning")[1]
    assert [one.level for one in passed] == ["warning"]
    assert leaks([far, one, test], taught=("a",))[1] == []


def test_a_taught_scene_may_share_ground_with_those_that_are_not_tested(tmp_path):
    looks = [looked(tmp_path, name, name, GRID) for name in ("train", "predict")]
    test = looked(tmp_path, "test", "test", utm_grid(80, 120, x=6e5))

    assert leaks([*looks, test], taught=("train", "predict"))[1] == []


def test_a_taught_scene_is_compared_with_the_tests_of_every_fold(tmp_path):
    split = Split(folds=2)
    ones = [looked(tmp_path, str(n), "folds", utm_grid(80, 120, x=5e5 + 200 * n)) for n in range(2)]
    over = looked(tmp_path, "over", "predict", GRID)

    found = leaks([*ones, over], split, taught=("over",))[1]

    (error,) = found.of("error")
    assert error.where.startswith("adapt.scenes and test of fold ")


def test_a_divided_scene_is_compared_with_every_other_and_not_with_itself(tmp_path):
    divided = looked(tmp_path, "a", "blocks", GRID)
    far = looked(tmp_path, "b", "blocks", utm_grid(80, 120, x=6e5))
    over = looked(tmp_path, "c", "test", utm_grid(80, 120, x=5e5 + 20))

    assert [one.level for one in leaks([divided])[1]] == ["note"]
    assert [one.level for one in leaks([divided, far])[1]] == ["note"]
    assert {one.level for one in leaks([divided, over])[1]} == {"error", "note"}


def test_scenes_that_are_dealt_to_folds_are_compared_in_every_fold(tmp_path):
    split = Split(folds=2)
    ones = [looked(tmp_path, str(n), "folds", utm_grid(80, 120, x=5e5 + 200 * n)) for n in range(4)]

    rows, found = leaks(ones, split)
    assert [row["between"] for row in rows] == [f"train and test of fold {k}" for k in range(2)]
    assert found == []

    over = [*ones, looked(tmp_path, "over", "train", utm_grid(80, 120, x=5e5 + 10))]
    assert "error" in {one.level for one in leaks(over, split)[1]}


def test_pictures_that_continue_one_another_are_found_between_parts(tmp_path):
    rng = np.random.default_rng(0)
    mosaic = np.stack([zoom(rng.normal(100, 30, (100, 100)), 2, order=1) for _ in range(3)])
    looks = []
    for name, split, cut in (("a", "train", slice(0, 100)), ("b", "test", slice(100, 200))):
        grid = Grid(200, 100, None, PLAIN.transform)
        pixels = mosaic[:, :, cut].clip(0, 255).astype(np.uint8)
        write_raster(tmp_path / f"{name}.tif", pixels, grid)
        looks.append(looked(tmp_path, name, split, grid))

    (row,), (finding,) = leaks(looks)

    assert row["continuing"] == 1
    assert finding.what.startswith("leak: 1 pairs of images continue one another")


def test_a_picture_that_is_taught_and_tested_under_two_names_is_an_error(tmp_path):
    picture(tmp_path / "a.tif", PLAIN)
    picture(tmp_path / "b.tif", PLAIN)
    looks = [looked(tmp_path, "a", "predict", PLAIN), looked(tmp_path, "b", "test", PLAIN)]

    assert leaks(looks) == ([], [])
    (error,) = leaks(looks, taught=("a",))[1]
    assert error.level == "error" and "leak: 1 pairs of images are the same" in error.what
