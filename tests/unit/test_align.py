import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from pipeline_steps.rasters.align import (
    Overlaps,
    align,
    common,
    moved,
    overlapping,
    overlaps,
    statistics,
)
from pipeline_steps.rasters.blending import hann
from pipeline_steps.rasters.windows import Window, grid

SIZE = 64
CELL = 8


def field(height=240, width=290, seed=0, smooth=6):
    noise = np.random.default_rng(seed).standard_normal((height, width))
    smoothed = gaussian_filter(noise, smooth)
    return smoothed / smoothed.std()


def windows_of(height=240, width=290, size=SIZE, overlap=0.25):
    return list(itertools.chain.from_iterable(grid(height, width, size, overlap)))


def disturbances(count, seed=0):
    """Return random scales from 0.5 to 2, and shifts."""
    rng = np.random.default_rng([seed, count])
    return np.exp(rng.uniform(np.log(0.5), np.log(2), count)), rng.uniform(-3, 3, count)


def disturbed(ground, windows, seed=0, noise=0.0):
    scales, shifts = disturbances(len(windows), seed)
    return [
        ((ground[w.slices] + noise * field(SIZE, SIZE, k + 1, 4)) * scale + shift).astype("f4")
        for k, (w, scale, shift) in enumerate(zip(windows, scales, shifts, strict=True))
    ]


def untouched(count):
    return np.tile([1.0, 0.0], (count, 1))


def without(found, *windows):
    """Return what pairs say in which none of ``windows`` takes part."""
    keep = ~np.isin(found.pairs, windows).any(axis=1)
    return Overlaps(
        *(part[keep] for part in (found.pairs, found.size, found.mean, found.sd, found.correlation))
    )


def drift(fit, count, seed=0):
    """Return by how much scales (as logarithms) and heights of ``fit`` differ from the truth."""
    scales, shifts = disturbances(count, seed)
    logs = np.log(fit[:, 0] * scales)
    heights = fit[:, 0] * shifts + fit[:, 1]
    return float(np.std(logs)), float(np.std(heights))


def seen_coarsely(windows, depths, view):
    """Compare windows with a view of the whole scene, whose pixels are means over cells."""
    facts = []
    for window, depth in zip(windows, depths, strict=True):
        top, left, cells = window.y // CELL, window.x // CELL, SIZE // CELL
        means = depth.reshape(cells, CELL, cells, CELL).mean((1, 3))
        part = view[top : top + cells, left : left + cells]
        facts.append(statistics(means, part, np.ones(part.shape)))
    return Overlaps.of([(number, len(windows)) for number in range(len(windows))], facts)


def means_over_cells(ground):
    rows, columns = ground.shape[0] // CELL, ground.shape[1] // CELL
    return ground.reshape(rows, CELL, columns, CELL).mean((1, 3))


# --- what windows share -----------------------------------------------------------------------


def test_overlapping_finds_every_pair_that_shares_pixels_once():
    windows = windows_of()

    together = [
        (i, j)
        for i, j in itertools.combinations(range(len(windows)), 2)
        if abs(windows[i].y - windows[j].y) < SIZE and abs(windows[i].x - windows[j].x) < SIZE
    ]
    assert sorted(overlapping(windows)) == together


def test_common_is_the_same_ground_seen_from_both_windows():
    ground = np.arange(240 * 290).reshape(240, 290)
    windows = windows_of()

    for i, j in overlapping(windows):
        shared = common(windows[i], windows[j])
        parts = [ground[w.slices][moved(shared, w).slices] for w in (windows[i], windows[j])]

        assert parts[0].shape == (shared.height, shared.width) and parts[0].size > 0
        for part in parts:
            np.testing.assert_array_equal(part, ground[shared.slices])


@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_statistics_are_weighted_moments(count, seed):
    rng = np.random.default_rng(seed)
    a, b, weights = rng.normal(size=(3, 2, count))
    weights = np.abs(weights)

    total, *facts = statistics(a, b, weights)

    share = weights / weights.sum()
    means = (share * a).sum(), (share * b).sum()
    cov = np.cov(a.ravel(), b.ravel(), bias=True, aweights=weights.ravel())
    sds = np.sqrt(np.diag(cov))
    assert total == pytest.approx(weights.sum())
    assert facts == pytest.approx([*means, *sds, cov[0, 1] / sds.prod()])


