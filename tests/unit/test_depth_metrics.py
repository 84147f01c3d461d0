import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline_steps.metrics.depth import height_quality, seam


@pytest.mark.parametrize("levels", [3, 10, 10_000])
def test_area_under_the_curve_agrees_with_scikit_learn_with_ties(levels):
    rng = np.random.default_rng(levels)
    height = rng.uniform(0, 3, 400)
    depth = np.round((height + rng.normal(0, 1, 400)) * levels / 10).astype(np.float32)

    found = height_quality(depth, height)["auc_tall"]

    assert found == pytest.approx(roc_auc_score(height > 1, depth))


def test_depth_that_is_height_but_for_scale_and_shift_is_perfect():
    height = np.random.default_rng(0).uniform(0, 12, 500).astype(np.float32)

    found = height_quality(height * 0.03 + 0.2, height)

    assert found["spearman"] == pytest.approx(1)
    assert found["aligned_mae_m"] == pytest.approx(0, abs=1e-4)
    assert found["auc_tall"] == 1


def test_depth_upside_down_is_told_by_rank_and_curve():
    height = np.random.default_rng(0).uniform(0, 12, 500)

    found = height_quality(-height, height)

    assert found["spearman"] == pytest.approx(-1)
    assert found["auc_tall"] == 0


def test_noise_tells_no_more_than_a_constant():
    rng = np.random.default_rng(0)
    height = rng.exponential(3, 20_000)

    found = height_quality(rng.uniform(size=20_000), height)

    assert abs(found["spearman"]) < 0.03
    assert found["auc_tall"] == pytest.approx(0.5, abs=0.02)
    assert found["constant_mae_m"] == pytest.approx(np.abs(height - np.median(height)).mean())
    assert found["aligned_mae_m"] >= found["constant_mae_m"]


@pytest.mark.parametrize("depth", [[], [1.0], [2.0, 2.0, 2.0]])
def test_depth_without_relief_has_no_measure(depth):
    found = height_quality(np.array(depth), np.arange(len(depth), dtype=float))

    assert found == dict.fromkeys(("spearman", "aligned_mae_m", "constant_mae_m", "auc_tall"))


def test_flat_ground_has_neither_rank_nor_curve():
    found = height_quality(np.array([0.1, 0.2, 0.4]), np.zeros(3))

    assert found["spearman"] is None and found["auc_tall"] is None
    assert found["constant_mae_m"] == 0


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

    # the step before column 2 is 3; beside it, two of 1 across and two of 0 down
    assert seam(values, [], [2]) == pytest.approx(3 / ((1 + 1 + 0 + 0) / 4))


def test_no_line_or_no_step_has_no_seam():
    assert seam(np.random.default_rng(0).standard_normal((9, 9)), [], []) is None
    assert seam(np.ones((9, 9)), [3], [3]) is None
