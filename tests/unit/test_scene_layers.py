import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from pipeline_steps.rasters.labels import Codebook
from pipeline_steps.rasters.layers import DTYPES, Heights, Labels, check_image
from pipeline_steps.rasters.raster import Grid, opened
from pipeline_steps.rasters.windows import Window
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.params.tile import Elevation, Params, Vectors
from tests.data.tiling import utm_grid

GRID = utm_grid(40, 50)
WHOLE = Window(0, 0, 40, 50)
ALONG_10 = utm_grid(40, 50, x=5e5 + 10)
"""The same size, ten pixels further right."""

IGNORE = 255
RED, BLUE = (255, 0, 0), (0, 0, 255)
NUMBER_TYPES = ["uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"]


def noise(top, *shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


def read_labels(path, classes=((0,), (1,), (2,)), grid=GRID, **params):
    """Return class indices of the whole grid, what was done, and the codebook."""
    book = Codebook(classes, params.get("ignore_labels", ()), IGNORE)
    with Labels(path, grid, book, Params(**params)) as labels:
        return labels.read(Window(0, 0, grid.height, grid.width)), labels.how, book


# images


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_image_of_a_known_type_passes_with_its_type(tmp_path, dtype):
    write_raster(tmp_path / "a.tif", np.ones((4, 5, 6), dtype), utm_grid(5, 6))

    with opened(tmp_path / "a.tif") as source:
        assert check_image(tmp_path / "a.tif", source, (4, 1)) == dtype


@pytest.mark.parametrize("dtype", ["uint32", "float64", "int32", "int8"])
def test_another_type_is_refused_beside_those_that_are_read(tmp_path, dtype):
    write_raster(tmp_path / "a.tif", np.ones((1, 5, 6), dtype), utm_grid(5, 6))
    expected = rf"a\.tif: is {dtype}, expected one of uint8, uint16, int16, float32$"

    with opened(tmp_path / "a.tif") as source, pytest.raises(ValueError, match=expected):
        check_image(tmp_path / "a.tif", source, (1,))


def test_a_band_that_is_not_there_is_refused_with_both_numbers(tmp_path):
    write_raster(tmp_path / "a.tif", np.ones((3, 5, 6), np.uint8), utm_grid(5, 6))
    expected = r"a\.tif: has 3 bands, expected 4 \(tile\.bands\)"

    with opened(tmp_path / "a.tif") as source, pytest.raises(ValueError, match=expected):
        check_image(tmp_path / "a.tif", source, (1, 4))


# label rasters


@pytest.mark.parametrize("dtype", NUMBER_TYPES)
def test_labels_on_the_grid_are_read_as_they_are(tmp_path, dtype):
    values = noise(3, 1, 40, 50, dtype=dtype)
    write_raster(tmp_path / "a.tif", values, GRID)

    found, how, _ = read_labels(tmp_path / "a.tif")

    assert np.array_equal(found, values[0])
    assert how == "on the image's grid"


@pytest.mark.parametrize("dtype", NUMBER_TYPES)
def test_labels_beside_the_grid_are_laid_on_it_and_ignored_where_there_are_none(tmp_path, dtype):
    values = noise(3, 1, 40, 50, dtype=dtype)
    write_raster(tmp_path / "a.tif", values, ALONG_10)

    found, how, book = read_labels(tmp_path / "a.tif")

    assert (found[:, :10] == IGNORE).all()
    assert np.array_equal(found[:, 10:], values[0, :, :40])
    assert how == "warped, nearest"
    assert not book.unlisted


@pytest.mark.parametrize("grid", [GRID, ALONG_10], ids=["on the grid", "beside it"])
def test_file_of_labels_is_not_labelled_unless_it_is_a_class(tmp_path, grid):
    values = noise(4, 1, 40, 50)
    write_raster(tmp_path / "class.tif", values % 3, grid, nodata=1)
    write_raster(tmp_path / "none.tif", values, grid, nodata=3)
    seen = slice(None, 40) if grid is ALONG_10 else slice(None)
    place = slice(10, None) if grid is ALONG_10 else slice(None)

    as_class, _, _ = read_labels(tmp_path / "class.tif")
    as_none, _, book = read_labels(tmp_path / "none.tif")

    assert np.array_equal(as_class[:, place], (values % 3)[0, :, seen])
    assert np.array_equal(as_none[:, place] == IGNORE, values[0, :, seen] == 3)
    assert not book.unlisted


@pytest.mark.parametrize("grid", [GRID, ALONG_10], ids=["on the grid", "beside it"])
def test_a_label_that_is_not_a_class_is_counted_where_it_lies_on_the_image(tmp_path, grid):
    values = np.zeros((1, 40, 50), np.uint8)
    values[0, :3, 45:] = 77
    write_raster(tmp_path / "a.tif", values, grid)

    _, _, book = read_labels(tmp_path / "a.tif")

    assert book.unlisted == ({77: 15} if grid is GRID else {})


@pytest.mark.parametrize("grid", [GRID, ALONG_10], ids=["on the grid", "beside it"])
@pytest.mark.parametrize("kind", ["rgb", "rgba", "palette", "palette of 16 bits"])
def test_colours_and_palettes_are_read_on_the_grid_and_beside_it(tmp_path, grid, kind):
    is_blue = noise(2, 40, 50).astype(bool)
    file = tmp_path / "a.tif"
    if kind.startswith("palette"):
        dtype = np.uint16 if "16" in kind else np.uint8
        write_raster(file, is_blue[None].astype(dtype), grid)
        with rasterio.open(file, "r+") as target:
            target.write_colormap(1, {0: RED, 1: BLUE})
    else:
        colours = np.where(is_blue, np.reshape(BLUE, (3, 1, 1)), np.reshape(RED, (3, 1, 1)))
        alpha = np.full((1, 40, 50), 255)
        bands = np.concatenate([colours, alpha][: len(kind) - 2]).astype(np.uint8)
        options = {"alpha": "YES"} if kind == "rgba" else {}
        write_raster(file, bands, grid, photometric="RGB", **options)

    found, _, _ = read_labels(file, classes=((RED,), (BLUE,)))

    if grid is ALONG_10:
        assert (found[:, :10] == IGNORE).all()
        found, is_blue = found[:, 10:], is_blue[:, :40]
    assert np.array_equal(found, is_blue)


@pytest.mark.parametrize("grid", [GRID, ALONG_10], ids=["on the grid", "beside it"])
@pytest.mark.parametrize(
    "values, classes, said",
    [
        (
            np.full((1, 40, 50), 0.5, np.float32),
            ((0,), (1,)),
            "is float32 with fractions, ",
        ),
        (np.zeros((1, 40, 50), np.uint8), ((RED,), (BLUE,)), "has 1 band and no palette, "),
    ],
    ids=["fractions", "no colours"],
)
def test_labels_that_cannot_be_classes_are_refused_by_the_name_of_their_file(
    tmp_path, grid, values, classes, said
):
    write_raster(tmp_path / "a.tif", values, grid)

    with pytest.raises(ValueError) as caught:
        read_labels(tmp_path / "a.tif", classes)

    assert str(caught.value).startswith(f"{tmp_path / 'a.tif'}: {said}")


def test_finer_labels_say_what_stands_at_the_pixel_s_centre(tmp_path):
    values = noise(3, 1, 200, 250)
    write_raster(tmp_path / "a.tif", values, utm_grid(200, 250, 0.2))

    found, _, _ = read_labels(tmp_path / "a.tif")

    assert np.array_equal(found, values[0, 2::5, 2::5])


def test_labels_of_another_crs_are_laid_on_the_grid(tmp_path):
    stripes = np.repeat(noise(3, 30), 100)[None, None].repeat(3000, 1)
    x, y = rasterio.warp.transform(GRID.crs, "EPSG:25833", [5e5], [5e6])
    place = (0.1, 0, x[0] - 100, 0, -0.1, y[0] + 100)
    write_raster(tmp_path / "a.tif", stripes, Grid(3000, 3000, "EPSG:25833", place))

    found, how, _ = read_labels(tmp_path / "a.tif")

    column, row = np.meshgrid(5e5 + np.arange(50) + 0.5, 5e6 - np.arange(40) - 0.5)
    x, _ = rasterio.warp.transform(GRID.crs, "EPSG:25833", column.ravel(), row.ravel())
    at = (np.array(x).reshape(40, 50) - place[2]) / 0.1
    is_safe = abs(at / 100 - np.rint(at / 100)) > 0.03
    assert how == "warped, nearest"
    assert np.array_equal(found[is_safe], stripes[0, 0][at.astype(int)][is_safe])


def test_labels_far_away_are_nowhere(tmp_path):
    write_raster(
        tmp_path / "a.tif", noise(3, 1, 40, 50), Grid(40, 50, "EPSG:32755", GRID.transform)
    )

    assert (read_labels(tmp_path / "a.tif")[0] == IGNORE).all()


def test_labels_without_a_crs_and_of_another_size_are_refused(tmp_path):
    write_raster(tmp_path / "a.tif", noise(3, 1, 39, 50), Grid(39, 50, None, (1, 0, 0, 0, 1, 0)))

    with pytest.raises(ValueError, match=r"a\.tif: is 50x39 pixels, expected 50x40 like its image"):
        read_labels(tmp_path / "a.tif")


def test_a_raster_that_cannot_be_laid_anywhere_is_refused_by_its_name(tmp_path):
    flat = Grid(40, 50, GRID.crs, (1, 0, 5e5, 1, 0, 5e6))
    write_raster(tmp_path / "a.tif", noise(3, 1, 40, 50), flat)

    with pytest.raises(ValueError, match=r"a\.tif: "):
        read_labels(tmp_path / "a.tif")


# label polygons


def write_polygons(path, *shapes, **fields):
    features = np.array([shapely.to_wkb(shape) for shape in shapes], object)
    columns = [np.array(values, object) for values in fields.values()]
    pyogrio.raw.write(
        path, features, columns, list(fields), crs="EPSG:32632", geometry_type="Polygon"
    )
    return path


def test_polygons_are_labels_and_the_rest_is_background_or_not_labelled(tmp_path):
    square = shapely.box(5e5 + 5, 5e6 - 20, 5e5 + 15, 5e6 - 10)
    file = write_polygons(tmp_path / "a.gpkg", square, what=["house"])
    classes = ((0,), ("house",))

    bare, how, _ = read_labels(file, classes, vectors=Vectors(attribute="what"))
    full, _, _ = read_labels(file, classes, vectors=Vectors(attribute="what", background=0))

    assert (bare[10:20, 5:15] == 1).all() and (bare == IGNORE).sum() == 40 * 50 - 100
    assert np.array_equal(full == 1, bare == 1) and not (full == IGNORE).any()
    assert how == "drawn, pixel centres"


def test_polygons_and_classes_by_colour_are_refused(tmp_path):
    file = write_polygons(tmp_path / "a.gpkg", shapely.box(5e5, 5e6 - 9, 5e5 + 9, 5e6))

    with pytest.raises(ValueError, match=r"a\.gpkg: holds polygons, expected classes given by val"):
        read_labels(file, classes=((RED,), (BLUE,)))


def test_polygons_on_an_image_without_a_crs_are_refused(tmp_path):
    file = write_polygons(tmp_path / "a.gpkg", shapely.box(5e5, 5e6 - 9, 5e5 + 9, 5e6))

    with pytest.raises(ValueError, match=r"a\.gpkg: holds polygons, expected an image with a CRS"):
        read_labels(file, grid=Grid(40, 50, None, (1, 0, 0, 0, 1, 0)))


# elevation


def heights_of(path, terrain=None, grid=GRID, **options):
    with Heights(path, terrain, grid, Params(elevation=Elevation(**options))) as heights:
        return heights.read(Window(0, 0, grid.height, grid.width)), heights.how


def relief(seed=0, height=40, width=50):
    return np.random.default_rng(seed).uniform(0, 30, (1, height, width)).astype(np.float32)


def test_heights_above_ground_are_read_as_they_are(tmp_path):
    values = relief()
    write_raster(tmp_path / "a.tif", values, GRID)

    found, how = heights_of(tmp_path / "a.tif")

    assert found.dtype == np.float32
    assert np.array_equal(found, values[0])
    assert how == {"warped": False, "ground": None}


def test_the_ground_is_subtracted_from_a_surface(tmp_path):
    surface, ground = relief(0), relief(1)
    write_raster(tmp_path / "dsm.tif", surface, GRID)
    write_raster(tmp_path / "dtm.tif", ground, GRID)

    found, how = heights_of(tmp_path / "dsm.tif", tmp_path / "dtm.tif", kind="dsm")

    assert np.array_equal(found, surface[0] - ground[0])
    assert how["ground"] == "terrain file"


def test_a_surface_alone_stands_on_an_estimate_that_is_said(tmp_path):
    surface = np.full((1, 40, 50), 100, np.float32)
    surface[0, 10:20, 10:20] += 12
    write_raster(tmp_path / "dsm.tif", surface, GRID)

    found, how = heights_of(tmp_path / "dsm.tif", kind="dsm", ground_window=25.0)

    assert (found >= 0).all()
    assert found[15, 15] == pytest.approx(12, abs=0.1) and found[35, 40] == 0
    said = {"ground": "progressive morphological filter", "ground_window_m": 25.0, "warped": False}
    assert how == said | {"cell_m": pytest.approx(1.0, rel=1e-3)}


@pytest.mark.parametrize("dtype, unit", [("int16", 0.01), ("uint16", 0.3048), ("float32", 2.0)])
def test_units_become_metres(tmp_path, dtype, unit):
    values = noise(3000, 1, 40, 50, dtype=dtype)
    write_raster(tmp_path / "a.tif", values, GRID)

    found, _ = heights_of(tmp_path / "a.tif", unit=unit)

    np.testing.assert_allclose(found, values[0] * unit, rtol=1e-6)


@pytest.mark.parametrize("where", ["file", "study", "NaN"])
@pytest.mark.parametrize("grid", [GRID, ALONG_10], ids=["on the grid", "beside it"])
def test_unknown_heights_are_nan(tmp_path, where, grid):
    values, none = relief(), np.nan if where == "NaN" else -9999
    values[0, 10:20, 10:30] = none
    write_raster(tmp_path / "a.tif", values, grid, **({"nodata": none} if where == "file" else {}))

    found, _ = heights_of(tmp_path / "a.tif", nodata=none if where == "study" else None)

    expected = values[0]
    if grid is ALONG_10:
        expected = np.concatenate([np.full((40, 10), np.nan, np.float32), expected[:, :40]], axis=1)
    expected = np.where(expected == -9999, np.nan, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_unknown_ground_makes_unknown_heights(tmp_path):
    ground = relief(1)
    ground[0, :5] = -9999
    write_raster(tmp_path / "dsm.tif", relief(0), GRID)
    write_raster(tmp_path / "dtm.tif", ground, GRID, nodata=-9999)

    found, _ = heights_of(tmp_path / "dsm.tif", tmp_path / "dtm.tif")

    assert np.isnan(found[:5]).all() and np.isfinite(found[5:]).all()


def test_coarser_elevation_is_laid_on_the_grid_smoothly(tmp_path):
    y, x = np.mgrid[:20, :25]
    plane = (3 * x + 2 * y).astype(np.float32)[None]
    write_raster(tmp_path / "a.tif", plane, utm_grid(20, 25, 2.0))

    found, how = heights_of(tmp_path / "a.tif")

    row, column = np.mgrid[:40, :50]
    expected = 3 * ((column + 0.5) / 2 - 0.5) + 2 * ((row + 0.5) / 2 - 0.5)
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-3)
    assert how["warped"]


def test_the_heights_are_in_the_band_that_the_study_says(tmp_path):
    bands = np.concatenate([relief(n) for n in range(3)])
    write_raster(tmp_path / "a.tif", bands, GRID)

    assert np.array_equal(heights_of(tmp_path / "a.tif", band=3)[0], bands[2])


def test_a_band_of_heights_that_is_not_there_is_refused_by_the_name_of_the_file(tmp_path):
    write_raster(tmp_path / "a.tif", relief(), GRID)

    with pytest.raises(ValueError, match=r"a\.tif: has 1 bands?, expected 3"):
        heights_of(tmp_path / "a.tif", band=3)


def test_a_surface_whose_image_has_no_place_is_refused_with_what_would_help(tmp_path):
    plain = Grid(40, 50, None, (1, 0, 0, 0, 1, 0))
    write_raster(tmp_path / "dsm.tif", relief(), plain)

    with pytest.raises(ValueError, match=r"dsm\.tif: is a dsm whose image has no CRS, exp"):
        heights_of(tmp_path / "dsm.tif", grid=plain, kind="dsm")


@pytest.mark.parametrize("bad", ["dsm.tif", "dtm.tif"])
def test_of_surface_and_ground_the_damaged_one_is_named(tmp_path, bad):
    write_raster(tmp_path / "dsm.tif", relief(0), GRID)
    write_raster(tmp_path / "dtm.tif", relief(1), GRID)
    with rasterio.open(tmp_path / bad) as source:
        first = int(source.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    data = bytearray((tmp_path / bad).read_bytes())
    data[first : first + 20] = bytes(20)
    (tmp_path / bad).write_bytes(data)

    with pytest.raises(ValueError) as caught:
        heights_of(tmp_path / "dsm.tif", tmp_path / "dtm.tif", kind="dsm")

    assert str(caught.value).startswith(f"{tmp_path / bad}: cannot be read")


def test_a_ground_that_cannot_be_opened_leaves_the_surface_closed(tmp_path):
    write_raster(tmp_path / "dsm.tif", relief(0), GRID)
    (tmp_path / "dtm.tif").write_text("no raster")
    heights = Heights(tmp_path / "dsm.tif", tmp_path / "dtm.tif", GRID, Params())

    with pytest.raises(ValueError, match=r"dtm\.tif: cannot be read"), heights:
        pass

    assert heights._surface.closed
