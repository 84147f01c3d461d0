import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_steps.rasters.blending import blend, cuts, hann, lines
from pipeline_steps.rasters.windows import grid, padded, starts

LENGTHS, SIZES = st.integers(1, 60), st.integers(2, 24)
OVERLAPS = st.floats(0, 0.9)
WEIGHTINGS = ("hann", "gaussian", "mean", "nearest")


def looking(field, size):
    """Return what a window shows of ``field``."""
    return lambda window: padded(field[(..., *window.slices)], size)


def blended(field, size, overlap=0.3, **more):
    channels, height, width = field.shape
    bands = blend(height, width, channels, size, overlap, looking(field, size), **more)
    return np.concatenate([rows.copy() for _, rows in bands], axis=1)


def random_field(height, width, channels=2):
    shape = (channels, height, width)
    return np.random.default_rng([height, width]).uniform(-1, 1, shape).astype(np.float32)


def moody(seed, size, channels=1):
    """Return a network that says something of its own in every window."""

    def said(window):
        rng = np.random.default_rng([seed, window.y, window.x])
        return rng.random((channels, size, size), np.float32)

    return said


@given(st.integers(1, 600))
def test_hann_is_positive_at_its_very_edge_and_symmetric(size):
    weights = hann(size)

    assert weights.shape == (size, size) and weights.dtype == np.float32
    assert weights.min() > 0
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-7)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@settings(deadline=None, max_examples=40)
@given(height=LENGTHS, width=LENGTHS, size=SIZES, overlap=OVERLAPS, share=st.floats(0, 0.5))
def test_blend_gives_back_what_every_window_shows(weighting, height, width, size, overlap, share):
    field, common = random_field(height, width), size - max(1, int(size * (1 - overlap)))

    result = blended(field, size, overlap, weighting=weighting, halo=int(share * common))

    assert result.dtype == np.float32
    np.testing.assert_allclose(result, field, atol=1e-5)


@pytest.mark.parametrize("weighting", ["hann", "gaussian"])
def test_blend_fades_from_one_window_to_the_next(weighting):
    def said(window):
        return np.full((1, 8, 8), window.x, np.float32)

    _, rows = next(blend(8, 12, 1, 8, 0.5, said, weighting=weighting))

    assert (rows[0, :, :4] == 0).all()
    np.testing.assert_allclose(rows[0, :, 8:], 4)
    assert (np.diff(rows[0, :, 3:9]) > 0).all()
    np.testing.assert_allclose(rows[0, :, 4:8] + rows[0, :, 7:3:-1], 4, rtol=1e-5)


def test_blend_weighs_windows_by_their_hann_weight():
    size, values = 4, {0: 1.0, 2: 5.0}

    def said(window):
        return np.full((1, size, size), values[window.x], np.float32)

    _, rows = next(blend(4, 6, 1, size, 0.5, said))

    left, right = hann(size)[0, 2:], hann(size)[0, :2]
    np.testing.assert_allclose(rows[0, 0, :2], 1)
    np.testing.assert_allclose(rows[0, 0, 2:4], (left + 5 * right) / (left + right), rtol=1e-5)
    np.testing.assert_allclose(rows[0, 0, 4:], 5)


@settings(deadline=None, max_examples=40)
@given(LENGTHS, LENGTHS, SIZES, OVERLAPS)
def test_the_mean_counts_all_windows_the_same(height, width, size, overlap):
    said, total, count = moody(0, size), np.zeros((height, width)), np.zeros((height, width))
    for window in itertools.chain.from_iterable(grid(height, width, size, overlap)):
        part = total[window.slices]
        part += said(window)[0, : part.shape[0], : part.shape[1]]
        count[window.slices] += 1

    bands = blend(height, width, 1, size, overlap, said, weighting="mean")
    found = np.concatenate([rows[0].copy() for _, rows in bands])

    np.testing.assert_allclose(found, total / count, rtol=1e-4)


def test_the_halo_of_a_window_counts_at_the_raster_s_edge_alone():
    size, halo = 8, 2

    def said(window):
        values = np.full((1, size, size), 1.0, np.float32)
        values[:, halo:-halo, halo:-halo] = 0
        return values

    bands = blend(20, 20, 1, size, 0.5, said, weighting="mean", halo=halo)
    found = np.concatenate([rows[0].copy() for _, rows in bands])

    assert (found[halo:-halo, halo:-halo] == 0).all()
    assert (found[:halo] == 1).all() and (found[:, -halo:] == 1).all()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@settings(deadline=None, max_examples=30)
