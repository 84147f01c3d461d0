import numpy as np
import pytest
import rasterio
import shapely

from pipeline_steps.rasters.place import (
    box,
    covered,
    covered_by,
    footprint,
    gsd_m,
    on_the_globe,
    pixel_m,
    shared_and_nearest,
)
from pipeline_steps.rasters.raster import Grid
from tests.data.tiling import UTM, utm_grid

DEGREES = rasterio.CRS.from_epsg(4326).to_wkt()
MERCATOR = rasterio.CRS.from_epsg(3857).to_wkt()
RADIUS = 6378137.0


def mercator(latitude, gsd=1.0, height=100, width=100):
    """Return a grid in web mercator that is centred on a latitude."""
    y = RADIUS * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
    return Grid(height, width, MERCATOR, (gsd, 0, 1e6, 0, -gsd, y + gsd * height / 2))


def degrees(latitude, step, longitude=9.0, height=100, width=100):
    """Return a grid in degrees that is centred on a latitude."""
    return Grid(
        height, width, DEGREES, (step, 0, longitude, 0, -step, latitude + step * height / 2)
    )


def test_metres_of_utm_are_about_metres():
    assert gsd_m(utm_grid(100, 100, 0.5)) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("latitude, share", [(0, 1), (45, np.sqrt(0.5)), (60, 0.5), (-60, 0.5)])
def test_metres_of_web_mercator_shrink_with_the_cosine_of_latitude(latitude, share):
    assert gsd_m(mercator(latitude, 2.0)) == pytest.approx(2.0 * share, rel=0.01)


@pytest.mark.parametrize("latitude", [0, 48, -70])
def test_degrees_are_metres_of_a_great_circle_and_a_parallel(latitude):
    step = 1e-5
    by_sphere = np.radians(step) * RADIUS * np.sqrt(np.cos(np.radians(latitude)))

    assert gsd_m(degrees(latitude, step)) == pytest.approx(by_sphere, rel=0.01)


def test_a_pixel_that_is_not_square_or_is_turned_counts_by_its_area():
    oblong = Grid(10, 10, UTM, (2.0, 0, 5e5, 0, -8.0, 5e6))
    turned = Grid(10, 10, UTM, (3.0, 4.0, 5e5, 4.0, -3.0, 5e6))

    assert gsd_m(oblong) == pytest.approx(4.0, rel=1e-3)
    assert gsd_m(turned) == pytest.approx(5.0, rel=1e-3)


@pytest.mark.parametrize(
    "grid, height, width",
    [
        (utm_grid(10, 10, 0.5), 0.5, 0.5),
        (Grid(10, 10, UTM, (2.0, 0, 5e5, 0, -8.0, 5e6)), 8, 2),
        (Grid(10, 10, UTM, (3.0, 8.0, 5e5, 4.0, -6.0, 5e6)), 10, 5),
        (mercator(60, 2.0), 1, 1),
        (degrees(60, 1e-5), 1.114, 0.557),
        (degrees(0, 1e-5), 1.106, 1.113),
    ],
    ids=["square", "oblong", "turned", "mercator", "degrees far north", "degrees"],
)
def test_a_pixel_has_a_height_and_a_width_in_true_metres(grid, height, width):
    assert pixel_m(grid) == pytest.approx((height, width), rel=0.01)


def test_without_a_crs_the_distance_is_unknown():
    assert gsd_m(Grid(10, 10, None, (1, 0, 0, 0, 1, 0))) is None


NOWHERE = {
    "beyond the pole": Grid(700, 800, DEGREES, (1, 0, 0, 0, 1, 0)),
    "not a number": Grid(10, 10, UTM, (np.nan, 0, 5e5, 0, -1, 5e6)),
    "beyond all maps": Grid(10, 10, UTM, (1, 0, 1e30, 0, -1, 1e30)),
}


@pytest.mark.parametrize("grid", NOWHERE.values(), ids=NOWHERE)
def test_a_raster_that_has_no_place_on_the_ground_has_no_distance_and_no_footprint(grid):
    assert gsd_m(grid) is None
    assert footprint(grid, MERCATOR).is_empty


@pytest.mark.parametrize("grid", NOWHERE.values(), ids=NOWHERE)
def test_a_raster_that_has_no_place_on_the_ground_covers_nothing_and_shares_nothing(grid):
    other = mercator(48)

    assert covered(other, grid) == 0
    assert shared_and_nearest([other], [grid])[0] == 0
    assert shared_and_nearest([grid], [other])[0] == 0


def test_a_footprint_in_its_own_crs_is_the_raster_s_frame():
    found = footprint(utm_grid(30, 40, 2.0), UTM)

    assert found.equals(shapely.box(5e5, 5e6 - 60, 5e5 + 80, 5e6))


