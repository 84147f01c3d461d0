import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from pipeline_steps.metrics.depth import UNDEFINED, Seam, height_quality, seam, spearman

SEEDS = st.integers(0, 2**32 - 1)


def quality(depth, height, labels=None, classes=()):
    depth, height = np.asarray(depth, float), np.asarray(height, float)
    labels = np.zeros(depth.size, np.uint8) if labels is None else np.asarray(labels)
    return height_quality(depth, height, labels, classes)


def some(count, seed, noise=1.0):
    """Return depth and height of which much is flat ground, as in a town."""
    rng = np.random.default_rng(seed)
    height = np.where(rng.random(count) < 0.6, 0, rng.exponential(4, count))
    return height * rng.uniform(-1, 3) + noise * rng.normal(size=count) + 7, height


def mae(guess, height):
    return np.abs(guess - height).mean()


@pytest.mark.parametrize("levels", [3, 10, 10_000])
def test_area_under_the_curve_agrees_with_scikit_learn_with_ties(levels):
    rng = np.random.default_rng(levels)
    height = rng.uniform(0, 3, 400)
    depth = np.round((height + rng.normal(0, 1, 400)) * levels / 10).astype(np.float32)

    found = quality(depth, height)["auc_tall"]

    assert found == pytest.approx(roc_auc_score(height > 1, depth))


def test_depth_that_is_height_but_for_scale_and_shift_is_perfect():
    height = np.random.default_rng(0).uniform(0, 12, 500).astype(np.float32)

    found = quality(height * 0.03 + 0.2, height)

    assert found["spearman"] == pytest.approx(1)
    assert found["auc_tall"] == found["delta1"] == 1
    for name in ("aligned_mae_m", "aligned_rmse_m", "least_mae_m"):
        assert found[name] == pytest.approx(0, abs=1e-4)


def test_depth_upside_down_is_told_by_rank_and_curve_which_no_scale_touches():
    height = np.random.default_rng(0).uniform(0, 12, 500)

    found = quality(-height, height)

    assert found["spearman"] == pytest.approx(-1)
    assert found["auc_tall"] == 0


def test_noise_tells_no_more_than_a_constant():
    rng = np.random.default_rng(0)
    height = rng.exponential(3, 20_000)

    found = quality(rng.uniform(size=20_000), height)

    assert abs(found["spearman"]) < 0.03
    assert found["auc_tall"] == pytest.approx(0.5, abs=0.02)
    for fitted, constant in (("aligned_mae_m", "constant_mae_m"), ("least_mae_m", "median_mae_m")):
        assert found[fitted] == pytest.approx(found[constant], rel=0.01)
    assert found["aligned_rmse_m"] == pytest.approx(found["constant_rmse_m"], rel=0.01)


def test_constants_are_the_mean_and_the_median():
    depth, height = some(500, 0)

    found = quality(depth, height)

    assert found["constant_mae_m"] == pytest.approx(mae(height.mean(), height))
    assert found["constant_rmse_m"] == pytest.approx(height.std())
    assert found["median_mae_m"] == pytest.approx(mae(np.median(height), height))
    assert found["median_mae_m"] < found["constant_mae_m"]


@given(st.integers(2, 60), SEEDS)
def test_aligned_errors_are_those_of_least_squares(count, seed):
    depth, height = some(count, seed)

    found = quality(depth, height)

    terms = np.stack([depth, np.ones(count)], axis=1)
    guess = terms @ np.linalg.lstsq(terms, height, rcond=None)[0]
    assert found["aligned_mae_m"] == pytest.approx(mae(guess, height), abs=1e-9)
    rmse = np.sqrt(((guess - height) ** 2).mean())
    assert found["aligned_rmse_m"] == pytest.approx(rmse, abs=1e-9)
    assert found["aligned_rmse_m"] <= found["constant_rmse_m"] + 1e-9


