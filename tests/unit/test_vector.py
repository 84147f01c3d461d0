import itertools

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from pipeline_steps.rasters.labels import NOT_A_LABEL, Codebook
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.vector import Polygons, is_vector
from pipeline_steps.rasters.windows import Window, blocks
from tests.data.tiling import UTM, utm_grid

GRID = utm_grid(40, 50)
IGNORE = 255


def square(left, top, size=10, crs_x=5e5, crs_y=5e6):
    """Return a square whose upper left corner is a pixel of ``GRID``."""
    return shapely.box(crs_x + left, crs_y - top - size, crs_x + left + size, crs_y - top)


def write(path, shapes, layer=None, crs="EPSG:32632", **fields):
    """Write features; each field is an array of one value for each."""
    pyogrio.raw.write(
        path,
        np.array([None if shape is None else shapely.to_wkb(shape) for shape in shapes], object),
        [np.asarray(values) for values in fields.values()],
        list(fields),
        layer=layer,
        crs=crs,
        geometry_type="Unknown",
        **({} if layer is None else {"append": path.exists()}),
    )
    return path


def words(*values):
    return np.array(values, object)


def drawn(path, attribute=None, value=1, layer=None, outside=NOT_A_LABEL, **how):
    """Return class indices of a file on a grid: 0 and 1 by value, 2 and 3 by word."""
    grid, window = how.get("grid", GRID), how.get("window")
    window = window or Window(0, 0, grid.height, grid.width)
    book = Codebook([[0], [1], ["house"], ["street", 7]], [9], IGNORE)
    polygons = Polygons(path, layer, attribute, value)
    codes = polygons.draw(grid, window, book, outside, how.get("all_touched", False))
    return book.encode(codes), book


def refusal(path, attribute=None, **how):
    with pytest.raises(ValueError) as caught:
        drawn(path, attribute, **how)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["a.gpkg", "a.GPKG", "a.b.shp", "a.geojson", "a.json", "a.fgb"])
def test_a_vector_file_is_known_by_its_name(tmp_path, name):
    assert is_vector(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tif", "gpkg", "a.gpkg.tif", "a.png", "a"])
def test_any_other_file_is_a_raster(tmp_path, name):
    assert not is_vector(tmp_path / name)


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".fgb", ".gml"])
def test_every_common_format_is_drawn(tmp_path, suffix):
    file = write(tmp_path / f"a{suffix}", [square(5, 10)], what=words("house"))

    found, _ = drawn(file, "what")

    expected = np.full((40, 50), IGNORE)
    expected[10:20, 5:15] = 2
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "values, index",
    [
        (words("house"), 2),
        (words("street"), 3),
        (words("7"), 3),
        (words("07"), 3),
        (np.array([7]), 3),
        (np.array([7.0]), 3),
        (np.array([1], np.int16), 1),
        (np.array([True]), 1),
    ],
)
def test_words_and_integers_of_a_field_are_classes(tmp_path, values, index):
    file = write(tmp_path / "a.gpkg", [square(5, 10)], what=values)

    found, book = drawn(file, "what")

    assert (found[10:20, 5:15] == index).all()
    assert not book.unlisted


@pytest.mark.parametrize("values", [words(None), np.array([np.nan])])
def test_an_empty_field_is_not_labelled_and_not_strange(tmp_path, values):
    file = write(tmp_path / "a.gpkg", [square(5, 10)], what=values)

    found, book = drawn(file, "what", outside=0)

    assert (found[10:20, 5:15] == IGNORE).all()
    assert found[0, 0] == 0
    assert not book.unlisted


def test_words_and_values_outside_the_classes_are_counted_by_pixel(tmp_path):
    shapes = [square(0, 0), square(20, 0, 5), square(30, 0, 2)]
    file = write(tmp_path / "a.gpkg", shapes, what=words("barn", "9", "12"))

    found, book = drawn(file, "what")

    assert book.unlisted == {"barn": 100, 12: 4}
    assert (found == IGNORE).all()