def test_a_footprint_in_another_crs_follows_its_bent_sides():
    grid = degrees(60, 0.1, height=50, width=100)

    found = footprint(grid, rasterio.CRS.from_epsg(3035).to_wkt())

    # a cell of the ellipsoid: Δλ · ∫ M N cos φ dφ
    flat, phi = 0.00669438, np.radians(np.linspace(57.5, 62.5, 1001))
    strips = RADIUS**2 * (1 - flat) * np.cos(phi) / (1 - flat * np.sin(phi) ** 2) ** 2
    assert found.area == pytest.approx(np.radians(10) * np.trapezoid(strips, phi), rel=1e-3)


def test_the_frame_of_a_turned_raster_is_turned():
    grid = Grid(10, 20, UTM, (3.0, 4.0, 5e5, 4.0, -3.0, 5e6))

    assert footprint(grid, UTM).area == pytest.approx(25 * 200)


@pytest.mark.parametrize(
    "x, y, share",
    [(0, 0, 1.0), (50, 0, 0.5), (-25, 0, 0.75), (50, -20, 0.25), (100, 0, 0.0), (999, 0, 0.0)],
)
def test_the_covered_share_is_that_of_the_image_s_frame(x, y, share):
    image, other = utm_grid(40, 100), utm_grid(40, 100, x=5e5 + x, y=5e6 + y)

    assert covered(image, other) == pytest.approx(share)


def test_a_larger_raster_covers_all_of_a_smaller_one_and_not_the_other_way_round():
    small, large = utm_grid(10, 10), utm_grid(20, 40)

    assert covered(small, large) == pytest.approx(1.0)
    assert covered(large, small) == pytest.approx(100 / 800)


def test_a_raster_in_another_crs_covers_what_it_covers():
    image = utm_grid(100, 100, 10.0)
    left, bottom, right, top = footprint(image, MERCATOR).bounds
    place = ((right - left) / 100, 0, left, 0, (bottom - top) / 100, top)
    other = Grid(100, 50, MERCATOR, place)

    assert covered(image, other) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("height, width, share", [(40, 100, 1.0), (100, 40, 0.4), (20, 50, 0.25)])
def test_without_a_crs_pixels_are_compared_from_the_same_corner(height, width, share):
    image, other = utm_grid(40, 100), Grid(height, width, None, (1, 0, 0, 0, 1, 0))

    assert covered(image, other) == pytest.approx(share)
    assert covered(other, image) <= 1


def test_a_box_of_another_crs_covers_its_share():
    image = utm_grid(100, 100, 10.0)
    left, bottom, right, top = footprint(image, DEGREES).bounds

    whole = box((left - 1, bottom - 1, right + 1, top + 1), DEGREES, UTM)
    half = box((left - 1, bottom - 1, (left + right) / 2, top + 1), DEGREES, UTM)

    assert covered_by(image, whole) == pytest.approx(1.0)
    assert covered_by(image, half) == pytest.approx(0.5, abs=0.01)


def test_a_box_without_an_area_and_one_without_a_place_cover_nothing():
    image = utm_grid(100, 100)

    assert covered_by(image, box((5e5, 5e6, 5e5, 5e6), UTM, UTM)) == 0
    assert covered_by(image, box((0, 400, 10, 500), DEGREES, UTM)) == 0


def test_the_world_covers_every_image():
    world = box((-180, -90, 180, 90), DEGREES, MERCATOR)

    assert covered_by(mercator(48), world) == pytest.approx(1.0)


def test_shared_ground_is_measured_in_square_metres_once_however_often_it_is_shared():
    ones = [utm_grid(100, 100), utm_grid(100, 100, x=5e5 + 20)]
    others = [utm_grid(100, 100, x=5e5 + 90), utm_grid(10, 10, x=9e5)]

    shared, nearest, pair = shared_and_nearest(ones, others)

    assert shared == pytest.approx(30 * 100, rel=1e-3)
    assert (nearest, pair) == (0.0, (1, 0))


def test_shared_ground_of_web_mercator_is_in_true_square_metres():
    ones, others = [mercator(60, 2.0)], [mercator(60, 2.0, width=50)]

    assert shared_and_nearest(ones, others)[0] == pytest.approx(50 * 100, rel=0.01)


