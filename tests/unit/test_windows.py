import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_steps.rasters.windows import (
    Window,
    ahead,
    blend,
    blocks,
    cuts,
    grid,
    hann,
    lines,
    padded,
    starts,
)

LENGTHS, SIZES = st.integers(1, 60), st.integers(2, 24)
OVERLAPS = st.floats(0, 0.9)


def looking(field, size):
    """Return a network that says what its window shows of ``field``."""

    def network(windows):
        return np.stack([padded(field[(..., *w.slices)], size) for w in windows])

    return network


def blended(field, size, overlap=0.3, batch=4, **more):
    channels, height, width = field.shape
    rows = blend(height, width, channels, size, overlap, batch, looking(field, size), **more)
    return np.concatenate([row for _, row in rows], axis=1)


def random_field(height, width, channels=2):
    shape = (channels, height, width)
    return np.random.default_rng([height, width]).uniform(-1, 1, shape).astype(np.float32)


@given(LENGTHS, SIZES, OVERLAPS)
def test_windows_cover_every_pixel_in_order(length, size, overlap):
    found = starts(length, size, overlap)

    covered = {pixel for start in found for pixel in range(start, start + size)}
    assert set(range(length)) <= covered
    assert found == sorted(set(found))


@given(LENGTHS, SIZES, OVERLAPS)
def test_windows_stay_inside_unless_the_raster_is_smaller(length, size, overlap):
    found = starts(length, size, overlap)

    assert found[0] == 0
    assert found[-1] == max(0, length - size)


@given(LENGTHS, SIZES, OVERLAPS)
def test_neighbours_overlap_by_what_was_asked_at_least(length, size, overlap):
    steps = np.diff(starts(length, size, overlap))

    assert (steps <= max(1, size * (1 - overlap))).all()


def test_grid_has_rows_of_windows_of_one_size():
    assert grid(5, 6, 4, 0.5) == [
        [Window(0, 0, 4, 4), Window(0, 2, 4, 4)],
        [Window(1, 0, 4, 4), Window(1, 2, 4, 4)],
    ]


@given(LENGTHS, LENGTHS, SIZES)
def test_blocks_cover_every_pixel_once(height, width, size):
    seen = np.zeros((height, width), int)
    for block in blocks(height, width, size):
        assert block.y + block.height <= height and block.x + block.width <= width
        seen[block.slices] += 1

    assert (seen == 1).all()


@given(st.integers(1, 600))
def test_hann_is_positive_at_its_very_edge_and_symmetric(size):
    weights = hann(size)

    assert weights.shape == (size, size) and weights.dtype == np.float32
    assert weights.min() > 0
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-7)


def test_padding_reflects_on_the_far_side_only():
    array = np.arange(6).reshape(1, 2, 3)

    np.testing.assert_array_equal(padded(array, 4)[0, 0], [0, 1, 2, 1])
    np.testing.assert_array_equal(padded(array, 4)[0, :, 0], [0, 3, 0, 3])
    assert padded(array, 2) is array


@settings(deadline=None, max_examples=60)
@given(LENGTHS, LENGTHS, SIZES, OVERLAPS, st.integers(1, 5))
def test_blend_gives_back_what_every_window_shows(height, width, size, overlap, batch):
    field = random_field(height, width)

    result = blended(field, size, overlap, batch)

    assert result.dtype == np.float32
    np.testing.assert_allclose(result, field, atol=1e-5)


def test_blend_weighs_windows_by_their_hann_weight():
    size, values = 4, {0: 1.0, 2: 5.0}

    def network(windows):
        return np.stack([np.full((1, size, size), values[w.x], np.float32) for w in windows])

    ((_, rows),) = blend(4, 6, 1, size, 0.5, 1, network)

    left, right = hann(size)[0, 2:], hann(size)[0, :2]
    np.testing.assert_allclose(rows[0, 0, :2], 1)
    np.testing.assert_allclose(rows[0, 0, 2:4], (left + 5 * right) / (left + right), rtol=1e-5)
    np.testing.assert_allclose(rows[0, 0, 4:], 5)


def test_blend_never_asks_for_windows_that_are_not_worth_it_and_gives_0_there():
    field = np.ones((1, 8, 16), np.float32)
    asked = []

    def network(windows):
        asked.extend(windows)
        return looking(field, 4)(windows)

    rows = blend(8, 16, 1, 4, 0.5, 3, network, worth=lambda window: window.x < 6)
    result = np.concatenate([row for _, row in rows], axis=1)

    assert asked and all(window.x < 6 for window in asked)
    np.testing.assert_allclose(result[:, :, :8], 1, atol=1e-6)
    assert (result[:, :, 8:] == 0).all()


