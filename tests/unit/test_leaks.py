import itertools

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipeline_steps.inspection.leaks import Leak, continuing, copies, edges_of, leak
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from tests.data.tiling import utm_grid

BANDS = (1, 2, 3)
SIDE = 160
PLAIN = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def texture(seed, size=4 * SIDE):
    """Return a mosaic of random texture whose pixels resemble their neighbours, uint8 [3, s, s]."""
    rng = np.random.default_rng(seed)
    bands = [gaussian_filter(rng.normal(0, 1, (size, size)), sigma) for sigma in (1.5, 2, 1)]
    return np.stack([128 + 40 * band / band.std() for band in bands]).clip(0, 255).astype(np.uint8)


@pytest.fixture
def crop(tmp_path):
    """A function that saves a crop of a mosaic as a picture without a place on the ground."""
    numbers = itertools.count()

    def cut(mosaic, top, left, height=SIDE, width=SIDE, suffix="png"):
        path = tmp_path / f"{next(numbers)}.{suffix}"
        pixels = mosaic[:, top : top + height, left : left + width]
        Image.fromarray(np.moveaxis(pixels, 0, -1)).save(path, quality=90)
        return path, Grid(height, width, None, PLAIN)

    return cut


def pairs(ones, others, look=continuing):
    """Return which crops of two groups ``look`` finds, as pairs of their numbers."""
    edges = [[edges_of(path, BANDS) for path, _ in group] for group in (ones, others)]
    return set(look(*edges))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_crops_that_continue_one_another_are_found_on_all_four_sides(crop, suffix):
    mosaic = texture(0)
    middle = [crop(mosaic, SIDE, SIDE, suffix=suffix)]
    around = [
        crop(mosaic, SIDE + down * SIDE, SIDE + right * SIDE, suffix=suffix)
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1), (1, 1), (2, 0))
    ]

    assert pairs(middle, around) == {(0, 0), (0, 1), (0, 2), (0, 3)}


def test_crops_whose_sizes_differ_by_a_pixel_or_two_are_found(crop):
    mosaic = texture(1)
    one = [crop(mosaic, 0, 0, height=SIDE)]
    others = [crop(mosaic, 0, SIDE, height=SIDE + more) for more in (-2, -1, 1, 2)]

    assert pairs(one, others) == {(0, n) for n in range(4)}


def test_crops_of_different_mosaics_do_not_continue_one_another(crop):
    ones = [crop(texture(0), SIDE * row, SIDE * column) for row in range(4) for column in range(4)]
    others = [
        crop(texture(1), SIDE * row, SIDE * column) for row in range(4) for column in range(4)
    ]

    assert pairs(ones, others) == set()


def test_crops_of_one_mosaic_that_lie_apart_are_not_found(crop):
    mosaic = texture(2)
    ones = [crop(mosaic, 0, 0)]
    others = [crop(mosaic, 0, SIDE + gap) for gap in (30, 100)]

    assert pairs(ones, others) == set()


def test_flat_pictures_are_not_alike(crop):
    black, grey = np.zeros((3, SIDE, SIDE), np.uint8), np.full((3, SIDE, SIDE), 90, np.uint8)

    for look in (continuing, copies):
        assert pairs([crop(black, 0, 0)], [crop(black, 0, 0), crop(grey, 0, 0)], look) == set()


def test_light_that_is_alike_is_no_edge_that_goes_on(crop):
    ramp = np.linspace(40, 200, SIDE).astype(np.uint8)
    smooth = np.broadcast_to(ramp[None, :, None], (3, SIDE, SIDE))
    rng = np.random.default_rng(0)
    noisy = [(smooth + rng.integers(-20, 20, smooth.shape)).astype(np.uint8) for _ in range(2)]

    assert pairs([crop(noisy[0], 0, 0)], [crop(noisy[1], 0, 0)]) == set()


def test_the_surest_pair_comes_first(crop):
    mosaic = texture(3)
    rng = np.random.default_rng(0)
    spoilt = (mosaic + rng.normal(0, 15, mosaic.shape)).clip(0, 255).astype(np.uint8)
    edges = [edges_of(path, BANDS) for path, _ in (crop(mosaic, 0, 0),)]
    others = [edges_of(path, BANDS) for path, _ in (crop(spoilt, 0, SIDE), crop(mosaic, SIDE, 0))]

    assert continuing(edges, others) == [(0, 1), (0, 0)]


def test_copies_are_found_whatever_they_are_called(crop):
    mosaic = texture(4)
    ones = [crop(mosaic, 0, 0), crop(mosaic, 0, SIDE)]
    others = [crop(mosaic, SIDE, SIDE), crop(mosaic, 0, SIDE, suffix="bmp")]

    assert pairs(ones, others, copies) == {(1, 1)}


def test_neighbours_are_no_copies(crop):
    mosaic = texture(5)

    assert pairs([crop(mosaic, 0, 0)], [crop(mosaic, 0, SIDE), crop(mosaic, 3, 2)], copies) == set()


