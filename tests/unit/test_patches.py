"""Patches of a map as polygons: what they cover, share and count, however the map is cut."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from pipeline_steps.rasters import patches as patches_module
from pipeline_steps.rasters.class_map import NOTHING, Band
from pipeline_steps.rasters.ground_area import SHARE, Ground
from pipeline_steps.rasters.outlines import labelled
from pipeline_steps.rasters.patches import CORNERS, MOST, Patches, patches, placed
from pipeline_steps.rasters.raster import Grid, wkt_of
from pipeline_steps.rasters.sieve import settled, sieved

UTM = wkt_of("EPSG:25832")
NOWHERE = (1, 0, 0, 0, 1, 0)


def smooth(seed, height=48, width=40, classes=4, size=9, holes=0.1):
    """Return a map of some patches with rough borders, and of nothing here and there."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    centres = rng.uniform(0, 1, (classes * 4, 2)) * (height, width)
    rough = rng.normal(0, 1, (2, height, width))
    places = np.stack([y + rough[0], x + rough[1]])
    nearest = np.linalg.norm(places[None] - centres[:, :, None, None], axis=1).argmin(0)
    found = (nearest % classes).astype(np.uint8)
    found[rng.random((height, width)) < 0.01] = rng.integers(classes)
    found[nearest < holes * len(centres)] = NOTHING
    return found


def noise(seed, height=20, width=17, classes=3):
    values = np.random.default_rng(seed).integers(0, classes + 1, (height, width))
    return np.where(values == classes, NOTHING, values).astype(np.uint8)


def grid_of(array, crs=None, transform=NOWHERE):
    return Grid(*array.shape, crs, transform)


def banded(classes, rows, confidence=None):
    confidence = (classes * 7 % 100).astype(np.uint8) if confidence is None else confidence
    for top in range(0, len(classes), rows):
        yield Band(top, classes[top : top + rows], confidence[top : top + rows])


def found_in(classes, rows=1000, simplify=0.0, grid=None, confidence=None, most=MOST):
    ground = Ground(grid or grid_of(classes))
    bands = banded(classes, rows, confidence)
    return Patches.together(list(patches(bands, ground, simplify, most)))


def rows_of(found):
    """Return patches in an order of their own, to be compared."""
    wkb = shapely.to_wkb(found.shapes)
    columns = (wkb, found.classes, found.pixels, found.areas, found.confidence, found.is_part)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def drawn(found, shape):
    """Return the map that polygons in pixels cover: by the centres of pixels."""
    y, x = np.indices(shape)
    tree = shapely.STRtree(found.shapes)
    points = shapely.points(x.ravel() + 0.5, y.ravel() + 0.5)
    which, patch = tree.query(points, predicate="within")
    assert len(set(which.tolist())) == len(which)
    classes = np.full(x.size, NOTHING, np.uint8)
    classes[which] = found.classes[patch]
    return classes.reshape(shape)


def components(classes):
    """Count patches in the slow and obvious way."""
    kinds = np.unique(classes[classes != NOTHING])
    return sum(label(classes == kind)[1] for kind in kinds)


MAPS = [
    smooth(0),
    smooth(1, holes=0),
    noise(2),
    noise(3, classes=1),
    noise(4, 1, 30),
    noise(5, 30, 1),
]


@pytest.mark.parametrize("number", range(len(MAPS)))
def test_polygons_cover_the_pixels_that_have_a_class_and_no_other(number):
    classes = MAPS[number]

    found = found_in(classes, rows=7)

    assert (drawn(found, classes.shape) == classes).all()
    assert shapely.is_valid(found.shapes).all()
    assert set(shapely.get_type_id(found.shapes)) == {3}
    assert len(found) == components(classes)
    assert shapely.area(found.shapes).tolist() == found.pixels.tolist()
    assert shapely.coverage_is_valid(found.shapes)