def test_statistics_of_nothing_are_0():
    empty = np.zeros((0, 4))

    assert not statistics(empty, empty, empty).any()
    assert not statistics(np.ones((2, 2)), np.ones((2, 2)), np.zeros((2, 2))).any()


@pytest.mark.parametrize("value", [0, 4.1, -1e-5, 7e6])
def test_a_constant_has_no_standard_deviation_whatever_rounding_makes_of_it(value):
    flat = np.full((SIZE, SIZE), value, np.float32)

    facts = statistics(flat, field(SIZE, SIZE), hann(SIZE))

    assert facts[3] == 0 and facts[4] > 0 and facts[5] == 0


def test_the_middle_of_an_overlap_counts_most():
    windows = [Window(0, 0, 8, 8), Window(0, 4, 8, 8)]
    depths = [np.zeros((8, 8)), np.zeros((8, 8))]
    depths[0][:, 5:7] = 1

    found = overlaps(windows, depths)

    weights = hann(8)[:, 4:] * hann(8)[:, :4]
    assert found.size == pytest.approx([weights.sum()])
    assert found.mean[0] == pytest.approx([weights[:, 1:3].sum() / weights.sum(), 0])
    assert found.mean[0, 0] > 0.7


def test_pixels_that_are_not_valid_do_not_count():
    ground, windows = field(), windows_of()
    valid = field(seed=5) > -0.5
    spoilt = np.where(valid, ground, 1e6)

    found = overlaps(windows, [spoilt[w.slices] for w in windows], lambda w: valid[w.slices])

    sound = overlaps(windows, [ground[w.slices] for w in windows], lambda w: valid[w.slices])
    np.testing.assert_allclose(found.mean, sound.mean)
    np.testing.assert_allclose(found.sd, sound.sd)
    assert found.disagreement(untouched(len(windows))) == pytest.approx(0, abs=1e-6)
    assert found.size.sum() < overlaps(windows, [ground[w.slices] for w in windows]).size.sum()


def test_overlaps_that_share_no_valid_pixel_are_left_out():
    windows = [Window(0, x, 8, 8) for x in (0, 6, 12)]
    valid = np.ones((8, 20), bool)
    valid[:, 6:8] = False

    found = overlaps(windows, [np.ones((8, 8))] * 3, lambda w: valid[w.slices])

    assert found.pairs.tolist() == [[1, 2]]


@pytest.mark.parametrize("kept", [lambda w: True, lambda w: w.x + w.y > 200])
def test_each_window_is_read_about_once_whatever_the_outline_of_the_data(kept):
    """A turned orthophoto has a single window in its first row."""
    windows = [window for window in windows_of(480, 480) if kept(window)]
    asked = Counter()

    class Depths(list):
        def __getitem__(self, number):
            asked[number] += 1
            return np.ones((SIZE, SIZE))

    overlaps(windows, Depths())

    assert set(asked) == set(range(len(windows)))
    assert asked.most_common(1)[0][1] == 1


def test_disagreement_is_the_root_mean_square_difference_in_standard_deviations():
    rng = np.random.default_rng(0)
    windows = [Window(0, 0, 6, 6), Window(0, 3, 6, 6)]
    depths = rng.normal(size=(2, 6, 6))
    fit = np.array([[1, 0.5], [3, -0.5]])

    found = overlaps(windows, depths).disagreement(fit)

    a, b = depths[0][:, 3:] + 0.5, depths[1][:, :3] * 3 - 0.5
    weights = hann(6)[:, 3:] * hann(6)[:, :3]
    share = weights / weights.sum()
    variances = [(share * (part - (share * part).sum()) ** 2).sum() for part in (a, b)]
    assert found == pytest.approx(np.sqrt((share * (a - b) ** 2).sum() / np.mean(variances)))