def test_without_a_field_every_polygon_means_the_one_value(tmp_path):
    file = write(tmp_path / "a.gpkg", [square(5, 10), square(30, 10)], what=words("a", "b"))

    by_number, _ = drawn(file, value=1)
    by_word, _ = drawn(file, value="house")

    assert (by_number[10:20, 5:15] == 1).all() and (by_number[10:20, 30:40] == 1).all()
    assert ((by_word == 2) == (by_number == 1)).all()


def test_ground_without_a_polygon_is_the_background_where_it_has_one(tmp_path):
    file = write(tmp_path / "a.gpkg", [square(5, 10)])

    assert np.bincount(drawn(file)[0].ravel())[IGNORE] == 40 * 50 - 100
    assert np.bincount(drawn(file, outside=0)[0].ravel()).tolist() == [40 * 50 - 100, 100]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson"])
@pytest.mark.parametrize("order", [("house", "street"), ("street", "house")])
def test_a_later_polygon_lies_over_an_earlier_one(tmp_path, suffix, order):
    shapes = [square(5, 10), square(10, 12)]
    file = write(tmp_path / f"a{suffix}", shapes, what=words(*order))

    found, _ = drawn(file, "what")

    index = {"house": 2, "street": 3}
    assert found[15, 12] == index[order[1]]
    assert found[11, 6] == index[order[0]]


def test_a_hole_shows_what_is_below(tmp_path):
    ring = square(5, 5, 20).difference(square(10, 10, 5))
    file = write(tmp_path / "a.gpkg", [ring, shapely.MultiPolygon([square(30, 0, 3)])])

    found, _ = drawn(file, outside=0)

    assert found[12, 12] == 0 and found[6, 6] == 1 and found[1, 31] == 1


def test_a_pixel_counts_by_its_centre_or_by_any_touch(tmp_path):
    file = write(tmp_path / "a.gpkg", [shapely.box(5e5 + 5.6, 5e6 - 12.4, 5e5 + 8.4, 5e6 - 9.6)])

    by_centre, by_touch = (drawn(file, outside=0, all_touched=how)[0] for how in (False, True))

    assert by_centre.sum() == 4 and by_centre[10:12, 6:8].all()
    assert by_touch.sum() == 16 and by_touch[9:13, 5:9].all()


def test_polygons_of_another_crs_are_drawn_where_they_lie(tmp_path):
    corners = np.array(square(5, 10).exterior.coords)
    for epsg in (4326, 3857, 25833):
        x, y = rasterio.warp.transform(UTM, f"EPSG:{epsg}", *corners.T)
        shape = shapely.Polygon(np.stack([x, y], 1))
        file = write(tmp_path / f"{epsg}.gpkg", [shape], crs=f"EPSG:{epsg}")

        found, _ = drawn(file, outside=0)

        assert found[10:20, 5:15].all() and found.sum() == 100


def test_a_polygon_that_covers_the_world_covers_the_image(tmp_path):
    file = write(tmp_path / "a.gpkg", [shapely.box(-180, -90, 180, 90)], crs="EPSG:4326")
    mercator = rasterio.CRS.from_epsg(3857).to_wkt()

    for grid in (GRID, Grid(30, 30, mercator, (0.15, 0, 3628312.8, 0, -0.15, 39135.7))):
        assert (drawn(file, grid=grid)[0] == 1).all()


def test_a_long_side_of_a_polygon_stays_straight_in_its_own_crs(tmp_path):
    grid = utm_grid(60, 50, 10.0, x=6e5, y=5.3e6)
    x, y = np.meshgrid(6e5 + 10 * (np.arange(50) + 0.5), 5.3e6 - 10 * (np.arange(60) + 0.5))
    latitude = np.array(rasterio.warp.transform(UTM, 4326, x.ravel(), y.ravel())[1])
    north = np.median(latitude)
    file = write(tmp_path / "a.gpkg", [shapely.box(5, 45, 15, north)], crs="EPSG:4326")

    found, _ = drawn(file, outside=0, grid=grid)

    assert (found.ravel() == (latitude < north)).mean() > 0.99