@pytest.mark.parametrize("number", range(len(MAPS)))
@pytest.mark.parametrize("rows", [1, 2, 5, 16])
def test_polygons_do_not_depend_on_the_height_of_a_band(number, rows):
    assert rows_of(found_in(MAPS[number], rows)) == rows_of(found_in(MAPS[number]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**31), st.data())
def test_polygons_of_any_small_map_are_the_same_in_any_bands(height, width, classes, seed, data):
    found = noise(seed, height, width, classes)
    rows = data.draw(st.integers(1, height))

    whole, cut = found_in(found), found_in(found, rows)

    assert rows_of(whole) == rows_of(cut)
    assert shapely.is_valid(whole.shapes).all() and shapely.coverage_is_valid(whole.shapes)
    assert (drawn(whole, found.shape) == found).all()


def test_a_patch_does_not_reach_across_a_corner():
    found = found_in(np.array([[0, 1], [1, 0]], np.uint8))

    assert found.pixels.tolist() == [1, 1, 1, 1]


def test_a_border_has_a_corner_where_a_third_patch_begins():
    found = found_in(np.array([[0, 0], [1, 2]], np.uint8))

    upper = shapely.get_coordinates(found.shapes[found.classes == 0]).tolist()
    assert [1.0, 1.0] in upper


def test_a_map_of_nothing_has_no_polygon():
    found = found_in(np.full((9, 7), NOTHING, np.uint8), rows=4)

    assert len(found) == 0


def test_confidence_is_the_mean_over_the_pixels_of_a_patch():
    classes = np.array([[0, 0, 1], [0, 1, 1], [0, 1, NOTHING]], np.uint8)
    confidence = np.array([[10, 20, 50], [30, 60, 70], [40, 80, 255]], np.uint8)

    found = found_in(classes, rows=1, confidence=confidence)

    assert dict(zip(found.classes.tolist(), found.confidence.tolist(), strict=True)) == {
        0: 25.0,
        1: 65.0,
    }


@pytest.mark.parametrize("rows", [3, 16, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_simplified_borders_stay_shared_wherever_bands_are_cut(seed, rows):
    classes = smooth(seed)

    plain, found = found_in(classes, rows), found_in(classes, rows, simplify=1.5)

    assert shapely.is_valid(found.shapes).all() and shapely.coverage_is_valid(found.shapes)
    assert found.pixels.tolist() == plain.pixels.tolist()
    assert shapely.get_num_coordinates(found.shapes).sum() < (
        0.9 * shapely.get_num_coordinates(plain.shapes).sum()
    )
    # no gap and no overlap: together as large as their union, which has the frame's whole border
    assert shapely.union_all(found.shapes).area == pytest.approx(shapely.area(found.shapes).sum())
    near = shapely.union_all(plain.shapes).buffer(3)
    assert shapely.covers(near, shapely.union_all(found.shapes))


def test_a_full_map_stays_full_when_it_is_simplified():
    classes = smooth(1, holes=0)

    found = found_in(classes, rows=10, simplify=2.0)

    whole = shapely.union_all(found.shapes)
    assert whole.equals(shapely.box(0, 0, 40, 48))
    assert shapely.area(found.shapes).sum() == pytest.approx(40 * 48)


# Parts of large patches


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(0, 2**31), st.data())
def test_parts_of_large_patches_cover_them_and_share_the_cuts(height, width, classes, seed, data):
    found = noise(seed, height, width, classes)
    rows, most = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 40))

    parts, whole = found_in(found, rows, most=most), found_in(found)

    assert (drawn(parts, found.shape) == found).all()
    assert shapely.is_valid(parts.shapes).all() and shapely.coverage_is_valid(parts.shapes)
    assert shapely.area(parts.shapes).tolist() == parts.pixels.tolist()
    # beside a cut they have a corner more
    uncut = shapely.equals(parts.shapes[~parts.is_part, None], whole.shapes)
    assert uncut.any(axis=1).all()
    # what is a part has another one below or above it
    for shape, kind in zip(parts.shapes[parts.is_part], parts.classes[parts.is_part], strict=True):
        alike = parts.shapes[parts.is_part & (parts.classes == kind)]
        assert shapely.length(shapely.intersection(shape, alike)).astype(bool).sum() > 1