@pytest.mark.parametrize("gap", [0.5, 3.0, 700.0])
def test_the_least_distance_is_that_of_the_nearest_two(gap):
    ones = [utm_grid(100, 100, y=6e6), utm_grid(100, 100)]
    others = [utm_grid(100, 100, y=4e6), utm_grid(100, 100, x=5e5 + 100 + gap)]

    shared, nearest, pair = shared_and_nearest(ones, others)

    assert (shared, pair) == (0.0, (1, 1))
    assert nearest == pytest.approx(gap, rel=0.01)


def test_neighbours_that_share_an_edge_share_no_ground_and_are_0_metres_apart():
    shared, nearest, _ = shared_and_nearest([utm_grid(100, 100)], [utm_grid(100, 100, x=5e5 + 100)])

    assert shared < 1e-3
    assert nearest < 1e-3


def test_large_neighbours_of_different_size_share_no_ground_though_their_sides_bend():
    one = utm_grid(20_000, 20_000, 0.5, x=7e5, y=5.5e6)
    other = utm_grid(13_333, 20_000, 0.5, x=7e5 + 10_000, y=5.5e6 - 2_000)

    assert shared_and_nearest([one], [other])[:2] == (0.0, pytest.approx(0.0, abs=0.01))
    assert shared_and_nearest([other], [one])[:2] == (0.0, pytest.approx(0.0, abs=0.01))


def test_a_raster_that_is_in_both_groups_is_not_compared_with_itself():
    same, other = utm_grid(100, 100), utm_grid(100, 100, x=5e5 + 160)

    shared, nearest, pair = shared_and_nearest([same, other], [same], lambda i, j: (i, j) == (0, 0))

    assert (shared, pair) == (0.0, (1, 0))
    assert nearest == pytest.approx(60, rel=0.01)


def test_groups_of_different_crs_are_compared_on_the_ground():
    image = utm_grid(100, 100, 10.0)
    left, bottom, right, top = footprint(image, DEGREES).bounds
    step = (right - left) / 100
    same = Grid(int((top - bottom) / step), 100, DEGREES, (step, 0, left, 0, -step, top))

    shared, _, _ = shared_and_nearest([image], [same])

    assert shared == pytest.approx(1e6, rel=0.02)


def test_what_crosses_the_antimeridian_is_cut_there_and_begins_in_the_east():
    fiji = rasterio.CRS.from_epsg(32760).to_wkt()
    grid = Grid(2000, 2000, fiji, (10, 0, 810_000, 0, -10, 8_150_000))

    shape, (west, south, east, north) = on_the_globe(grid)

    assert shape.geom_type == "MultiPolygon" and shape.is_valid
    left, right = sorted(part.bounds for part in shape.geoms)
    assert (left[0], left[2], right[0], right[2]) == (-180, east, west, 180)
    assert 179.8 < west < 180 and -180 < east < -179.8
    assert (south, north) == (shape.bounds[1], shape.bounds[3])
    # 20 km by 20 km, not 39 000 km around the earth: a degree has 110.6 km, along 16.6°S 106.6
    assert shape.area == pytest.approx(400 / (110.6 * 106.6), rel=0.01)


@pytest.mark.parametrize(
    "longitude, parts, expected",
    [
        (9.0, 1, (9.0, 10.0)),
        (179.5, 2, (179.5, -179.5)),
        (-180.5, 2, (179.5, -179.5)),
        (179.0, 1, (179.0, 180.0)),
        (190.0, 1, (-170.0, -169.0)),
    ],
)
def test_longitudes_are_those_of_the_globe(longitude, parts, expected):
    shape, bounds = on_the_globe(degrees(10, 0.01, longitude))

    assert len(shapely.get_parts(shape)) == parts
    assert (bounds[0], bounds[2]) == pytest.approx(expected)
    assert shape.area == pytest.approx(1.0)


@pytest.mark.parametrize("longitude", [-180.0, 0.0])
def test_a_raster_of_all_the_earth_is_all_of_it(longitude):
    shape, bounds = on_the_globe(Grid(180, 360, DEGREES, (1, 0, longitude, 0, -1, 90)))

    assert shape.equals(shapely.box(-180, -90, 180, 90))
    assert bounds == [-180, -90, 180, 90]


def test_around_a_pole_is_all_that_lies_as_near_to_it():
    arctic = rasterio.CRS.from_epsg(3413).to_wkt()

    shape, bounds = on_the_globe(Grid(100, 100, arctic, (1000, 0, -50_000, 0, -1000, 50_000)))

    assert bounds == [-180, pytest.approx(89.37, abs=0.05), 180, 90]
    assert shape.bounds == tuple(bounds)


def test_what_has_no_place_is_nowhere_on_the_globe():
    shape, bounds = on_the_globe(Grid(10, 10, UTM, (1, 0, 1e30, 0, -1, 0)))

    assert shape.is_empty and not bounds
