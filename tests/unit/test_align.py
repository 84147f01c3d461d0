import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pipeline_steps.rasters.align import align, disagreement, overlapping, shared
from pipeline_steps.rasters.windows import Window, grid

NOTHING_DONE = (1.0, 0.0)


def field(height=150, width=190, seed=0):
    noise = np.random.default_rng(seed).standard_normal((height, width))
    return gaussian_filter(noise, 6) * 30


def windows_of(height=150, width=190, size=64, overlap=0.25):
    return list(itertools.chain.from_iterable(grid(height, width, size, overlap)))


def untouched(windows):
    return np.tile(NOTHING_DONE, (len(windows), 1))


def test_overlapping_finds_every_pair_that_shares_pixels_once():
    windows = windows_of()

    together = [
        (i, j)
        for i, j in itertools.combinations(range(len(windows)), 2)
        if abs(windows[i].y - windows[j].y) < 64 and abs(windows[i].x - windows[j].x) < 64
    ]
    assert sorted(overlapping(windows)) == together


def test_shared_is_the_same_ground_seen_from_both_windows():
    ground = np.arange(150 * 190).reshape(150, 190)
    windows = windows_of()

    for i, j in overlapping(windows):
        part_i, part_j = shared(windows[i], windows[j])
        in_i, in_j = ground[windows[i].slices][part_i], ground[windows[j].slices][part_j]
        assert in_i.size > 0
        np.testing.assert_array_equal(in_i, in_j)


@pytest.mark.parametrize("seed", range(5))
def test_windows_of_one_field_agree_again_after_random_scales_and_shifts(seed):
    rng = np.random.default_rng(seed)
    ground, windows = field(seed=seed), windows_of()
    scales = np.exp(rng.uniform(np.log(0.5), np.log(2), len(windows)))
    shifts = rng.uniform(-3, 3, len(windows))
    depths = [
        (ground[w.slices] * scale + shift).astype(np.float32)
        for w, scale, shift in zip(windows, scales, shifts, strict=True)
    ]

    fit = align(windows, depths)

    before = disagreement(windows, depths, untouched(windows))
    assert before > 0.5
    assert disagreement(windows, depths, fit) < 0.02 * before


def test_the_aligned_field_keeps_the_relief_of_the_truth():
    rng = np.random.default_rng(7)
    ground, windows = field(seed=7), windows_of()
    depths = [ground[w.slices] * rng.uniform(0.5, 2) + rng.uniform(-3, 3) for w in windows]

    fit = align(windows, depths)

    aligned = [depth * scale + shift for depth, (scale, shift) in zip(depths, fit, strict=True)]
    truth = np.concatenate([ground[w.slices].ravel() for w in windows])
    assert np.corrcoef(np.concatenate([a.ravel() for a in aligned]), truth)[0, 1] > 0.99


def test_windows_that_already_agree_stay_as_they_are():
    ground, windows = field(), windows_of()

    fit = align(windows, [ground[w.slices] for w in windows])

    np.testing.assert_allclose(fit, untouched(windows), atol=1e-9)


def test_scales_stay_positive_where_windows_contradict_each_other():
    rng = np.random.default_rng(3)
    ground, windows = field(), windows_of()
    depths = [ground[w.slices] * rng.choice([-1, 1]) for w in windows]

    fit = align(windows, depths)

    assert np.isfinite(fit).all() and (fit[:, 0] > 0).all()


def test_flat_windows_stay_at_scale_1_and_shift_0():
    windows = windows_of()

    fit = align(windows, [np.full((64, 64), 4.0, np.float32) for _ in windows])

    np.testing.assert_allclose(fit, untouched(windows), atol=1e-12)


def test_a_flat_window_among_others_keeps_its_scale():
    ground, windows = field(), windows_of()
    depths = [ground[w.slices] for w in windows]
    depths[4] = np.zeros((64, 64))

    fit = align(windows, depths)

    assert fit[4, 0] == 1
    assert np.isfinite(fit).all()


@pytest.mark.parametrize(
    "windows", [[Window(0, 0, 64, 64)], [Window(0, 0, 64, 64), Window(0, 64, 64, 64)]]
)
def test_windows_that_nothing_ties_stay_at_scale_1_and_shift_0(windows):
    depths = [field()[w.slices] * 2 + 5 for w in windows]

    fit = align(windows, depths)

    np.testing.assert_array_equal(fit, untouched(windows))
    assert disagreement(windows, depths, fit) == 0


def test_disagreement_is_the_root_mean_square_difference_under_the_fit():
    windows = [Window(0, 0, 2, 4), Window(0, 2, 2, 4)]
    depths = [np.zeros((2, 4)), np.ones((2, 4))]

    assert disagreement(windows, depths, untouched(windows)) == 1
    assert disagreement(windows, depths, np.array([[1, 0.5], [3, 0.5]])) == 3