def least_by_search(depth, height):
    """Return the least mean absolute error: some best line goes through two of the points."""
    best = mae(np.median(height), height)
    for i in range(len(depth)):
        for j in range(i):
            if depth[i] != depth[j]:
                rest = height - (height[i] - height[j]) / (depth[i] - depth[j]) * depth
                best = min(best, mae(np.median(rest), rest))
    return best


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 12).flatmap(
        lambda n: st.tuples(*(arrays(float, n, elements=st.integers(-9, 9)) for _ in range(2)))
    ),
    st.sampled_from([1e-3, 1, 1e3]),
    st.sampled_from([0, 100]),
)
def test_the_least_error_is_the_least_that_a_search_finds(points, scale, shift):
    depth, height = points[0] * scale + shift, points[1]
    if np.ptp(depth) == 0:
        return

    found = quality(depth, height)["least_mae_m"]

    assert found == pytest.approx(least_by_search(depth, height), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 3000), SEEDS, st.sampled_from([0, 0.01, 1, 20]))
def test_the_least_error_is_no_more_than_that_of_least_squares_or_of_any_constant(
    count, seed, noise
):
    depth, height = some(count, seed, noise)
    if np.ptp(depth) == 0:
        return

    found = quality(depth, height)

    # but for the rounding of a perfect fit
    for other in ("aligned_mae_m", "median_mae_m", "constant_mae_m"):
        assert found["least_mae_m"] <= found[other] + 1e-6


def test_the_least_error_is_no_more_than_that_of_least_squares_on_many_pixels_either():
    depth, height = some(250_000, 0, noise=0.5)

    found = quality(depth, height)

    assert found["least_mae_m"] <= found["aligned_mae_m"]


def test_the_least_error_looks_away_from_what_stands_out():
    depth, height = np.arange(40.0), np.arange(40.0)
    height[[3, 20]] = 900

    found = quality(depth, height)

    assert found["least_mae_m"] == pytest.approx((897 + 880) / 40)
    assert found["aligned_mae_m"] > 1.5 * found["least_mae_m"]


def test_delta_is_the_share_of_what_is_tall_that_is_met_within_a_factor():
    # by least squares the guess is the depth itself
    height = np.array([0, 0, 10, 10, 10, 10, 20, 20])
    off = np.array([1, -1, 2.4, -2.4, 2.6, -2.6, 4, -4])

    found = quality(height + off, height)

    slope, shift = np.polyfit(height + off, height, 1)
    guess, truth = (slope * (height + off) + shift)[2:], height[2:]
    alike = (guess < 1.25 * truth) & (guess > truth / 1.25)
    assert 0 < alike.mean() < 1
    assert found["delta1"] == alike.mean()


def test_delta_counts_what_is_guessed_below_ground_as_missed():
    height = np.r_[np.zeros(50), 2, 2, 100]
    depth = np.r_[np.zeros(50), -10, -10, 100]

    assert quality(depth, height)["delta1"] == pytest.approx(1 / 3)


def test_every_class_has_its_pixels_its_rank_and_its_error_under_the_scale_of_all():
    depth, height = some(900, 3)
    labels = np.random.default_rng(0).choice([0, 2, 255], 900)

    found = quality(depth, height, labels, ["roof", "water", "tree"])["classes"]

    slope, shift = np.polyfit(depth, height, 1)
    assert list(found) == ["roof", "tree"]
    for name, index in (("roof", 0), ("tree", 2)):
        here, guess = labels == index, slope * depth + shift
        assert found[name] == pytest.approx(
            {
                "pixels": here.sum(),
                "mean_height_m": height[here].mean(),
                "spearman": spearman(depth[here], height[here]),
                "aligned_mae_m": mae(guess[here], height[here]),
                "aligned_rmse_m": np.sqrt(((guess - height)[here] ** 2).mean()),
            }
        )


