import itertools

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from pipeline_steps.rasters.splits import (
    PARTS,
    UNUSED,
    Division,
    assign,
    block_counts,
    edges,
    name_of,
)
from pipeline_steps.rasters.windows import Window, blocks


def whole(division):
    return Window(0, 0, *division.shape)


def random_division(seed, folds=None):
    """Return a raster of odd size in blocks with random codes, some of them unused."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 120, 2)
    rows, columns = rng.integers(1, 6, 2)
    codes = rng.choice([*range(folds or 3), UNUSED], (rows, columns))
    reach = int(rng.integers(0, min(height // rows, width // columns) // 4 + 1))
    return Division(int(height), int(width), codes, reach, folds)


def apart(one, other):
    """Return the least distance between the pixels of two masks, infinite if one is empty."""
    if not one.any() or not other.any():
        return np.inf
    return distance_transform_edt(~one)[other].min()


@pytest.mark.parametrize("seed", range(60))
def test_parts_are_at_least_twice_the_reach_apart(seed):
    division = random_division(seed)
    masks = [division.mask(whole(division), part) for part in PARTS]

    for one, other in itertools.combinations(masks, 2):
        assert not (one & other).any()
        assert apart(one, other) >= 2 * division.reach


@pytest.mark.parametrize("seed", range(60))
def test_in_every_fold_what_is_learned_is_at_least_twice_the_reach_from_what_is_tested(seed):
    division = random_division(seed, folds=4)
    for fold in range(4):
        train, test = (division.mask(whole(division), part, fold) for part in ("train", "test"))
        assert not (train & test).any()
        assert apart(train, test) >= 2 * division.reach


def test_parts_that_meet_at_a_corner_between_unused_blocks_are_apart_too():
    division = Division(80, 80, [[0, UNUSED], [UNUSED, 2]], 8, None)

    train, test = (division.mask(whole(division), part) for part in ("train", "test"))

    assert apart(train, test) >= 16


@pytest.mark.parametrize("folds", [None, 3])
@pytest.mark.parametrize("seed", range(10))
def test_a_mask_drawn_in_windows_is_the_mask_drawn_at_once(seed, folds):
    division = random_division(seed, folds)
    for part, fold in itertools.product(PARTS, [None] if folds is None else range(folds)):
        at_once, drawn = division.mask(whole(division), part, fold), np.zeros(division.shape, bool)
        for window in blocks(*division.shape, 17):
            drawn[window.slices] = division.mask(window, part, fold)
        assert np.array_equal(drawn, at_once)


def test_without_reach_every_pixel_of_a_used_block_is_in_its_part():
    division = Division(30, 40, [[0, 1], [2, UNUSED]], 0, None)

    masks = {part: division.mask(whole(division), part) for part in PARTS}

    assert masks["train"].sum() == masks["val"].sum() == masks["test"].sum() == 15 * 20
    assert masks["train"][:15, :20].all() and masks["val"][:15, 20:].all()
    assert not any(mask[15:, 20:].any() for mask in masks.values())


def test_blocks_of_one_part_have_no_buffer_between_them_nor_at_the_raster_s_edge():
    division = Division(40, 40, [[0, 0], [0, 0]], 5, None)

    assert division.mask(whole(division), "train").all()


def test_an_unused_block_takes_nothing_from_its_neighbours():
    division = Division(40, 40, [[0, UNUSED]], 5, None)

    assert division.mask(whole(division), "train")[:, :20].all()


def test_every_pixel_outside_the_buffers_is_tested_in_exactly_one_fold():
    codes = np.random.default_rng(3).integers(0, 4, (4, 5))
    division = Division(80, 100, codes, 3, 4)

    tested = sum(division.mask(whole(division), "test", fold).astype(int) for fold in range(4))

    block = np.repeat(np.repeat(codes, 20, 0), 20, 1)
    edge = [distance_transform_edt(block == fold) for fold in range(4)]
    inside = np.max(edge, axis=0) > np.ceil(3 * np.sqrt(2)) * np.sqrt(2) + 1
    assert (tested <= 1).all()
    assert (tested[inside] == 1).all()


def test_in_a_fold_all_other_folds_are_learned_from_and_nothing_is_watched():
    division = Division(20, 60, [[0, 1, 2]], 0, 3)

    train, val = (division.mask(whole(division), part, 1) for part in ("train", "val"))

    assert train[:, :20].all() and not train[:, 20:40].any() and train[:, 40:].all()
    assert not val.any()


@pytest.mark.parametrize("length, count", [(10, 3), (7, 7), (100, 6), (5, 1)])
def test_edges_cover_a_length_in_blocks_that_differ_by_one_pixel_at_most(length, count):
    ends = edges(length, count)

    assert (ends[0], ends[-1], len(ends)) == (0, length, count + 1)
    assert np.ptp(np.diff(ends)) <= 1


@pytest.mark.parametrize(
    "height, width, size, counts",
    [
        (1000, 500, 100, (10, 5)),
        (149, 151, 100, (1, 2)),
        (30, 30, 100, (1, 1)),
        (64, 64, 0.5, (128, 128)),
    ],
)
def test_blocks_are_about_as_large_as_asked_for_and_one_at_least(height, width, size, counts):
    assert block_counts(height, width, size) == counts


@pytest.mark.parametrize("height, width", [(149, 700), (151, 350), (249, 251), (1050, 160)])
def test_a_block_is_never_smaller_than_twice_the_buffer_that_may_go_with_it(height, width):
    rows, columns = block_counts(height, width, 100)

    for length, count in ((height, rows), (width, columns)):
        if count > 1:
            assert np.diff(edges(length, count)).min() >= 50


def random_counts(seed=0, block_count=120, class_count=5):
    """Return labelled pixels of blocks in which each class is frequent in some and rare in most."""
    rng = np.random.default_rng(seed)
    return rng.gamma(0.2, 1000, (block_count, class_count)).astype(np.int64)


@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("shares", [(0.6, 0.2, 0.2), (0.8, 0.0, 0.2), (0.5, 0.5, 0.0)])
def test_parts_get_their_shares_of_the_labelled_pixels(shares, stratify):
    counts = random_counts()

    codes = assign(counts, shares, stratify, seed=0)

    found = [counts[codes == part].sum() / counts.sum() for part in range(3)]
    assert found == pytest.approx(shares, abs=0.03)
    assert all((codes == part).any() == bool(share) for part, share in enumerate(shares))


def spread(codes, counts, shares):
    """Return how far classes are from their shares at worst, in the mean."""
    found = np.array([counts[codes == part].sum(axis=0) for part in range(3)]) / counts.sum(axis=0)
    return abs(found / np.array(shares)[:, None] - 1).max(axis=0).mean()


def test_stratified_parts_have_the_classes_more_evenly():
    shares = (0.6, 0.2, 0.2)
    found = {True: [], False: []}
    for seed in range(5):
        counts = random_counts(seed, block_count=40)
        for stratify, spreads in found.items():
            spreads.append(spread(assign(counts, shares, stratify, seed), counts, shares))

    assert all(a < b for a, b in zip(found[True], found[False], strict=True))
    assert np.mean(found[True]) < np.mean(found[False]) / 1.5


def test_a_block_without_a_label_is_unused_and_every_other_is_used():
    counts = random_counts()
    counts[::3] = 0

    codes = assign(counts, (0.6, 0.2, 0.2), True, seed=0)

    assert ((codes == UNUSED) == (counts.sum(axis=1) == 0)).all()


def test_without_any_label_all_blocks_are_unused():
    codes = assign(np.zeros((5, 3), np.int64), (0.6, 0.2, 0.2), True, seed=0)

    assert codes.tolist() == [UNUSED] * 5


def test_a_class_that_nowhere_stands_does_no_harm():
    counts = np.insert(random_counts(), 2, 0, axis=1)

    assert set(assign(counts, (0.5, 0.25, 0.25), True, seed=0)) == {0, 1, 2}


@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("number", [3, 4, 5])
def test_few_blocks_leave_no_part_empty(number, stratify):
    counts = random_counts(seed=1, block_count=number)
    counts += 1

    assert set(assign(counts, (0.9, 0.05, 0.05), stratify, seed=0)) == {0, 1, 2}


def test_folds_are_as_large_as_one_another():
    counts = random_counts()

    codes = assign(counts, [0.2] * 5, True, seed=0)

    sizes = [counts[codes == fold].sum() / counts.sum() for fold in range(5)]
    assert sizes == pytest.approx([0.2] * 5, abs=0.03)


def test_the_same_seed_assigns_the_same_and_another_one_differently():
    counts, shares = random_counts(), (0.6, 0.2, 0.2)

    once, twice, other = (assign(counts, shares, True, seed) for seed in (4, 4, 5))

    assert np.array_equal(once, twice)
    assert not np.array_equal(once, other)


def test_a_part_is_called_by_its_fold_where_there_is_one():
    assert (name_of("train", None), name_of("test", 0)) == ("train", "test-0")
