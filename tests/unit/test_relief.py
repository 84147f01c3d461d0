import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_steps.rasters import relief as module
from pipeline_steps.rasters.ground import Ground
from pipeline_steps.rasters.relief import Relief

ALL = (0.0, 100.0)


def field(height=60, width=80, seed=0):
    return np.random.default_rng(seed).normal(3, 2, (height, width)).astype(np.float32)


def settled(values, percentiles=(2.0, 98.0), kind="none", cuts=(), window=16.0):
    """Return the relief of a field that is shown in pieces."""
    found = Relief(*values.shape, Ground(kind, *values.shape, window), percentiles)
    for piece in np.split(values, sorted(cuts)):
        found.look(piece)
    found.settle()
    return found


@pytest.mark.parametrize("percentiles", [(2.0, 98.0), (0.0, 100.0), (10.0, 60.0)])
def test_percentiles_become_0_and_1_and_what_lies_beyond_is_cut_off(percentiles):
    values = field()

    found = settled(values, percentiles)
    low, high = np.percentile(values, percentiles)

    assert (found.low, found.high) == pytest.approx((low, high))
    shown = found.normalised(0, values)
    assert shown.dtype == np.float16
    np.testing.assert_allclose(shown, ((values - low) / (high - low)).clip(0, 1), atol=1e-3)
    assert shown.min() == 0 and shown.max() == 1


def test_larger_stays_larger():
    values = np.linspace(-5, 9, 400, dtype=np.float32).reshape(20, 20)

    shown = settled(values).normalised(0, values)

    assert (np.diff(shown.ravel()) >= 0).all()


def test_what_is_unknown_stays_so_and_does_not_count():
    values = field()
    unknown = np.random.default_rng(1).random(values.shape) < 0.3
    values[unknown] = np.nan

    found = settled(values)

    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(values[~unknown], (2, 98))))
    np.testing.assert_array_equal(np.isnan(found.normalised(0, values)), unknown)
    np.testing.assert_array_equal(np.isnan(found.sample), unknown)


@pytest.mark.parametrize("kind", ["none", "plane", "morphological"])
@pytest.mark.parametrize("value", [0, 4.25, np.nan])
def test_what_has_no_relief_is_flat(kind, value):
    assert settled(np.full((30, 40), value, np.float32), kind=kind).is_flat


def test_what_rises_is_not_flat_however_rare_it_is():
    values = np.zeros((40, 40), np.float32)
    values[3, 3:8] = 7

    found = settled(values)

    assert not found.is_flat
    assert (found.low, found.high) == (0, 7)
    assert not settled(field()).is_flat


def test_relief_is_measured_by_the_numbers_that_a_network_gives():
    # as inverse depth from far above: small, and all of it relief
    far = 2e-4 + 4e-7 * field()
    # as rounding makes it of a constant
    noise = np.float32(4000) + 1e-3 * field().round()

    assert not settled(far.astype(np.float32)).is_flat
    assert settled(noise.astype(np.float32)).is_flat


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2)])
@pytest.mark.parametrize("kind", ["none", "plane", "morphological"])
def test_the_smallest_fields_have_a_relief_or_none(shape, kind):
    values = field(*shape)

    found = settled(values, ALL, kind)

    assert np.isfinite([found.low, found.high]).all()
    if not found.is_flat:
        assert np.isfinite(found.normalised(0, values)).all()


@pytest.mark.parametrize("kind", ["plane", "morphological"])
def test_height_is_above_the_ground(kind):
    y, x = np.mgrid[:120, :160]
    values = (0.008 * y - 0.008 * x).astype(np.float32)
    values[20:28, 120:130] += 1

    found = settled(values, ALL, kind, window=32.0)

    roof = found.normalised(0, values)[20:28, 120:130]
    assert roof.min() > 0.8
    assert np.percentile(found.normalised(0, values), 90) < 0.4
    # without it a hillside is higher than any roof
    assert settled(values, ALL).normalised(0, values)[20:28, 120:130].max() < 0.9


@pytest.mark.parametrize("most", [1, 50, 600, 4799, 4800])
def test_the_sample_is_evenly_spread_and_no_larger_than_it_may_be(monkeypatch, most):
    monkeypatch.setattr(module, "SAMPLE", most)
    values = field()

    found = settled(values)

    step = found.step
    np.testing.assert_array_equal(found.sample, values[::step, ::step])
    assert values.size / step**2 <= most
    assert step == 1 or values.size / (step - 1) ** 2 > most


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 60),
    st.integers(1, 40),
    st.sets(st.integers(1, 59)),
    st.sampled_from(["none", "plane", "morphological"]),
    st.sampled_from([7, 100, 10_000]),
)
def test_rows_in_pieces_of_any_height_give_the_same_relief(height, width, cuts, kind, most):
    values, cuts = field(height, width), sorted(cut for cut in cuts if cut < height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SAMPLE", most)

        pieces, whole = settled(values, kind=kind, cuts=cuts), settled(values, kind=kind)

        np.testing.assert_array_equal(pieces.sample, whole.sample)
        assert (pieces.low, pieces.high, pieces.is_flat) == (whole.low, whole.high, whole.is_flat)
        if not whole.is_flat:
            shown = [
                pieces.normalised(top, part)
                for top, part in zip([0, *cuts], np.split(values, cuts), strict=True)
            ]
            np.testing.assert_array_equal(np.concatenate(shown), whole.normalised(0, values))