@pytest.mark.parametrize("size", [1, 8, 40])
def test_pictures_too_small_to_tell_are_not_compared(crop, size):
    mosaic = texture(6)
    one, other = ([crop(mosaic, 0, x, size, size)] for x in (0, size))

    assert pairs(one, other) == pairs(one, one, copies) == set()


def test_edges_are_those_of_the_picture_and_have_no_light(tmp_path):
    pixels = texture(7, 100)
    write_raster(tmp_path / "a.tif", pixels, utm_grid(100, 100))

    edges = edges_of(tmp_path / "a.tif", (3, 1))

    lines = {
        "top": pixels[:, 0],
        "bottom": pixels[:, -1],
        "left": pixels[:, :, 0],
        "right": pixels[:, :, -1],
    }
    for side, line in lines.items():
        values = line[[2, 0]].T.astype(float)
        assert edges[side].shape == (100, 2)
        assert all(np.corrcoef(edges[side][:, k], values[:, k])[0, 1] > 0.5 for k in (0, 1))
        assert abs(edges[side].mean(axis=0)).max() < 3


def test_edges_without_numbers_are_no_trouble(tmp_path):
    pixels = texture(7, 100).astype(np.float32)
    pixels[:, :, :30] = np.nan
    write_raster(tmp_path / "a.tif", pixels, utm_grid(100, 100))

    assert all(np.isfinite(line).all() for line in edges_of(tmp_path / "a.tif", BANDS).values())


# groups


def test_pictures_without_a_place_are_compared_by_their_edges(crop):
    mosaic = texture(8)
    ones = [crop(mosaic, 0, 0), crop(mosaic, 2 * SIDE, 2 * SIDE)]
    others = [crop(mosaic, 0, SIDE), crop(texture(9), 0, 0)]

    found = leak(ones, others, BANDS)

    assert (found.continuing, found.same) == (1, 0)
    assert set(found.pair) == {str(ones[0][0]), str(others[0][0])}
    assert (found.shared_m2, found.nearest_m) == (None, None)


def test_rasters_with_a_place_are_compared_on_the_ground_without_opening_them(tmp_path):
    ones = [(tmp_path / "a.tif", utm_grid(100, 100))]
    others = [(tmp_path / "b.tif", utm_grid(100, 100, x=5e5 + 90))]

    found = leak(ones, others, BANDS)

    assert found.shared_m2 == pytest.approx(1000, rel=1e-3)
    assert found.pair == (str(tmp_path / "a.tif"), str(tmp_path / "b.tif"))
    assert (found.continuing, found.same) == (None, None)


def test_a_group_may_have_both_kinds(crop, tmp_path):
    mosaic = texture(10)
    ones = [crop(mosaic, 0, 0), (tmp_path / "a.tif", utm_grid(100, 100))]
    others = [(tmp_path / "b.tif", utm_grid(100, 100, x=5e5 + 130)), crop(mosaic, 0, 0)]

    found = leak(ones, others, BANDS)

    assert (found.shared_m2, found.same) == (0, 1)
    assert found.nearest_m == pytest.approx(30, rel=0.01)


def test_what_cannot_be_compared_says_nothing(crop, tmp_path):
    placed = (tmp_path / "a.tif", utm_grid(100, 100))

    assert leak([placed], [crop(texture(0), 0, 0)], BANDS) == Leak()
    assert leak([placed], [placed], BANDS) == Leak()


def test_a_raster_in_both_groups_is_compared_with_the_others_only(crop):
    mosaic = texture(11)
    group = [crop(mosaic, 0, 0), crop(mosaic, 0, SIDE), crop(mosaic, 2 * SIDE, 2 * SIDE)]

    found = leak(group, group, BANDS)

    assert (found.continuing, found.same) == (1, 0)


def test_a_damaged_picture_is_named(crop):
    mosaic = texture(12)
    ones, others = [crop(mosaic, 0, 0)], [crop(mosaic, 0, SIDE)]
    path = others[0][0]
    path.write_bytes(path.read_bytes()[:500])

    with pytest.raises(ValueError, match=f"{path.name}: cannot be read"):
        leak(ones, others, BANDS)


@pytest.mark.real
def test_the_files_of_one_dubai_tile_continue_one_another_and_those_of_two_tiles_do_not(real_data):
    def files(tile, *numbers):
        folder = real_data / "dubai" / tile / "images"
        paths = [folder / f"image_part_{number:03}.jpg" for number in numbers]
        return [(path, Grid(1, 1, None, PLAIN)) for path in paths]

    whole = range(1, 10)
    assert leak(files("tile_1", 1, 3, 5, 7, 9), files("tile_1", 2, 4, 6, 8), BANDS).continuing >= 10
    for one, other in itertools.combinations(("tile_1", "tile_2", "tile_4"), 2):
        assert leak(files(one, *whole), files(other, *whole), BANDS).continuing == 0
