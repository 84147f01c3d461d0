"""Real imagery through ``tile`` and ``check``: what fits stays as it is, the rest is caught."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import rasterio.warp
import shapely

from pipeline_steps import check
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import IGNORE, ClassCode
from pipeline_steps.study.domains import Reading
from pipeline_steps.study.params.check import Params as Check
from pipeline_steps.study.params.fetch import Params as Models
from pipeline_steps.study.params.split import Params as Split
from pipeline_steps.study.params.tile import Elevation, Vectors
from pipeline_steps.study.params.tile import Params as Tile
from pipeline_steps.study.plan import Plan
from tests.conftest import REAL
from tests.data.tiling import facts_of, stored, tile_scene, write_table

pytestmark = pytest.mark.real

LANDCOVER = ("ground", "low vegetation", "high vegetation", "building")
IGN = [ClassCode(name=name, value=value) for value, name in enumerate(LANDCOVER, 1)]
BUILDINGS = [ClassCode(name="other", value=0), ClassCode(name="building", value=1)]
COLOURS = {
    "water": (226, 169, 41),
    "land": (132, 41, 246),
    "road": (110, 193, 228),
    "building": (60, 16, 152),
    "vegetation": (254, 221, 58),
}
DUBAI = [ClassCode(name=name, rgb=rgb) for name, rgb in COLOURS.items()]
UNLABELLED = (155, 155, 155)
PLAN = Plan(jobs=1, fields=1, runs=1, classes=4, window=64, is_stretched=False)


def pixels_of(path):
    with rasterio.open(path) as source:
        return source.read()


def look(folder, *rows, classes=BUILDINGS, tile=None, split=None, **params):
    """Check a study; return its record and whether it may run."""
    paths = {name: folder / f"{name}.json" for name in ("findings", "record", "text")}
    how = Reading(classes=tuple(classes), tile=tile or Tile())
    arguments = {"readings": {"": how}, "models": Models(), "plan": PLAN}
    arguments |= {"split": split or Split(), "params": Check(**params)}
    try:
        check.run(write_table(folder, *rows), str(folder), **paths, **arguments)
    except ValueError:
        assert not paths["findings"].exists()
    record = json.loads(paths["record"].read_text())
    return record, paths["findings"].exists()


def errors_of(record):
    return [
        f"{one['what']}; {one['remedy']}" for one in record["findings"] if one["level"] == "error"
    ]


# IGN: four bands, a curved edge, classes that do not begin at 0


@pytest.fixture(scope="module")
def rural(tmp_path_factory):
    """The IGN scene with its labels and heights above ground, tiled."""
    if not REAL.is_dir():
        pytest.skip("no ../shared/data here")
    folder = REAL / "ign_rural"
    files = {"image": "ortho_from_points.tif", "labels": "landcover.tif", "elevation": "ndsm.tif"}
    files = {layer: folder / name for layer, name in files.items()}
    out = tmp_path_factory.mktemp("rural")
    return files, tile_scene(out, IGN, "train", **files, bands=(1, 2, 3, 4), ignore_labels=(0,))


def test_of_the_rural_scene_exactly_the_file_s_nodata_is_not_valid(rural):
    _, manifest = rural
    valid = stored(manifest, "valid")

    assert valid.size == 520_182
    assert (valid == 0).sum() == 182_508
    assert facts_of(manifest)["rasters"][0]["valid_pixels"] == 520_182 - 182_508


def test_the_rural_scene_keeps_its_pixels_labels_and_heights_bit_for_bit(rural):
    files, manifest = rural
    image, labels, heights = (pixels_of(file) for file in files.values())
    is_valid = stored(manifest, "valid") > 0

    assert np.array_equal(stored(manifest, "image"), image)
    classes = np.where((labels[0] > 0) & is_valid, labels[0] - 1, IGNORE)
    assert np.array_equal(stored(manifest, "labels"), classes)
    expected = np.where(is_valid & (heights[0] != -9999), heights[0], np.nan)
    assert np.array_equal(stored(manifest, "elevation"), expected, equal_nan=True)


def test_the_rural_scene_passes_the_check_with_its_share_of_nodata(tmp_path, rural):
    files, _ = rural
    row = {"scene": "rural", "split": "train"} | files
    tile = Tile(bands=(1, 2, 3, 4), ignore_labels=(0,))

    record, passes = look(tmp_path, row, classes=IGN, tile=tile)

    assert passes
    (scene,) = record["scenes"]
    assert scene["nodata_percent"] == pytest.approx(100 * 182_508 / 520_182, abs=0.01)
    assert (scene["crs"], scene["gsd_m"], scene["labels_percent"]) == ("EPSG:2154", "0.5", 100)


def test_the_surface_of_the_rural_scene_is_not_taken_for_height_above_ground(tmp_path, rural):
    files, _ = rural
    files = files | {"elevation": files["elevation"].with_name("dsm.tif")}
    row, tile = {"scene": "rural", "split": "train"} | files, {"ignore_labels": (0,)}

    record, _ = look(tmp_path, row, classes=IGN, tile=Tile(**tile))
    as_dsm, _ = look(tmp_path, row, classes=IGN, tile=Tile(**tile, elevation=Elevation(kind="dsm")))

    about = [
        [one["where"] for one in found["findings"] if "heights" in one["what"]]
        for found in (record, as_dsm)
    ]
    assert about == [[str(files["elevation"])], []]


# Kampala: labels in every form


@pytest.fixture
def kampala(real_data):
    """The image of Kampala, its labels, and their pixels."""
    image, labels = (real_data / "kampala" / f"A_z20_{name}.tif" for name in ("rgb", "building"))
    with rasterio.open(labels) as source:
        return image, labels, source.read(1), Grid.of(source)


def agreement(manifest, values):
    return (stored(manifest, "labels") == values).mean()


def test_kampala_tiles_on_its_own_grid_with_its_labels(tmp_path, kampala):
    image, labels, values, _ = kampala
    manifest = tile_scene(tmp_path, BUILDINGS, "train", image=image, labels=labels)

    assert np.array_equal(stored(manifest, "image"), pixels_of(image)[:3])
    assert np.array_equal(stored(manifest, "labels"), values)
    assert stored(manifest, "valid").all()


def write_polygons(path, values, grid, crs=None):
    """Write labels as polygons whose field ``what`` is a word; return their file."""
    shapes, words = [], []
    place = rasterio.Affine(*grid.transform)
    for shape, value in rasterio.features.shapes(values, transform=place):
        moved = rasterio.warp.transform_geom(grid.crs, crs, shape) if crs else shape
        shapes.append(shapely.to_wkb(shapely.geometry.shape(moved)))
        words.append("house" if value else "ground")
    fields = [np.array(words, object)]
    crs = crs or rasterio.CRS.from_wkt(grid.crs).to_string()
    features = np.array(shapes, object)
    pyogrio.raw.write(path, features, fields, ["what"], crs=crs, geometry_type="Polygon")
    return path


WORDS = [ClassCode(name="other", value="ground"), ClassCode(name="building", value="house")]


@pytest.mark.parametrize("crs", [None, "EPSG:32636", "EPSG:4326"])
def test_kampala_s_labels_as_polygons_are_the_same_classes(tmp_path, kampala, crs):
    image, _, values, grid = kampala
    file = write_polygons(tmp_path / "labels.gpkg", values, grid, crs)
    vectors = Vectors(attribute="what")
    manifest = tile_scene(tmp_path, WORDS, "train", image=image, labels=file, vectors=vectors)

    assert agreement(manifest, values) >= 0.99
    buildings = stored(manifest, "labels") == 1
    assert (buildings & (values == 1)).sum() / (buildings | (values == 1)).sum() >= 0.98


def test_kampala_s_buildings_alone_and_a_background_are_the_same_classes(tmp_path, kampala):
    image, _, values, grid = kampala
    place = rasterio.Affine(*grid.transform)
    houses = [
        shapely.to_wkb(shapely.geometry.shape(shape))
        for shape, value in rasterio.features.shapes(values, transform=place)
        if value
    ]
    file = tmp_path / "labels.geojson"
    features = np.array(houses, object)
    pyogrio.raw.write(file, features, [], [], crs="EPSG:3857", geometry_type="Polygon")
    vectors = Vectors(value=1, background=0)

    manifest = tile_scene(tmp_path, BUILDINGS, "train", image=image, labels=file, vectors=vectors)

    assert agreement(manifest, values) >= 0.99


def test_kampala_s_labels_in_another_crs_are_the_same_classes(tmp_path, kampala):
    image, labels, values, _ = kampala
    with rasterio.open(labels) as source:
        size = (source.crs, "EPSG:32636", source.width, source.height, *source.bounds)
        place, width, height = rasterio.warp.calculate_default_transform(*size, resolution=0.05)
        target = np.full((1, height, width), 255, np.uint8)
        rasterio.warp.reproject(
            rasterio.band(source, 1), target[0], dst_transform=place, dst_crs="EPSG:32636"
        )
    grid = Grid(height, width, rasterio.CRS.from_epsg(32636).to_wkt(), tuple(place)[:6])
    write_raster(tmp_path / "labels.tif", target, grid)

    manifest = tile_scene(
        tmp_path, BUILDINGS, "train", image=image, labels="labels.tif", unlisted_labels="ignore"
    )

    assert agreement(manifest, values) >= 0.99
    assert facts_of(manifest)["rasters"][0]["labels"] == "warped, nearest"


def checked(folder, image, values, grid, **params):
    write_raster(folder / "labels.tif", values[None], grid)
    row = {"scene": "kampala", "split": "train", "image": image, "labels": "labels.tif"}
    return look(folder, row, **params)


def test_labels_shifted_by_half_their_width_are_caught_with_what_they_cover(tmp_path, kampala):
    image, _, values, grid = kampala
    place = list(grid.transform)
    place[2] += place[0] * grid.width / 2
    shifted = Grid(grid.height, grid.width, grid.crs, tuple(place))

    record, passes = checked(tmp_path, image, values, shifted)

    assert not passes
    (error,) = errors_of(record)
    assert "covers 50.0 %" in error
    assert record["scenes"][0]["labels_percent"] == 50.0


def test_labels_of_another_crs_that_lie_elsewhere_are_caught(tmp_path, kampala):
    image, _, values, grid = kampala
    elsewhere = Grid(
        grid.height, grid.width, rasterio.CRS.from_epsg(32636).to_wkt(), grid.transform
    )

    record, passes = checked(tmp_path, image, values, elsewhere)

    assert not passes
    (error,) = errors_of(record)
    assert "has CRS EPSG:32636, expected EPSG:3857" in error and "covers 0.0 %" in error


@pytest.mark.parametrize("has_crs", [True, False])
def test_transposed_labels_are_caught_with_a_hint(tmp_path, kampala, has_crs):
    image, _, values, grid = kampala
    crs = grid.crs if has_crs else None
    turned = Grid(grid.width, grid.height, crs, grid.transform)

    record, passes = checked(tmp_path, image, np.ascontiguousarray(values.T), turned)

    assert not passes
    (error,) = errors_of(record)
    assert "covers 66.7 %" in error
    assert "rows and columns seem exchanged" in error


def test_labels_upside_down_are_caught_by_the_image_s_edges(tmp_path, kampala):
    image, _, values, grid = kampala

    record, passes = checked(tmp_path, image, np.ascontiguousarray(values[::-1]), grid)

    assert not passes
    (error,) = errors_of(record)
    assert "borders follow the image's edges when upside down" in error
    assert checked(tmp_path, image, values, grid)[1]


# Dubai: neighbours


def dubai_rows(real_data, groups):
    """Return a scene for each split, of the files that ``groups`` names by tile and number."""
    folder = real_data / "dubai"
    for split, files in groups.items():
        for tile, number in files:
            name = f"image_part_{number:03}"
            files = {
                "image": folder / tile / "images" / f"{name}.jpg",
                "labels": folder / tile / "masks" / f"{name}.png",
            }
            yield {"scene": f"{tile}_{number}", "split": split} | files


def look_at_dubai(folder, real_data, groups):
    tile = Tile(ignore_labels=(UNLABELLED,), unlisted_labels="ignore")
    rows = dubai_rows(real_data, groups)
    record, _ = look(folder, *rows, classes=DUBAI, tile=tile, samples=0)
    said = [one for one in record["findings"] if "leak" in one["what"]]
    return record["leaks"], said


@pytest.mark.parametrize("tile", ["tile_1", "tile_2", "tile_4", "tile_5", "tile_7"])
def test_a_random_split_of_the_files_of_one_tile_is_reported_as_leaking(tmp_path, real_data, tile):
    numbers = np.random.default_rng(0).permutation(np.arange(1, 10))
    groups = {"train": [(tile, n) for n in numbers[:6]], "test": [(tile, n) for n in numbers[6:]]}

    (row,), said = look_at_dubai(tmp_path, real_data, groups)

    assert row["continuing"] >= 3
    assert len(said) == 1 and said[0]["where"] == "train and test"
    assert tile in said[0]["what"]


def test_the_split_by_tile_is_not_reported(tmp_path, real_data):
    tiles = {"train": ("tile_1", "tile_2", "tile_7"), "val": ("tile_4",), "test": ("tile_5",)}
    groups = {s: [(t, n) for t in some for n in range(1, 10)] for s, some in tiles.items()}

    rows, said = look_at_dubai(tmp_path, real_data, groups)

    assert [row["continuing"] for row in rows] == [0, 0]
    assert said == []


# NAIP: two dates


def naip(real_data):
    return sorted((real_data / "naip").glob("*.tif"))


@pytest.mark.parametrize("date", [0, 1])
def test_each_naip_date_tiles_with_the_nodata_that_the_study_says(tmp_path, real_data, date):
    file = naip(real_data)[date]
    manifest = tile_scene(tmp_path, image=file, bands=(1, 2, 3, 4), nodata=0)

    pixels = pixels_of(file)
    assert np.array_equal(stored(manifest, "image"), pixels)
    assert np.array_equal(stored(manifest, "valid") > 0, (pixels != 0).any(axis=0))
    assert (stored(manifest, "labels") == IGNORE).all()


def test_both_naip_dates_make_one_scene_though_their_sizes_differ(tmp_path, real_data):
    files = naip(real_data)
    for file in files:
        (tmp_path / file.name).symlink_to(file)

    manifest = tile_scene(tmp_path, image="m_*.tif", bands=(4, 1, 2), nodata=0)

    shapes = [stored(manifest, "valid", index).shape for index in range(2)]
    assert shapes == [pixels_of(file).shape[1:] for file in files]
    assert len(set(shapes)) == 2


def test_the_same_ground_at_two_dates_is_a_leak_of_its_area(tmp_path, real_data):
    one, other = naip(real_data)
    rows = [
        {"scene": "a", "split": "train", "image": one, "labels": one},
        {"scene": "b", "split": "test", "image": other, "labels": other},
    ]
    codes = [ClassCode(name="any", value=tuple(range(1, 256))), ClassCode(name="none", value=256)]

    record, passes = look(
        tmp_path,
        *rows,
        classes=codes,
        tile=Tile(nodata=0, ignore_labels=(0,)),
        orientation="warning",
    )

    assert not passes
    (row,) = record["leaks"]
    with rasterio.open(one) as first, rasterio.open(other) as second:
        edges = zip(first.bounds, second.bounds, strict=True)
        left, bottom, right, top = (f(e) for f, e in zip((max, max, min, min), edges, strict=True))
    assert row["shared_m2"] == pytest.approx((right - left) * (top - bottom), rel=0.01)