@pytest.mark.parametrize("rows", [3, 8])
@pytest.mark.parametrize("seed", range(4))
def test_simplified_parts_still_share_their_borders(seed, rows):
    classes = smooth(seed)

    found = found_in(classes, rows, simplify=1.5, most=20)

    assert found.is_part.any() and not found.is_part.all()
    assert shapely.is_valid(found.shapes).all() and shapely.coverage_is_valid(found.shapes)
    assert shapely.union_all(found.shapes).area == pytest.approx(shapely.area(found.shapes).sum())


def sprinkled(rows, width=96, height=16):
    """Yield bands of one ground that runs through them all, with many small patches in it."""
    for top in range(0, rows, height):
        classes = np.zeros((height, width), np.uint8)
        classes[2::6, 2::6] = classes[3::6, 2::6] = 1
        yield Band(top, classes, classes)


@pytest.mark.parametrize("rows", [256, 2048])
def test_what_is_kept_does_not_grow_with_the_rows(rows, monkeypatch):
    kept, joined = [], patches_module._joined

    def watched(*args):
        done, held = joined(*args)
        corners = sum(shapely.get_num_coordinates(pieces).sum() for pieces in held.pieces)
        assert corners == held.facts[:, CORNERS].sum()
        kept.append((corners, sum(map(len, held.pieces)), len(args[-1]), done.corners))
        return done, held

    monkeypatch.setattr(patches_module, "_joined", watched)
    ground = Ground(Grid(rows, 96, None, NOWHERE))
    found = Patches.together(list(patches(sprinkled(rows), ground, most=2000)))

    assert found.pixels.sum() == rows * 96
    assert found.is_part.sum() > rows / 256
    corners, pieces, lines, written = np.max(kept, axis=0)
    # a band has 16 x 3 small patches, each with a ring of its own and one that the ground has
    assert corners < 2000 + 3 * 16 * 10 and pieces < 16 and lines < 16 and written < 4000


# Ground


def test_in_a_projected_crs_areas_are_pixels_times_the_area_of_one():
    classes = smooth(5)
    grid = grid_of(classes, UTM, (0.4, 0.3, 5e5, 0.3, -0.4, 5e6))

    found = found_in(classes, 16, grid=grid)

    assert Ground(grid).unit == pytest.approx(0.25)
    assert found.areas.tolist() == found.pixels.tolist()
    shapes = placed(found.shapes, grid)
    assert shapely.area(shapes) == pytest.approx(found.pixels * 0.25)
    assert shapely.coverage_is_valid(shapes)
    assert shapely.is_ccw(shapely.get_exterior_ring(shapes)).all()


def test_feet_are_square_metres_in_the_end():
    feet = Grid(4, 4, wkt_of("EPSG:2263"), (10, 0, 1e6, 0, -10, 2e5))

    assert Ground(feet).unit == pytest.approx(100 * 0.3048006096**2)


@pytest.mark.parametrize("turn", [0, 30])
def test_in_degrees_areas_are_those_of_the_ellipsoid(turn):
    pyproj = pytest.importorskip("pyproj")
    step, angle = 1e-3, np.radians(turn)
    cosine, sine = step * np.cos(angle), step * np.sin(angle)
    grid = Grid(300, 10, wkt_of("EPSG:4326"), (cosine, sine, 8.0, sine, -cosine, 60.0))
    classes = np.repeat(np.arange(3, dtype=np.uint8), 100)[:, None].repeat(10, 1)

    found = found_in(classes, 64, grid=grid)

    ellipsoid, expected = pyproj.Geod(ellps="WGS84"), []
    for shape in shapely.segmentize(placed(found.shapes, grid), step):
        expected.append(abs(ellipsoid.geometry_area_perimeter(shape)[0]))
    assert found.areas * Ground(grid).unit == pytest.approx(expected, rel=1e-6)
    assert found.areas[0] < found.areas[-1]
    assert rows_of(found) == rows_of(found_in(classes, 7, grid=grid))
    assert Ground(grid).weights(150, 1).flat[0] == pytest.approx(SHARE, rel=1e-3)


