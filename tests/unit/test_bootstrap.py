"""What a difference and its interval promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline_steps.metrics.bootstrap import SCORES, difference, holm
from pipeline_steps.metrics.confusion import scores

STUDIES = 500
UNITS = 30
SHARES = (0.3, 0.25, 0.15, 0.12, 0.1, 0.05, 0.03)
"""Of seven classes."""

TRUE = {"ours": 0.80, "theirs": 0.74}
"""Accuracy of two systems over endless ground."""


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_scores_of_many_matrices_are_those_of_each(classes, seed, is_sparse):
    rng = np.random.default_rng(seed)
    matrices = rng.integers(0, 50, (4, classes, classes))
    if is_sparse:
        matrices[:, 0] = matrices[:, :, 0] = 0

    for name, score in SCORES.items():
        expected = [getattr(scores(matrix), name) for matrix in matrices]
        np.testing.assert_allclose(score(matrices.astype(float)), expected, atol=1e-12)


def drawn(rng, units, accuracy=(0.80, 0.74)):
    """Return two systems' matrices [1, units, 2, 2] on ground whose difficulty they share."""
    sizes, hard = rng.integers(500, 1500, units), rng.normal(0, 0.05, units)
    systems = []
    for mean in accuracy:
        own = np.clip(mean + hard + rng.normal(0, 0.03, units), 0.02, 0.98)
        half = sizes // 2
        right = [rng.binomial(half, own), rng.binomial(half, own)]
        rows = [[right[0], half - right[0]], [half - right[1], right[1]]]
        systems.append(np.moveaxis(np.array(rows), 2, 0)[None])
    return systems


def test_the_interval_is_about_the_difference_and_is_the_same_each_time():
    ours, theirs = drawn(np.random.default_rng(0), UNITS)

    one, two = difference(ours, theirs, "oa"), difference(ours, theirs, "oa")

    assert one == two
    assert one.low < one.value < one.high
    assert one.value == pytest.approx(
        np.subtract(*[scores(m[0].sum(0)).oa for m in (ours, theirs)])
    )


def test_pairing_tells_more_than_two_systems_on_different_ground():
    rng = np.random.default_rng(1)
    ours, theirs = drawn(rng, UNITS)
    paired = difference(ours, theirs, "oa")
    apart = difference(ours, theirs[:, rng.permutation(UNITS)], "oa")

    assert paired.high - paired.low < 0.8 * (apart.high - apart.low)


def test_equal_systems_do_not_differ_and_better_ones_do():
    ours, theirs = drawn(np.random.default_rng(2), UNITS)

    same, other = difference(ours, ours, "miou"), difference(ours, theirs, "miou")

    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert other.p < 0.01 and other.low > 0


def test_scores_are_averaged_over_seeds_which_may_be_more_of_one_system():
    ours, theirs = drawn(np.random.default_rng(3), UNITS)
    again, _ = drawn(np.random.default_rng(4), UNITS)
    two = np.concatenate([ours, again])

    found = difference(two, theirs, "kappa")

    each = [scores(m.sum(0)).kappa for m in two]
    assert found.value == pytest.approx(np.mean(each) - scores(theirs[0].sum(0)).kappa)


def test_one_unit_has_no_interval():
    ours, theirs = drawn(np.random.default_rng(5), 1)

    found = difference(ours, theirs, "oa")

    assert np.isnan([found.low, found.high, found.p]).all() and not np.isnan(found.value)


@pytest.mark.parametrize("units", [2, 3, 9])
def test_few_units_have_no_interval(units):
    found = difference(*drawn(np.random.default_rng(5), units), "miou")

    assert np.isnan([found.low, found.high, found.p]).all() and not np.isnan(found.value)


def test_ten_units_have_an_interval():
    assert not np.isnan(difference(*drawn(np.random.default_rng(5), 10), "miou")).any()


def test_draws_in_which_the_score_is_not_defined_do_not_count():
    """Kappa is defined in those draws alone that have a unit of the second class."""
    ours = np.tile([[50, 0], [0, 0]], (1, 10, 1, 1))
    ours[0, 0] = [[50, 0], [0, 50]]
    theirs = ours.copy()
    theirs[0, 0] = [[50, 0], [30, 20]]

    found = difference(ours, theirs, "kappa")

    # 35 % of draws lack that unit; in all others the difference is above 0
    assert 0 < found.low <= found.value < found.high < 1
    # of 2000 draws so many fewer count, and none of them is 0 or less
    assert 2 / 1400 < found.p < 2 / 1200


def of_seven(rng, units):
    """Return two systems' matrices [1, units, 7, 7] on ground whose difficulty they share."""
    hard = rng.normal(0, 0.05, (units, 1))
    truth = rng.multinomial(4000, rng.dirichlet(6 * np.array(SHARES), units))
    systems = []
    for mean in (0.80, 0.74):
        own = np.clip(mean + hard + rng.normal(0, 0.03, (units, 7)), 0.02, 0.98)
        right = rng.binomial(truth, own)
        found = rng.multinomial(truth - right, (1 - np.eye(7)) / 6)
        found[:, range(7), range(7)] = right
        systems.append(found[None])
    return systems


@pytest.mark.parametrize("score", SCORES)
def test_of_12_units_and_7_classes_an_interval_covers_the_truth_nine_times_of_ten(
    score, monkeypatch
):
    monkeypatch.setattr("pipeline_steps.metrics.bootstrap.RESAMPLES", 999)
    endless = of_seven(np.random.default_rng(6), 100_000)
    ours, theirs = (getattr(scores(m[0].sum(0)), score) for m in endless)

    hits = 0
    for study in range(200):
        found = difference(*of_seven(np.random.default_rng([7, study]), 12), score)
        hits += found.low <= ours - theirs <= found.high

    assert 0.84 <= hits / 200 <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("score", ["oa", "miou"])
def test_95_per_cent_of_intervals_cover_the_truth(score, monkeypatch):
    monkeypatch.setattr("pipeline_steps.metrics.bootstrap.RESAMPLES", 999)
    endless = drawn(np.random.default_rng(6), 400_000)
    ours, theirs = (scores(m[0].sum(0)) for m in endless)
    truth = getattr(ours, score) - getattr(theirs, score)

    hits = 0
    for study in range(STUDIES):
        found = difference(*drawn(np.random.default_rng([7, study]), UNITS), score)
        hits += found.low <= truth <= found.high

    assert 0.92 <= hits / STUDIES <= 0.98


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrected_p_values_are_those_of_holm(values):
    found = holm(values)

    order = np.argsort(values, kind="stable")
    largest, expected = 0.0, np.empty(len(values))
    for place, index in enumerate(order):
        largest = max(largest, min(1, (len(values) - place) * values[index]))
        expected[index] = largest
    np.testing.assert_allclose(found, expected)
    assert (found >= np.array(values) - 1e-12).all()
    # Bonferroni's is never less
    assert (found <= np.minimum(1, len(values) * np.array(values)) + 1e-12).all()


def test_a_p_value_that_is_not_known_stays_so_and_counts_for_nothing():
    found = holm([0.01, np.nan, 0.04])

    assert np.isnan(found[1]) and found[[0, 2]].tolist() == [0.02, 0.04]


def test_chance_alone_seldom_gives_small_p_values():
    found = [
        difference(*drawn(np.random.default_rng([8, study]), 20, (0.8, 0.8)), "oa").p
        for study in range(60)
    ]

    # 5 % of 60 are 3; more than 9 has a probability below 0.1 %
    assert sum(p < 0.05 for p in found) <= stats.binom.ppf(0.999, 60, 0.05) + 1