# --- one field again --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_windows_of_one_field_agree_again_after_random_scales_and_shifts(seed):
    windows = windows_of()
    found = overlaps(windows, disturbed(field(seed=seed), windows, seed))

    fit = align(len(windows), found)

    before = found.disagreement(untouched(len(windows)))
    assert before > 0.5
    assert found.disagreement(fit) < 0.001 * before
    assert drift(fit, len(windows), seed) == pytest.approx((0, 0), abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_windows_that_differ_in_what_they_see_agree_as_well_as_undisturbed(seed):
    ground, windows = field(seed=seed), windows_of()
    scales, shifts = disturbances(len(windows), seed)
    depths = disturbed(ground, windows, seed, noise=0.1)
    plain = [(d - b) / a for d, a, b in zip(depths, scales, shifts, strict=True)]
    found = overlaps(windows, depths)

    fit = align(len(windows), found)

    own = overlaps(windows, plain).disagreement(untouched(len(windows)))
    assert 0.05 < own < 0.5
    assert found.disagreement(fit) < 1.05 * own
    assert max(drift(fit, len(windows), seed)) < 0.1


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 0.5, 3]))
def test_scales_are_positive_whatever_windows_say(seed, contradiction):
    rng, windows = np.random.default_rng(seed), windows_of(130, 190)
    ground = field(130, 190, seed)
    depths = [
        ground[w.slices] * rng.choice([-1, 0, 1e-3, 1, 1e3])
        + contradiction * rng.normal(size=(SIZE, SIZE))
        for w in windows
    ]

    fit = align(len(windows), overlaps(windows, depths))

    assert np.isfinite(fit).all() and (fit[:, 0] > 0).all()


def test_windows_that_already_agree_stay_as_they_are():
    ground, windows = field(), windows_of()

    fit = align(len(windows), overlaps(windows, [ground[w.slices] for w in windows]))

    np.testing.assert_allclose(fit, untouched(len(windows)), atol=1e-9)


@pytest.mark.parametrize("is_anchored", [False, True])
def test_the_geometric_mean_of_scales_is_1_and_the_mean_of_shifts_0(is_anchored):
    windows = windows_of(256, 256, SIZE, 0.25)
    ground = field(256, 256)
    depths = disturbed(ground, windows)
    view = 50 * means_over_cells(ground) + 700
    coarse = seen_coarsely(windows, depths, view) if is_anchored else None

    fit = align(len(windows), overlaps(windows, depths), coarse)

    assert np.log(fit[:, 0]).mean() == pytest.approx(0, abs=1e-6)
    assert fit[:, 1].mean() == pytest.approx(0, abs=1e-6)


# --- little or nothing to go by -----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_flat_windows_keep_their_scale_and_come_to_one_height(seed):
    windows = windows_of()
    heights = np.random.default_rng(seed).uniform(-9, 9, len(windows)).astype(np.float32)

    found = overlaps(windows, [np.full((SIZE, SIZE), height) for height in heights])
    fit = align(len(windows), found)

    np.testing.assert_array_equal(fit[:, 0], 1)
    assert np.ptp(heights + fit[:, 1]) < 1e-4


def test_flat_windows_of_one_height_stay_at_scale_1_and_shift_0():
    windows = windows_of()

    found = overlaps(windows, [np.full((SIZE, SIZE), 4.1, np.float32)] * len(windows))

    np.testing.assert_allclose(align(len(windows), found), untouched(len(windows)), atol=1e-12)


def test_a_flat_window_among_others_keeps_its_scale_and_spoils_nothing():
    windows = windows_of()
    depths = disturbed(field(), windows)
    depths[8] = np.zeros((SIZE, SIZE))
    found = overlaps(windows, depths)

    fit = align(len(windows), found)

    assert fit[8, 0] == 1
    assert without(found, 8).disagreement(fit) < 0.001