def mercator(latitude, gsd=1.0, height=100, width=40, crs="EPSG:3857"):
    """Return a grid in Web Mercator that is centred on a latitude."""
    y = 6378137.0 * np.log(np.tan(np.pi / 4 + np.radians(latitude) / 2))
    place = (gsd, 0, 1_250_000, 0, -gsd, y + gsd * height / 2)
    return Grid(height, width, wkt_of(crs), place)


def test_web_mercator_s_areas_are_the_ground_s():
    """At 48°N a square metre of its plane is 0.4480 of one: cos² of it times M N / a²."""
    grid = mercator(48)

    ground = Ground(grid)

    sine2 = np.sin(np.radians(48)) ** 2
    eccentricity2 = 0.00669437999014
    share = (1 - sine2) * (1 - eccentricity2) / (1 - eccentricity2 * sine2) ** 2
    assert share == pytest.approx(0.4480, abs=5e-5)
    areas = ground.sums(np.zeros((100, 40), int), 0, 1) * ground.unit
    assert areas == pytest.approx([4000 * share], rel=1e-5)
    assert ground.side_m == pytest.approx(np.sqrt(share), rel=1e-4)


@pytest.mark.parametrize("crs, turn", [("EPSG:3857", 0), ("EPSG:3857", 30), ("EPSG:3413", 0)])
def test_where_a_projection_enlarges_areas_are_those_of_the_ellipsoid(crs, turn):
    pyproj = pytest.importorskip("pyproj")
    step, angle = 300.0, np.radians(turn)
    cosine, sine = step * np.cos(angle), step * np.sin(angle)
    place = {"EPSG:3857": (1e6, 7e6), "EPSG:3413": (1.5e6, 2e6)}[crs]
    grid = Grid(60, 90, wkt_of(crs), (cosine, sine, place[0], sine, -cosine, place[1]))
    classes = np.repeat(np.arange(9, dtype=np.uint8).reshape(3, 3), 20, 0).repeat(30, 1)

    found = found_in(classes, 64, grid=grid)

    ellipsoid, expected = pyproj.Geod(ellps="WGS84"), []
    there = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    for shape in shapely.segmentize(placed(found.shapes, grid), step):
        outline = shapely.transform(shape, lambda xy: np.stack(there.transform(*xy.T), axis=1))
        expected.append(abs(ellipsoid.geometry_area_perimeter(outline)[0]))
    assert found.areas * Ground(grid).unit == pytest.approx(expected, rel=1e-6)
    assert not np.allclose(found.areas, found.areas[0], rtol=1e-4)
    assert rows_of(found) == rows_of(found_in(classes, 7, grid=grid))


@pytest.mark.parametrize("crs, x, y", [("EPSG:3035", 4.5e6, 2.5e6), ("EPSG:2154", 7e5, 6.6e6)])
def test_where_a_projection_keeps_areas_within_a_hundredth_they_are_its_own(crs, x, y):
    ground = Ground(Grid(50, 50, wkt_of(crs), (0.5, 0, x, 0, -0.5, y)))

    assert ground.unit == 0.25
    assert ground.sums(np.zeros((50, 50), int), 0, 1).tolist() == [2500]


def test_without_a_place_rows_count_downwards_as_a_gis_shows_them():
    grid = Grid(2, 3, None, NOWHERE)

    assert placed(np.array([shapely.box(0, 0, 3, 2)]), grid)[0].bounds == (0, -2, 3, 0)


# The minimum mapping unit