@given(height=LENGTHS, width=LENGTHS, size=SIZES, overlap=OVERLAPS)
def test_blend_begun_at_any_band_gives_the_same_numbers_from_there_on(
    weighting, height, width, size, overlap
):
    settled = (height, width, 2, size, overlap, moody(1, size, 2))
    whole = [(top, rows.copy()) for top, rows in blend(*settled, weighting=weighting)]

    for first in range(len(whole)):
        later = blend(*settled, weighting=weighting, first=first)
        for (top, rows), (expected_top, expected) in zip(later, whole[first:], strict=True):
            assert top == expected_top
            np.testing.assert_array_equal(rows, expected)


def test_blend_never_asks_for_windows_that_are_not_worth_it_and_gives_0_there():
    field = np.ones((1, 8, 16), np.float32)
    asked = []

    def said(window):
        asked.append(window)
        return looking(field, 4)(window)

    bands = blend(8, 16, 1, 4, 0.5, said, worth=lambda window: window.x < 6)
    result = np.concatenate([rows.copy() for _, rows in bands], axis=1)

    assert asked and all(window.x < 6 for window in asked)
    np.testing.assert_allclose(result[:, :, :8], 1, atol=1e-6)
    assert (result[:, :, 8:] == 0).all()


def test_blend_of_nothing_worth_it_is_0_and_asks_nothing():
    def said(window):
        raise AssertionError("asked")

    heights = []
    for _, rows in blend(9, 7, 2, 4, 0.5, said, worth=lambda _: False):
        assert not rows.any()
        heights.append(rows.shape[1])

    assert sum(heights) == 9


@settings(deadline=None, max_examples=60)
@given(LENGTHS, LENGTHS, SIZES, OVERLAPS)
def test_blend_yields_whole_rows_in_order_and_no_more_than_a_window(height, width, size, overlap):
    field = random_field(height, width, 1)

    below = 0
    for top, rows in blend(height, width, 1, size, overlap, looking(field, size)):
        assert top == below
        assert 0 < rows.shape[1] <= size and rows.shape[2] == width
        below += rows.shape[1]

    assert below == height


def test_blend_begins_to_yield_before_it_has_asked_for_everything():
    asked = []

    def said(window):
        asked.append(window)
        return np.zeros((1, 8, 8), np.float32)

    next(blend(800, 8, 1, 8, 0.5, said))

    assert len(asked) == 1


def nearest(begins, size, length):
    """Return which window's middle is nearest to each pixel's, the later one if two are."""
    away = [[abs(p + 0.5 - begin - size / 2) for begin in begins] for p in range(length)]
    return np.array([max(i for i, d in enumerate(row) if d == min(row)) for row in away])


@given(LENGTHS, SIZES, OVERLAPS)
def test_cuts_lie_where_the_nearest_window_changes(length, size, overlap):
    begins = starts(length, size, overlap)

    changes = np.flatnonzero(np.diff(nearest(begins, size, length))) + 1

    assert cuts(begins, size) == changes.tolist()


@settings(deadline=None, max_examples=60)
@given(LENGTHS, LENGTHS, SIZES, OVERLAPS)
def test_of_the_nearest_a_pixel_is_what_that_window_alone_says(height, width, size, overlap):
    rows, columns = (starts(length, size, overlap) for length in (height, width))
    number = {place: k for k, place in enumerate(itertools.product(rows, columns))}

    def said(window):
        return np.full((1, size, size), number[window.y, window.x], np.float32)

    bands = blend(height, width, 1, size, overlap, said, weighting="nearest")
    found = np.concatenate([band[0].copy() for _, band in bands])

    down, right = nearest(rows, size, height), nearest(columns, size, width)
    np.testing.assert_array_equal(found, down[:, None] * len(columns) + right)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(2, 8), st.floats(0, 0.8))
def test_of_the_nearest_every_pixel_belongs_to_exactly_one_window(height, width, size, overlap):
    every = list(itertools.chain.from_iterable(grid(height, width, size, overlap)))
    count = len(every)

    def said(window):
        marks = np.eye(count, dtype=np.float32)[every.index(window)]
        return marks[:, None, None] * np.ones((size, size), np.float32)

    bands = blend(height, width, count, size, overlap, said, weighting="nearest")
    shares = np.concatenate([band.copy() for _, band in bands], axis=1)

    assert set(np.unique(shares)) <= {0, 1}
    assert (shares.sum(axis=0) == 1).all()


def test_seams_of_a_blend_are_sought_at_the_edges_of_its_windows_and_of_the_nearest_at_the_cuts():
    begins = [0, 6, 12, 13]

    assert lines(begins, 8, "hann") == [0, 6, 8, 12, 13, 14, 20, 21]
    assert lines(begins, 8, "nearest") == [7, 13, 16]


def test_seams_behind_a_halo_are_sought_where_windows_begin_to_count():
    assert lines([0, 6, 12], 8, "mean", halo=1) == [0, 7, 13, 20]


def test_one_window_has_no_cut():
    assert cuts([0], 8) == [] and lines([0], 8, "nearest") == []