@pytest.mark.parametrize("noise", [0, 1e-3])
def test_an_island_in_a_flat_sea_comes_together_and_the_sea_is_level(noise):
    windows = windows_of()
    away = np.hypot(*(np.mgrid[:240, :290] - 120))
    _, shifts = disturbances(len(windows), 2)
    ground = np.where(away < 50, field(), 0)
    depths = disturbed(ground, windows, 2, noise)
    found = overlaps(windows, depths)

    fit = align(len(windows), found)

    before = found.disagreement(untouched(len(windows)))
    assert found.disagreement(fit) < 0.001 * before
    sea = [k for k, w in enumerate(windows) if away[w.slices].min() > 50]
    assert len(sea) > 10
    assert np.ptp((fit[:, 0] * shifts + fit[:, 1])[sea]) < 0.01


@pytest.mark.parametrize(
    "windows", [[], [Window(0, 0, 64, 64)], [Window(0, 0, 64, 64), Window(0, 64, 64, 64)]]
)
def test_windows_that_nothing_ties_stay_at_scale_1_and_shift_0(windows):
    found = overlaps(windows, [field()[w.slices] * 2 + 5 for w in windows])

    fit = align(len(windows), found)

    np.testing.assert_array_equal(fit, untouched(len(windows)))
    assert found.disagreement(fit) == 0


def test_parts_of_a_scene_that_nothing_ties_are_each_put_together():
    """As two islands of valid pixels."""
    windows = [Window(0, x, SIZE, SIZE) for x in (0, 48, 96, 300, 348, 396)]
    found = overlaps(windows, disturbed(field(SIZE, 500), windows))

    fit = align(len(windows), found)

    assert found.disagreement(fit) < 1e-3


# --- robustness ---------------------------------------------------------------------------------

GARBAGE = {
    "noise": lambda depth: np.random.default_rng(0).normal(size=depth.shape),
    "another place": lambda depth: field(SIZE, SIZE, 77),
    "upside down": lambda depth: -depth,
    "a hundredfold": lambda depth: 100 * field(SIZE, SIZE, 77),
    "far out": lambda depth: 1e5 * np.random.default_rng(0).normal(size=depth.shape),
}


@pytest.mark.parametrize("what", GARBAGE)
@pytest.mark.parametrize("which", [0, 8])
def test_one_window_of_garbage_does_not_spoil_the_others(what, which):
    windows = windows_of()
    depths = disturbed(field(), windows)
    depths[which] = GARBAGE[what](depths[which])
    found = overlaps(windows, depths)

    fit = align(len(windows), found)

    others = without(found, which)
    assert others.disagreement(fit) < 0.002 * others.disagreement(untouched(len(windows)))


@pytest.mark.parametrize("factor", [1, 10, 1000])
def test_a_window_that_is_wrong_on_one_side_only_does_not_spoil_the_others(factor):
    """It is held on the other side, next to a corner of the scene that little else holds."""
    windows = windows_of()
    depths = disturbed(field(), windows, 1)
    depths[7] = depths[7].copy()
    depths[7][:, -16:] = factor * field(SIZE, 16, 77)
    found = overlaps(windows, depths)

    fit = align(len(windows), found)

    others = without(found, 7)
    assert others.disagreement(fit) < 0.002 * others.disagreement(untouched(len(windows)))


@pytest.mark.parametrize("factor", [-1, 0, 5, 100])
def test_one_corrupted_overlap_does_not_spoil_the_others(factor):
    windows = windows_of()
    depths = disturbed(field(), windows)
    depths[8] = depths[8].copy()
    # the middle of its right edge, which no third window sees
    depths[8][16:48, -16:] = factor * field(32, 16, 77, 3)
    found = overlaps(windows, depths)

    fit = align(len(windows), found)

    spoilt = (found.pairs == [8, 9]).all(axis=1)
    sound = Overlaps(*(getattr(found, n)[~spoilt] for n in vars(found)))
    assert spoilt.sum() == 1
    assert sound.disagreement(fit) < 0.005


# --- a coarse view ------------------------------------------------------------------------------


def scene(rows, columns, seed=0, noise=0.1):
    """Return windows, their noisy and disturbed depths, and the truth as a coarse view sees it."""
    height, width = 48 * (rows - 1) + SIZE, 48 * (columns - 1) + SIZE
    ground, windows = field(height, width, seed), windows_of(height, width)
    assert len(windows) == rows * columns
    return windows, disturbed(ground, windows, seed, noise), means_over_cells(ground)