@pytest.mark.parametrize("attribute", [None, "what"])
@pytest.mark.parametrize("all_touched", [False, True])
def test_borders_of_blocks_are_invisible(tmp_path, attribute, all_touched):
    rng = np.random.default_rng(0)
    shapes, names = [], []
    for x, y, size, angle in rng.uniform((-10, -10, 2, 0), (50, 40, 25, 90), (60, 4)):
        shapes.append(shapely.affinity.rotate(square(x, y, size), angle))
        names.append(rng.choice(["house", "street", "1"]))
    file = write(tmp_path / "a.gpkg", shapes, what=words(*names))
    how = {"outside": 0, "all_touched": all_touched}
    at_once, _ = drawn(file, attribute, **how)
    pieces = np.zeros((40, 50), np.uint8)
    for window in blocks(40, 50, 13):
        pieces[window.slices] = drawn(file, attribute, window=window, **how)[0]

    assert np.array_equal(pieces, at_once)
    assert len(np.unique(at_once)) > 1


def test_borders_of_blocks_are_invisible_in_another_crs_too(tmp_path):
    rng = np.random.default_rng(1)
    corners = rng.uniform((0, -40), (50, 0), (30, 2))
    shapes = []
    for x, y in corners:
        ring = np.array(shapely.Point(5e5 + x, 5e6 + y).buffer(6).exterior.coords)
        shapes.append(shapely.Polygon(np.stack(rasterio.warp.transform(UTM, 4326, *ring.T), 1)))
    file = write(tmp_path / "a.gpkg", shapes, crs="EPSG:4326")
    at_once, _ = drawn(file, outside=0)
    pieces = np.zeros((40, 50), np.uint8)
    for window in blocks(40, 50, 7):
        pieces[window.slices] = drawn(file, outside=0, window=window)[0]

    assert np.array_equal(pieces, at_once)


def test_the_layer_that_is_named_is_drawn_and_by_default_the_first(tmp_path):
    file = write(tmp_path / "a.gpkg", [square(5, 10)], layer="roofs")
    write(file, [square(30, 10)], layer="roads")

    first, named = drawn(file, outside=0)[0], drawn(file, layer="roads", outside=0)[0]

    assert first[15, 10] == 1 and named[15, 10] == 0 and named[15, 35] == 1


def test_a_file_without_polygons_is_all_background(tmp_path):
    file = write(tmp_path / "a.gpkg", [], what=words())

    assert (drawn(file, "what", outside=0)[0] == 0).all()


def test_polygons_know_their_crs_and_bounds(tmp_path):
    polygons = Polygons(write(tmp_path / "a.gpkg", [square(5, 10), square(30, 20)]), None, None, 1)

    assert rasterio.CRS.from_wkt(polygons.crs).to_epsg() == 32632
    assert polygons.bounds == pytest.approx((5e5 + 5, 5e6 - 30, 5e5 + 40, 5e6 - 10))


def test_a_missing_layer_is_named(tmp_path):
    file = write(tmp_path / "a.gpkg", [square(5, 10)], layer="roofs")

    assert "roads" in refusal(file, layer="roads")


def test_a_missing_field_is_named_beside_those_that_are_there(tmp_path):
    file = write(tmp_path / "a.gpkg", [square(5, 10)], kind=words("a"), year=np.array([1]))

    text = "has no field 'what', expected it (tile.vectors.attribute) among kind, year"
    assert refusal(file, "what") == text


def test_polygons_without_a_crs_are_refused(tmp_path):
    file = write(tmp_path / "a.shp", [square(5, 10)], crs=None)

    assert refusal(file).startswith("has no CRS, expected one")