def test_a_class_of_one_pixel_or_one_height_has_no_rank():
    labels = np.array([0, 1, 1, 2, 2])

    found = quality([1, 2, 3, 4, 6], [5, 0, 0, 3, 4], labels, "abc")["classes"]

    assert [found[name]["spearman"] for name in "abc"] == [None, None, pytest.approx(1)]


@pytest.mark.parametrize("depth", [[], [1.0], [2.0, 2.0, 2.0]])
def test_depth_without_relief_has_no_measure(depth):
    found = quality(depth, np.arange(len(depth)), classes=["roof"])

    assert found == UNDEFINED | {"classes": {}}
    assert all(found[name] is None for name in UNDEFINED)


def test_what_is_measured_and_what_is_not_defined_have_the_same_names():
    assert list(quality(*some(50, 0))) == list(quality([], []))


def test_flat_ground_has_neither_rank_nor_curve_nor_ratio():
    found = quality([0.1, 0.2, 0.4], np.zeros(3))

    assert found["spearman"] is found["auc_tall"] is found["delta1"] is None
    assert found["constant_mae_m"] == found["median_mae_m"] == 0
    assert found["least_mae_m"] == pytest.approx(0, abs=1e-9)


# --- seams --------------------------------------------------------------------------------------


def test_noise_has_no_seam():
    values = np.random.default_rng(0).standard_normal((600, 600))

    assert seam(values, [150, 300, 450], [150, 300, 450]) == pytest.approx(1, abs=0.05)


def test_steps_at_the_windows_edges_are_a_seam():
    values = np.random.default_rng(0).standard_normal((300, 300))
    values[100:] += 5
    values[:, 200:] -= 5

    assert seam(values, [100], [200]) > 2
    assert seam(values, [50], [50]) < 1.1


def test_a_seam_is_the_ratio_of_mean_steps():
    values = np.tile([0.0, 1, 4, 5], (3, 1))

    # three steps of 3 before column 2; beside it, six of 1 across and eight of 0 down
    assert seam(values, [], [2]) == pytest.approx(3 / (6 / 14))
    assert seam(values.T, [2], []) == seam(values, [], [2])


def test_lines_at_the_edge_of_the_field_or_beyond_do_not_count():
    values = np.random.default_rng(0).standard_normal((9, 12))

    assert seam(values, [0, 4, 9, 40], [0, 5, 12, 40]) == seam(values, [4], [5])


def test_no_line_or_no_step_has_no_seam():
    assert seam(np.random.default_rng(0).standard_normal((9, 9)), [], []) is None
    assert seam(np.random.default_rng(0).standard_normal((9, 9)), [0, 9], [0, 9]) is None
    assert seam(np.ones((9, 9)), [3], [3]) is None
    assert seam(np.full((9, 9), np.nan), [3], [3]) is None
    assert seam(np.ones((1, 1)), [0], [0]) is None


@settings(deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.sets(st.integers(0, 20)),
    st.sets(st.integers(0, 20)),
    st.sets(st.integers(1, 19)),
    st.sampled_from([0, 0.3]),
    SEEDS,
)
def test_a_field_in_pieces_has_the_seam_of_the_whole(
    height, width, rows, columns, cuts, unknown, seed
):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(height, width)).astype(np.float32)
    values[rng.random(values.shape) < unknown] = np.nan
    metric = Seam(sorted(rows), sorted(columns))

    top = 0
    for piece in np.split(values, sorted(cut for cut in cuts if cut < height)):
        metric.look(top, piece)
        top += len(piece)

    whole = seam(values, sorted(rows), sorted(columns))
    assert metric.value() == (whole if whole is None else pytest.approx(whole))


def test_steps_from_and_to_what_is_unknown_do_not_count():
    values = np.tile([0.0, 1, 4, 5, 5.5], (4, 1))
    values[2, 2] = np.nan

    # across column 2 three steps of 3; off it eleven across, and fourteen of 0 down
    beside = (4 * 1 + 3 * 1 + 4 * 0.5) / (11 + 13)
    assert seam(values, [], [2]) == pytest.approx(3 / beside)
