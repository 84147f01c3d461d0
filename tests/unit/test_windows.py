import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_steps.rasters.windows import Window, ahead, blocks, grid, heard, padded, starts

LENGTHS, SIZES = st.integers(1, 60), st.integers(2, 24)
OVERLAPS = st.floats(0, 0.9)


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


def test_padding_reflects_on_the_far_side_only():
    array = np.arange(6).reshape(1, 2, 3)

    np.testing.assert_array_equal(padded(array, 4)[0, 0], [0, 1, 2, 1])
    np.testing.assert_array_equal(padded(array, 4)[0, :, 0], [0, 3, 0, 3])
    assert padded(array, 2) is array


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


def test_what_is_heard_comes_in_order_and_the_next_is_started_before_one_is_waited_for():
    log = []

    def start(number):
        log.append(f"start {number}")

        def wait():
            log.append(f"wait {number}")
            return -number

        return wait

    assert list(heard(range(3), start)) == [0, -1, -2]
    assert log == ["start 0", "start 1", "wait 0", "start 2", "wait 1", "wait 2"]


def test_of_what_may_not_wait_each_is_heard_before_the_next_is_started():
    log = []

    def start(number):
        log.append(f"start {number}")
        return lambda: log.append(f"wait {number}")

    list(heard(range(2), start, 0))
    assert log == ["start 0", "wait 0", "start 1", "wait 1"]


def test_of_nothing_nothing_is_heard():
    assert list(heard([], lambda _: None)) == []