@pytest.mark.parametrize(
    "shape, kind",
    [
        (shapely.Point(5e5 + 5, 5e6 - 5), "Point"),
        (shapely.LineString([(5e5, 5e6 - 5), (5e5 + 9, 5e6 - 9)]), "LineString"),
        (shapely.MultiPoint([(5e5 + 5, 5e6 - 5), (5e5 + 6, 5e6 - 5)]), "MultiPoint"),
        (shapely.GeometryCollection([square(5, 10)]), "GeometryCollection"),
    ],
)
def test_what_has_no_area_is_refused(tmp_path, shape, kind):
    file = write(tmp_path / "a.gpkg", [square(20, 10), shape])

    assert refusal(file) == f"has a {kind}, expected polygons only"


@pytest.mark.parametrize(
    "values, said",
    [
        (np.array([1.5]), "1.5"),
        (np.array([np.inf]), "inf"),
        (np.array(["2020-01-01"], "datetime64[ms]"), "2020"),
    ],
    ids=["fraction", "infinite", "date"],
)
def test_a_field_of_neither_words_nor_integers_is_refused(tmp_path, values, said):
    file = write(tmp_path / "a.gpkg", [square(5, 10)], what=values)

    text = refusal(file, "what")
    assert text.startswith("field 'what' says ") and said in text
    assert text.endswith("expected words or integers")


def test_a_long_number_in_words_is_a_word_like_any_other(tmp_path):
    number = "123456789012345678901234"
    file = write(tmp_path / "a.gpkg", [square(5, 10)], what=words(number))

    _, book = drawn(file, "what")

    assert list(map(str, book.unlisted)) == [number]


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".json"])
def test_what_is_no_vector_file_is_refused(tmp_path, suffix):
    file = tmp_path / f"a{suffix}"
    file.write_text("scene\timage\n")

    assert refusal(file).startswith("cannot be read (")


@pytest.mark.parametrize("attribute", ["what", None])
def test_words_in_another_encoding_are_refused_or_read_but_never_without_the_file_s_name(
    tmp_path, attribute
):
    file = write(tmp_path / "a.geojson", [square(5, 10)], what=words("house"))
    file.write_bytes(file.read_bytes().replace(b"house", b"ho\xe4se"))
    try:
        drawn(file, attribute)
    except ValueError as error:
        assert str(error).startswith(f"{file}: ") and "\n" not in str(error)


def test_a_file_that_is_gone_is_refused(tmp_path):
    assert refusal(tmp_path / "gone.gpkg").startswith("cannot be read (")


@pytest.mark.parametrize(
    "grid",
    [
        Grid(40, 50, rasterio.CRS.from_epsg(4326).to_wkt(), (1, 0, 0, 0, 1, 400)),
        Grid(40, 50, UTM, (1, 0, 1e30, 0, -1, 1e30)),
    ],
    ids=["beyond the pole", "beyond all maps"],
)
def test_an_image_that_has_no_place_in_the_polygons_crs_is_refused_or_bare(tmp_path, grid):
    file = write(tmp_path / "a.gpkg", [shapely.box(9, 44, 10, 46)], crs="EPSG:4326")
    try:
        found, _ = drawn(file, outside=0, grid=grid)
    except ValueError as error:
        assert str(error).startswith(f"{file}: ") and "\n" not in str(error)
    else:
        assert (found == 0).all()


def test_many_polygons_are_drawn_as_one_after_the_other(tmp_path):
    places = list(itertools.product(range(0, 50, 2), range(0, 40, 2)))
    values = np.arange(len(places)) % 2
    file = write(tmp_path / "a.gpkg", [square(x, y, 2) for x, y in places], what=values)

    found, _ = drawn(file, "what")

    expected = np.zeros((40, 50), np.uint8)
    for (x, y), value in zip(places, values, strict=True):
        expected[y : y + 2, x : x + 2] = value
    assert np.array_equal(found, expected)
