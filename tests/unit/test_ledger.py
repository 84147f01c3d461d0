import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline_steps.rasters.ledger import Ledger

SIZE = 3
BYTES = 4 + 4 + 8 + 2 * SIZE**2

PLAIN = st.floats(-1e6, 1e6, width=32)
WINDOWS = arrays(np.float32, (SIZE, SIZE), elements=PLAIN)


def some(count, size=SIZE, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size, size)).astype(np.float32)


def content(ledger):
    return np.stack([ledger[number] for number in range(len(ledger))])


@pytest.fixture(scope="module")
def five():
    """Return the bytes of five windows, and the windows as they are read back."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "five"
        with Ledger(file, SIZE) as ledger:
            ledger.append(some(5))
            return file.read_bytes(), content(ledger)


@settings(deadline=None)
@given(st.lists(WINDOWS, min_size=1, max_size=3))
def test_what_is_read_differs_by_no_more_than_a_part_in_131070_of_the_range(windows):
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "a", SIZE) as ledger:
        ledger.append(np.array(windows))

        for number, window in enumerate(windows):
            found = ledger[number]
            extent = np.ptp(window.astype(np.float64))
            # and by what float32 itself rounds off, or cannot divide into steps
            rounding = 4 * np.spacing(np.abs(window).max()) + 1e-33
            assert found.dtype == np.float32
            assert np.abs(found.astype(np.float64) - window).max() <= extent / 131070 + rounding


@pytest.mark.parametrize("value", [0.0, -3.25, 1e-38, 3e38])
def test_a_flat_window_is_read_as_it_is(tmp_path, value):
    with Ledger(tmp_path / "a", SIZE) as ledger:
        ledger.append(np.full((1, SIZE, SIZE), value, np.float32))

        assert (ledger[0] == np.float32(value)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("extent", [1e-44, 1e-38, 1e-30, 1e30, 3e38])
def test_the_narrowest_and_the_widest_windows_are_kept_too(tmp_path, extent):
    window = np.linspace(0, extent, SIZE**2, dtype=np.float32).reshape(1, SIZE, SIZE)

    with Ledger(tmp_path / "a", SIZE) as ledger:
        ledger.append(window)
        np.testing.assert_allclose(ledger[0], window[0], rtol=0, atol=max(extent / 131e3, 1e-33))


def test_lowest_and_highest_value_are_read_exactly(tmp_path):
    window = some(1)

    with Ledger(tmp_path / "a", SIZE) as ledger:
        ledger.append(window)
        assert ledger[0].min() == window.min()
        assert ledger[0].max() == pytest.approx(window.max(), rel=1e-6)


def test_a_window_is_scaled_and_shifted_as_it_is_read(tmp_path):
    with Ledger(tmp_path / "a", SIZE) as ledger:
        ledger.append(some(4))

        found = ledger.fitted(2, 1.5, -0.25)

        assert found.shape == (SIZE, SIZE) and found.dtype == np.float32
        np.testing.assert_allclose(found, ledger[2] * 1.5 - 0.25, atol=1e-6)


def test_what_is_appended_in_parts_or_at_once_is_the_same_file(tmp_path):
    with Ledger(tmp_path / "once", SIZE) as ledger:
        ledger.append(some(5))
    with Ledger(tmp_path / "parts", SIZE) as ledger:
        ledger.append(some(5)[:2])
        content(ledger)
        ledger.append(some(5)[2:])

    assert (tmp_path / "once").read_bytes() == (tmp_path / "parts").read_bytes()


def test_what_was_written_is_there_when_the_file_is_opened_again(tmp_path, five):
    (tmp_path / "a").write_bytes(five[0])

    with Ledger(tmp_path / "a", SIZE) as ledger:
        assert len(ledger) == 5
        np.testing.assert_array_equal(content(ledger), five[1])


def test_what_is_appended_is_on_disk_before_the_ledger_is_closed(tmp_path):
    with Ledger(tmp_path / "a", SIZE) as ledger:
        ledger.append(some(2))

        assert (tmp_path / "a").stat().st_size == 2 * BYTES


@settings(deadline=None)
@given(st.integers(0, 5 * BYTES))
def test_cut_off_at_any_byte_it_keeps_what_is_whole_and_goes_on(five, length):
    whole, windows = five
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a"
        file.write_bytes(whole[:length])

        with Ledger(file, SIZE) as ledger:
            assert len(ledger) == length // BYTES
            for number in range(len(ledger)):
                np.testing.assert_array_equal(ledger[number], windows[number])
            ledger.append(some(5)[len(ledger) :])

        assert file.read_bytes() == whole


@settings(deadline=None)
@given(st.integers(0, 5 * BYTES - 1), st.integers(0, 7))
def test_a_flipped_bit_cuts_it_off_there(five, place, bit):
    whole, _ = five
    broken = bytearray(whole)
    broken[place] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a"
        file.write_bytes(broken)

        with Ledger(file, SIZE) as ledger:
            assert len(ledger) == place // BYTES
            ledger.append(some(5)[len(ledger) :])

        assert file.read_bytes() == whole


def test_records_that_are_whole_but_in_another_order_are_not_kept(tmp_path, five):
    records = [five[0][k * BYTES : (k + 1) * BYTES] for k in range(5)]
    (tmp_path / "a").write_bytes(b"".join(records[k] for k in (0, 1, 3, 2, 4)))

    with Ledger(tmp_path / "a", SIZE) as ledger:
        assert len(ledger) == 2


@pytest.mark.parametrize("other", [SIZE - 1, SIZE + 1])
def test_a_ledger_of_windows_of_another_size_begins_anew(tmp_path, five, other):
    (tmp_path / "a").write_bytes(five[0])

    with Ledger(tmp_path / "a", other) as ledger:
        assert len(ledger) == 0


def test_a_hole_of_zeros_is_no_record(tmp_path, five):
    """As a file system may leave after a power cut."""
    (tmp_path / "a").write_bytes(bytes(BYTES) + five[0][BYTES:])

    with Ledger(tmp_path / "a", SIZE) as ledger:
        assert len(ledger) == 0


@pytest.mark.parametrize("count", [0, 3, 5])
def test_keep_forgets_all_but_the_first(tmp_path, five, count):
    (tmp_path / "a").write_bytes(five[0])

    with Ledger(tmp_path / "a", SIZE) as ledger:
        ledger.keep(count)

        assert len(ledger) == count
        assert (tmp_path / "a").stat().st_size == count * BYTES
        ledger.append(some(5)[count:])

    assert (tmp_path / "a").read_bytes() == five[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_number_and_what_came_before_is_kept(tmp_path, value):
    windows = some(4)
    windows[2, 1, 1] = value

    with (
        Ledger(tmp_path / "a", SIZE) as ledger,
        pytest.raises(ValueError, match=r"a: depth in window 2 is .*(nan|inf).*, expected numbers"),
    ):
        ledger.append(windows)

    with Ledger(tmp_path / "a", SIZE) as ledger:
        assert len(ledger) == 2


def test_a_range_that_float32_does_not_hold_is_refused(tmp_path):
    window = np.zeros((1, SIZE, SIZE), np.float32)
    window[0, 0, :2] = -3e38, 3e38

    with (
        Ledger(tmp_path / "a", SIZE) as ledger,
        pytest.raises(ValueError, match="depth in window 0"),
    ):
        ledger.append(window)


def test_its_file_is_closed_in_the_end_whatever_happens(tmp_path, monkeypatch):
    opened = []
    original = Path.open

    def spying(self, *args, **kwargs):
        opened.append(original(self, *args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(Path, "open", spying)
    with Ledger(tmp_path / "a", SIZE):
        pass
    with pytest.raises(KeyError), Ledger(tmp_path / "a", SIZE):
        raise KeyError

    assert len(opened) == 2
    assert all(isinstance(file, io.IOBase) and file.closed for file in opened)
