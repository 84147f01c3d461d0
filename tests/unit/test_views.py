import pickle

import numpy as np
import pytest
import zarr

from pipeline_steps.rasters.splits import Division
from pipeline_steps.rasters.views import EIGHT_BIT, Part, Picture, Strips
from pipeline_steps.rasters.windows import Window, grid

WHOLE = (slice(None), slice(None))
DTYPES = ("uint8", "uint16", "int16", "float32")


def bands(dtype="uint16", count=4, height=20, width=30):
    rng = np.random.default_rng(0)
    if dtype == "float32":
        return rng.normal(0, 50, (count, height, width)).astype(np.float32)
    kind = np.iinfo(dtype)
    return rng.integers(kind.min, kind.max, (count, height, width), dtype, endpoint=True)


def stretched(pixels, rgb, limits):
    """Return the picture by a formula in double precision."""
    low, high = (np.array(limits, float)[list(rgb), end][:, None, None] for end in (0, 1))
    shown = (pixels[list(rgb)].astype(float) - low) / (high - low)
    return np.where(np.isnan(shown), 0, np.clip(shown, 0, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rgb", [(0, 1, 2), (2, 1, 0), (3, 0, 0)])
def test_a_picture_is_its_bands_stretched_to_between_0_and_1(dtype, rgb):
    pixels = bands(dtype)
    limits = np.percentile(pixels, (5, 90), axis=(1, 2)).T.tolist()

    found = Picture(pixels, rgb, limits)[WHOLE]

    assert (found.dtype, found.shape) == (np.float32, (3, 20, 30))
    assert (found.min(), found.max()) == (0, 1)
    np.testing.assert_allclose(found, stretched(pixels, rgb, limits), atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_picture_of_all_bands_is_stretched_like_one_of_three(dtype):
    pixels = bands(dtype)
    limits = np.percentile(pixels, (5, 90), axis=(1, 2)).T.tolist()

    whole = Picture(pixels, range(4), limits)

    assert whole.shape == whole[WHOLE].shape == (4, 20, 30)
    assert np.array_equal(whole[WHOLE][[2, 1, 3]], Picture(pixels, (2, 1, 3), limits)[WHOLE])


def test_the_limits_of_8_bits_are_0_and_255():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)

    found = Picture(pixels, (0, 0, 0), [EIGHT_BIT])[WHOLE]

    np.testing.assert_allclose(found[1].ravel(), np.arange(256) / 255, atol=1e-7)
    assert (found[0] == found[2]).all()


def test_what_is_no_number_is_black_and_what_is_infinite_is_cut_off():
    pixels = np.full((3, 2, 2), 5, np.float32)
    pixels[0, 0] = np.nan, np.inf
    pixels[0, 1, 0] = -np.inf

    found = Picture(pixels, (0, 1, 2), [(0, 10)] * 3)[WHOLE]

    assert found[0].tolist() == [[0, 1], [0, 0.5]]
    assert (found[1:] == 0.5).all()
    assert np.isnan(pixels[0, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "index", [(slice(3, 9), slice(5, 30)), (..., slice(0, 20, 3), slice(1, None, 4))]
)
def test_a_window_of_a_picture_is_cut_from_the_whole(dtype, index):
    limits = [(10.0, 200.0)] * 4
    picture = Picture(bands(dtype), (3, 1, 0), limits)

    assert np.array_equal(picture[index], picture[WHOLE][(slice(None), *index[-2:])])


def test_a_picture_of_a_store_and_one_held_in_memory_are_the_same():
    pixels = bands("int16")
    array = zarr.array(pixels, chunks=(4, 8, 8))
    picture = Picture(array, (2, 1, 0), [(-1000.0, 3000.0)] * 4)

    held = picture.held()

    assert isinstance(held.array, np.ndarray)
    assert held.shape == picture.shape == (3, 20, 30)
    assert held.nbytes == picture.nbytes == pixels.nbytes
    assert np.array_equal(held[WHOLE], picture[WHOLE])


@pytest.fixture
def division():
    return Division(40, 60, [[0, 2, 1], [1, 0, 2]], 4, None)


@pytest.mark.parametrize("fill, dtype", [(255, np.uint8), (np.nan, np.float32)])
def test_a_part_is_filled_outside_and_untouched_inside(division, fill, dtype):
    values = np.random.default_rng(0).integers(0, 7, (40, 60)).astype(dtype)
    inside = division.mask(Window(0, 0, 40, 60), "test")

    found = Part(values, division, "test", None, fill)[WHOLE]

    assert found.dtype == dtype
    assert np.array_equal(found, np.where(inside, values, dtype(fill)), equal_nan=True)
    assert inside.any() and not inside.all()


@pytest.mark.parametrize(
    "index",
    [
        (slice(10, 33), slice(15, 60)),
        (slice(5, 40, 7), slice(0, 60, 4)),
        (..., slice(None, None, 3), slice(1, None, 2)),
        (slice(-10, None), slice(None, -20)),
        (slice(20, 99), slice(25, 99)),
    ],
)
def test_a_window_of_a_part_is_cut_from_the_whole_with_steps_too(division, index):
    part = Part(np.ones((40, 60), np.uint8), division, "train", None, 0)

    assert np.array_equal(part[index], part[WHOLE][index[-2:]])
    assert part[index].any()


def test_an_empty_window_of_a_part_is_empty(division):
    part = Part(np.ones((40, 60), np.uint8), division, "train", None, 0)

    assert part[5:5, 0:10].shape == (0, 10)


def test_a_part_leaves_the_array_behind_it_alone(division):
    values = np.ones((40, 60), np.uint8)

    Part(values, division, "val", None, 255)[WHOLE]

    assert (values == 1).all()


def test_a_part_of_a_fold_follows_the_fold():
    division = Division(10, 20, [[0, 1]], 0, 2)

    found = [Part(np.ones((10, 20)), division, "test", fold, 0).held() for fold in (0, 1)]

    assert found[0][:, :10].all() and not found[0][:, 10:].any()
    assert np.array_equal(found[0] + found[1], np.ones((10, 20)))


def test_a_part_of_a_store_is_held_in_memory_as_an_array(division):
    array = zarr.array(np.arange(2400, dtype=np.uint16).reshape(40, 60), chunks=(16, 16))
    part = Part(array, division, "train", None, 0)

    held = part.held()

    assert isinstance(held, np.ndarray)
    assert (part.shape, part.dtype, part.nbytes) == ((40, 60), np.uint16, 4800)
    assert np.array_equal(held, part[WHOLE])


def test_views_go_to_worker_processes_and_say_the_same_there():
    division = Division(20, 30, [[0, 2]], 2, None)
    part = Part(np.ones((20, 30), np.uint8), division, "train", None, 255)
    picture = Picture(np.arange(1800, dtype=np.uint16).reshape(3, 20, 30), (2, 0, 1), [[0, 9]] * 3)

    for view in (part, picture):
        sent = pickle.loads(pickle.dumps(view))
        assert np.array_equal(sent[..., 3:9, 10:20], view[..., 3:9, 10:20])


class Counted:
    """An array [bands, H, W] in chunks of 16, which counts how often each row is read."""

    def __init__(self, pixels):
        self.pixels, self.shape, self.dtype = pixels, pixels.shape, pixels.dtype
        self.chunks, self.reads = (1, 16, 16), np.zeros(pixels.shape[-2], int)

    def __getitem__(self, index):
        self.reads[index[-2]] += 1
        return self.pixels[index]


@pytest.mark.parametrize("size", [5, 16, 24, 40])
@pytest.mark.parametrize("height, width", [(100, 70), (33, 16), (5, 5)])
def test_strips_are_the_array_and_unpack_each_chunk_once_on_the_way_down(size, height, width):
    array = Counted(bands(height=height, width=width))
    strips = Strips(array, size)

    for row in grid(height, width, size, 0.5):
        for window in row:
            found = strips[(..., *window.slices)]
            np.testing.assert_array_equal(found, array.pixels[(..., *window.slices)])

    assert (array.reads == 1).all()


def test_a_picture_in_strips_is_the_picture():
    array = Counted(bands(height=50))
    picture = Picture(array, (2, 0, 1), [(0, 30_000)] * 4)
    index = (..., slice(10, 41), slice(3, 20))

    np.testing.assert_array_equal(picture.in_strips(31)[index], picture[index])