def test_blend_of_nothing_worth_it_is_0_and_asks_nothing():
    def network(windows):
        raise AssertionError("asked")

    rows = list(blend(9, 7, 2, 4, 0.5, 3, network, worth=lambda _: False))

    assert sum(row.shape[1] for _, row in rows) == 9
    assert not any(row.any() for _, row in rows)


def test_blend_asks_for_at_most_a_batch_at_once():
    sizes = []

    def network(windows):
        sizes.append(len(windows))
        return np.zeros((len(windows), 1, 4, 4), np.float32)

    list(blend(4, 22, 1, 4, 0.5, 4, network))

    assert sizes == [4, 4, 2]


@settings(deadline=None, max_examples=60)
@given(LENGTHS, LENGTHS, SIZES, OVERLAPS)
def test_blend_yields_whole_rows_in_order_and_no_more_than_a_window(height, width, size, overlap):
    field = random_field(height, width, 1)

    below = 0
    for top, rows in blend(height, width, 1, size, overlap, 8, looking(field, size)):
        assert top == below
        assert 0 < rows.shape[1] <= size and rows.shape[2] == width
        below += rows.shape[1]

    assert below == height


def test_blend_begins_to_yield_before_it_has_asked_for_everything():
    asked = []

    def network(windows):
        asked.extend(windows)
        return np.zeros((len(windows), 1, 8, 8), np.float32)

    next(blend(800, 8, 1, 8, 0.5, 1, network))

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
@given(LENGTHS, LENGTHS, SIZES, OVERLAPS, st.integers(1, 5))
def test_without_weighting_a_pixel_is_what_the_nearest_window_says(
    height, width, size, overlap, batch
):
    rows, columns = (starts(length, size, overlap) for length in (height, width))
    number = {place: k for k, place in enumerate(itertools.product(rows, columns))}

    def network(windows):
        own = [number[window.y, window.x] for window in windows]
        return np.array(own, np.float32)[:, None, None, None] * np.ones((1, size, size))

    bands = blend(height, width, 1, size, overlap, batch, network, weighting="none")
    found = np.concatenate([band[0] for _, band in bands])

    down, right = nearest(rows, size, height), nearest(columns, size, width)
    np.testing.assert_array_equal(found, down[:, None] * len(columns) + right)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(2, 8), st.floats(0, 0.8))
def test_without_weighting_every_pixel_belongs_to_exactly_one_window(height, width, size, overlap):
    every = list(itertools.chain.from_iterable(grid(height, width, size, overlap)))
    count = len(every)

    def network(windows):
        marks = np.eye(count, dtype=np.float32)[[every.index(window) for window in windows]]
        return marks[:, :, None, None] * np.ones((size, size), np.float32)

    bands = blend(height, width, count, size, overlap, 8, network, weighting="none")
    shares = np.concatenate([band for _, band in bands], axis=1)

    assert set(np.unique(shares)) <= {0, 1}
    assert (shares.sum(axis=0) == 1).all()


def test_seams_of_a_blend_are_sought_at_the_edges_of_its_windows_and_of_none_at_the_cuts():
    begins = [0, 6, 12, 13]

    assert lines(begins, 8, "hann") == [0, 6, 8, 12, 13, 14, 20, 21]
    assert lines(begins, 8, "none") == [7, 13, 16]


def test_one_window_has_no_cut():
    assert cuts([0], 8) == [] and lines([0], 8, "none") == []


@given(st.lists(st.integers()), st.integers(1, 5))
def test_ahead_keeps_the_order(items, count):
    assert list(ahead(iter(items), count)) == items


def test_ahead_makes_the_next_ready_before_it_is_asked_for():
    made = []
    second = threading.Event()

    def items():
        for number in range(9):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    source = ahead(items(), 2)

    assert next(source) == 0
    assert second.wait(5)
    source.close()


def test_ahead_never_is_further_ahead_than_was_asked():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    for number in ahead(items(), 3):
        assert len(made) <= number + 1 + 3


def test_ahead_passes_on_what_goes_wrong_after_all_that_went_well():
    def items():
        yield from "ab"
        raise OSError("the disk is gone")

    seen, before = [], threading.active_count()
    with pytest.raises(OSError, match="the disk is gone"):
        for item in ahead(items()):
            seen.append(item)

    assert seen == ["a", "b"]
    assert threading.active_count() == before


def test_ahead_stops_when_its_consumer_stops():
    made, before = [], threading.active_count()

    def items():
        for number in itertools.count():
            made.append(number)
            yield number

    for number in ahead(items(), 2):
        if number == 3:
            break

    assert len(made) <= 4 + 2
    assert threading.active_count() == before