def united(classes, least, rows=1000, grid=None):
    ground = Ground(grid or grid_of(classes))
    decided = settled(banded(classes, rows), least, ground)
    bands = list(sieved(banded(classes, rows), decided))
    return np.concatenate([band.classes for band in bands])


def slowly(classes, least):
    """Do what the sieve does in the slow and obvious way: the whole map for every patch."""
    classes = classes.copy()
    is_large = np.bincount(labelled(classes).ravel())[labelled(classes)] >= least
    is_large &= classes != NOTHING
    while True:
        labels = labelled(classes)
        sizes = np.bincount(labels.ravel())
        small = [
            (sizes[number], np.flatnonzero(labels.ravel() == number)[0], number)
            for number in range(len(sizes))
            if sizes[number] < least and not is_large[labels == number].any()
        ]
        small = [one for one in small if classes.flat[one[1]] != NOTHING]
        for _, _, number in sorted(small):
            inside = labels == number
            sides = np.zeros(256, int)
            around = np.pad(classes, 1, constant_values=NOTHING)
            for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
                other = around[dy : dy + inside.shape[0], dx : dx + inside.shape[1]]
                beyond = np.pad(~inside, 1, constant_values=True)
                beyond = beyond[dy : dy + inside.shape[0], dx : dx + inside.shape[1]]
                sides += np.bincount(other[inside & beyond], minlength=256)
            sides[NOTHING] = 0
            if sides.any():
                classes[inside] = sides.argmax()
                break
        else:
            return classes


@pytest.mark.parametrize("number", range(len(MAPS)))
@pytest.mark.parametrize("least", [2, 5, 12])
def test_the_sieve_does_what_is_said_of_it(number, least):
    assert (united(MAPS[number], least) == slowly(MAPS[number], least)).all()


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 10), st.integers(1, 10), st.integers(1, 4), st.integers(0, 2**31), st.data())
def test_the_sieve_does_not_depend_on_the_height_of_a_band(height, width, classes, seed, data):
    found = noise(seed, height, width, classes)
    least, rows = data.draw(st.integers(1, 20)), data.draw(st.integers(1, height))

    cut = united(found, least, rows)

    assert (cut == united(found, least)).all()
    assert (cut == slowly(found, least)).all()
    assert ((cut == NOTHING) == (found == NOTHING)).all()


@pytest.mark.parametrize("rows", [1, 8, 1000])
def test_no_patch_is_below_the_minimum_but_what_nothing_surrounds(rows):
    classes = smooth(8)
    classes[:5, :5] = NOTHING
    classes[2, 2] = 1

    kept = united(classes, 10, rows)

    found = found_in(kept, rows)
    small = found.pixels < 10
    assert (2, 2, 3, 3) in [shape.bounds for shape in found.shapes[small]]
    assert (found_in(classes).pixels < 10).sum() > small.sum()
    for shape in found.shapes[small]:
        shared = shapely.intersection(shape, found.shapes[~shapely.equals(found.shapes, shape)])
        assert not shapely.length(shared).any()


def test_a_small_patch_goes_to_where_its_border_is_longest_and_not_to_the_largest_patch():
    classes = np.zeros((6, 6), np.uint8)
    classes[0:2, 1:4] = 1
    classes[0, 2] = 2

    assert united(classes, 2)[0, 2] == 1
    assert (united(classes, 1) == classes).all()


def test_what_is_small_is_told_by_the_ground_it_covers():
    classes = np.zeros((40, 6), np.uint8)
    classes[1, 2:4] = classes[38, 2:4] = 1
    # a degree to the north a pixel covers less
    grid = Grid(40, 6, wkt_of("EPSG:4326"), (0.1, 0, 8, 0, -0.1, 64))
    areas = Ground(grid).weights(0, 40)[:, 0]

    found = united(classes, int(areas[20] * 2), 7, grid)

    assert not found[1].any() and found[38].tolist() == [0, 0, 1, 1, 0, 0]