def both(windows, depths, view):
    """Align without and with a coarse view."""
    found = overlaps(windows, depths)
    coarse = seen_coarsely(windows, depths, view)
    return found, align(len(windows), found), align(len(windows), found, coarse)


@pytest.mark.parametrize(
    ("rows", "columns", "seeds", "gain"),
    [(1, 60, 4, (0.7, 0.9)), (60, 1, 4, (0.7, 0.95)), (20, 20, 2, (0.9, 0.97))],
)
def test_a_coarse_view_keeps_scales_and_heights_from_drifting(rows, columns, seeds, gain):
    before, after = np.zeros((2, 2))
    for seed in range(seeds):
        windows, depths, truth = scene(rows, columns, seed, noise=0.3)
        view = 3 * (truth + 0.1 * np.random.default_rng(1).normal(size=truth.shape)) - 1

        found, alone, anchored = both(windows, depths, view)

        before += drift(alone, len(windows), seed)
        after += drift(anchored, len(windows), seed)
        # nor do the overlaps pay much for it, though a chain's have none but themselves to please
        assert found.disagreement(anchored) < 1.1 * found.disagreement(alone)

    assert (after < np.array(gain) * before).all()


@pytest.mark.parametrize(("rows", "columns"), [(1, 60), (12, 12)])
@pytest.mark.parametrize("error", [0.3, 3])
def test_a_coarse_view_has_no_say_where_overlaps_agree_exactly(rows, columns, error):
    windows, depths, truth = scene(rows, columns, noise=0)
    view = truth + error * np.random.default_rng(1).normal(size=truth.shape)

    found, _, anchored = both(windows, depths, view)

    assert found.disagreement(anchored) < 1e-3
    assert drift(anchored, len(windows)) == pytest.approx((0, 0), abs=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1000])
def test_the_scale_of_a_coarse_view_does_not_matter(scale):
    windows, depths, truth = scene(1, 60)

    _, _, anchored = both(windows, depths, truth)
    _, _, found = both(windows, depths, scale * truth + 7)

    np.testing.assert_allclose(found, anchored, rtol=1e-3, atol=1e-3)


def quarters(truth, rng):
    """Return a view that is off by half of the height in whole quarters of the scene."""
    error = gaussian_filter(rng.normal(size=truth.shape), max(truth.shape) / 12, mode="nearest")
    return truth * np.exp(0.35 * error / error.std()) + 0.5 * error / error.std()


NONSENSE = {
    "noise": lambda truth, rng: rng.normal(size=truth.shape),
    "smooth": lambda truth, rng: gaussian_filter(rng.normal(size=truth.shape), 3),
    "upside down": lambda truth, rng: -truth,
    "flat": lambda truth, rng: np.full(truth.shape, 2.5),
    "wrong by quarters": quarters,
}


@pytest.mark.parametrize("what", NONSENSE)
@pytest.mark.parametrize(("rows", "columns"), [(1, 60), (20, 20)])
def test_a_coarse_view_that_is_nonsense_does_little_harm(what, rows, columns):
    windows, depths, truth = scene(rows, columns)
    view = NONSENSE[what](truth, np.random.default_rng(1))

    found, alone, anchored = both(windows, depths, view)

    before, after = (drift(fit, len(windows)) for fit in (alone, anchored))
    assert after[0] < 1.2 * before[0] and after[1] < 1.2 * before[1]
    assert found.disagreement(anchored) < 1.01 * found.disagreement(alone)


def test_a_coarse_view_ties_windows_that_share_nothing_else():
    """As islands of valid pixels do, or windows without overlap."""
    windows = [Window(0, x, SIZE, SIZE) for x in range(0, 640, SIZE)]
    ground = field(SIZE, 640)
    depths = disturbed(ground, windows)

    fit = align(
        len(windows),
        overlaps(windows, depths),
        seen_coarsely(windows, depths, means_over_cells(ground)),
    )

    assert drift(fit, len(windows)) == pytest.approx((0, 0), abs=1e-3)
