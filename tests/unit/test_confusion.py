import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torchmetrics.functional.classification import (
    multiclass_cohen_kappa,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

from pipeline_steps.metrics.confusion import merged, scores
from pipeline_steps.metrics.counting import Counts, Seen

PUBLISHED = Path(__file__).parents[3] / "shared/data/metrics/published_confusion.json"
HUGE = 2**33


def published(name):
    if not PUBLISHED.is_file():
        pytest.skip(f"{PUBLISHED} is not there")
    case = next(c for c in json.loads(PUBLISHED.read_text()) if c["name"] == name)
    return scores(np.array(case["truth_by_row"])), case["published"]


def exact_kappa(matrix):
    n = sum(map(sum, matrix))
    agreed = Fraction(sum(matrix[i][i] for i in range(len(matrix))), n)
    expected = sum(
        Fraction(sum(row) * sum(r[i] for r in matrix), n * n) for i, row in enumerate(matrix)
    )
    return float((agreed - expected) / (1 - expected))


def confusion_matrix(truth, guess, classes):
    """Count as ``score`` does, of one kind of ground."""
    truth, guess = np.asarray(truth, np.uint8), np.asarray(guess, np.uint8)
    return Counts(1, classes).add(Seen(truth, guess, np.zeros_like(truth), None, None))


def test_counts_truth_by_row():
    truth = np.array([[0, 0, 1], [2, 2, 2]], np.uint8)
    guess = np.array([[0, 1, 1], [0, 2, 2]], np.uint8)

    matrix = confusion_matrix(truth, guess, 3)

    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert matrix.dtype == np.int64


@pytest.mark.parametrize("kinds", [1, 80])
def test_many_classes_and_kinds_in_bytes_do_not_overflow(kinds):
    truth, ground = np.arange(255, dtype=np.uint8), np.arange(255, dtype=np.uint8) % kinds
    counts = Counts(kinds, 255)

    matrix = counts.add(Seen(truth, truth[::-1], ground, truth > 99, None))

    assert matrix.sum() == 255 and (matrix[np.arange(255), np.arange(255)[::-1]] == 1).all()
    assert counts.joint[254 % kinds, 1, 254, 0] == counts.joint[7 % kinds, 0, 7, 247] == 1


def test_no_pixels_count_nothing():
    assert not confusion_matrix([], [], 2).any()


@pytest.mark.parametrize("index", [2, 254, 255])
def test_a_predicted_class_out_of_range_is_an_error_unless_nothing_is_labelled_there(index):
    with pytest.raises(ValueError, match=f"prediction has class {index}, expected 0 to 1"):
        confusion_matrix([0, 1], [0, index], 2)

    assert confusion_matrix([0, 255], [0, index], 2).tolist() == [[1, 0], [0, 0]]


def test_counts_of_pieces_add_up_beyond_32_bits():
    counts, piece = Counts(2, 2), np.zeros(4, np.uint8)
    counts.joint[1, 0, 0, 0] = 2**32 - 3

    counts.add(Seen(piece, piece, piece + 1, None, None))

    assert counts.joint[1, 0].tolist() == [[2**32 + 1, 0], [0, 0]]


def test_1000_random_cases_agree_with_scikit_learn_and_torchmetrics():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        classes, pixels = int(rng.integers(2, 9)), int(rng.integers(20, 200))
        # some classes are absent from the truth, from the map or from both
        truth = rng.choice(rng.permutation(classes)[: rng.integers(1, classes + 1)], pixels)
        other = rng.choice(rng.permutation(classes)[: rng.integers(1, classes + 1)], pixels)
        guess = np.where(rng.random(pixels) < 0.6, truth, other)
        truth = np.where(rng.random(pixels) < 0.2, 255, truth)
        known = truth != 255
        if not known.any():
            continue

        matrix = confusion_matrix(truth, guess, classes)

        found, labels = scores(matrix), range(classes)
        expected = metrics.confusion_matrix(truth[known], guess[known], labels=labels)
        assert matrix.tolist() == expected.tolist()
        assert found.oa == pytest.approx(metrics.accuracy_score(truth[known], guess[known]))
        pair = torch.from_numpy(guess.astype(int)), torch.from_numpy(truth.astype(int))
        asked = {"num_classes": classes, "ignore_index": 255}
        theirs = multiclass_confusion_matrix(*pair, **asked)
        assert matrix.tolist() == theirs.tolist()
        iou = multiclass_jaccard_index(*pair, average=None, **asked).numpy()
        # it says 0 of a class that is nowhere
        np.testing.assert_allclose(np.nan_to_num(found.iou), iou, atol=1e-6)
        if len(np.union1d(truth[known], guess[known])) > 1:
            kappa = metrics.cohen_kappa_score(truth[known], guess[known])
            assert found.kappa == pytest.approx(kappa, abs=1e-9)
            assert found.kappa == pytest.approx(
                float(multiclass_cohen_kappa(*pair, **asked)), abs=1e-5
            )


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 8), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_scores_agree_with_scikit_learn(classes, pixels, seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, pixels)
    guess = np.where(rng.random(pixels) < 0.5, truth, rng.integers(0, classes, pixels))
    present = np.union1d(truth, guess)

    found = scores(confusion_matrix(truth, guess, classes))

    assert found.oa == pytest.approx(metrics.accuracy_score(truth, guess))
    iou = metrics.jaccard_score(truth, guess, labels=present, average=None, zero_division=0)
    np.testing.assert_allclose(found.iou[present], iou)
    assert found.miou == pytest.approx(iou.mean())
    assert np.isnan(np.delete(found.iou, present)).all()
    f1 = metrics.f1_score(truth, guess, labels=present, average=None, zero_division=0)
    np.testing.assert_allclose(found.f1[present], f1)
    if len(present) > 1:
        assert found.kappa == pytest.approx(metrics.cohen_kappa_score(truth, guess), abs=1e-12)
    for ours, theirs in (
        (found.precision, metrics.precision_score),
        (found.recall, metrics.recall_score),
    ):
        args = {"labels": range(classes), "average": None, "zero_division": np.nan}
        np.testing.assert_allclose(ours, theirs(truth, guess, **args))
    assert found.support.tolist() == np.bincount(truth, minlength=classes).tolist()


@pytest.mark.real
def test_houston_gives_the_figures_its_authors_print():
    found, figures = published("houston2013_ADM")

    assert round(found.oa, 5) == figures["OA"]
    assert round(found.kappa, 3) == figures["kappa"]
    assert round(float(np.nanmean(found.recall)), 4) == figures["AA"]
    # an absent class that is predicted: they print 0 too
    np.testing.assert_allclose(found.f1, figures["f1"], atol=5.001e-5)


@pytest.mark.real
def test_grass_gives_the_figures_its_authors_print():
    found, figures = published("grass_r.kappa_case1")

    assert found.oa == pytest.approx(figures["OA"], abs=1e-15)
    assert round(found.kappa, 5) == figures["kappa"]
    for ours, theirs in ((found.recall, "producers"), (found.precision, "users")):
        percent = [np.nan if p is None else p for p in figures[theirs]]
        np.testing.assert_allclose(100 * ours, percent, atol=1e-4)


@pytest.mark.parametrize(
    "matrix",
    [
        [[5 * HUGE, HUGE], [2 * HUGE, 7 * HUGE]],
        [[HUGE, 0, 3], [HUGE // 2, HUGE, 0], [1, 0, 3 * HUGE]],
        [[2**61, 2**59], [2**58, 2**60]],
    ],
)
def test_kappa_is_exact_where_products_overflow_64_bits(matrix):
    assert scores(np.array(matrix, np.int64)).kappa == pytest.approx(exact_kappa(matrix), rel=1e-12)


def test_chance_agreement_has_kappa_0_and_perfect_agreement_1():
    assert scores(np.array([[4, 4], [4, 4]])).kappa == 0
    assert scores(np.array([[3, 0], [0, 9]])).kappa == 1


def test_a_class_that_is_nowhere_is_left_out_of_the_mean():
    found = scores(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))

    assert math.isnan(found.iou[2]) and math.isnan(found.recall[2])
    assert found.miou == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_a_class_that_is_only_predicted_counts_0():
    found = scores(np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]]))

    assert found.iou[2] == 0 and math.isnan(found.recall[2])
    assert found.miou == pytest.approx((3 / 4 + 1 + 0) / 3)


def test_kappa_of_one_class_is_not_a_number():
    found = scores(np.array([[9, 0], [0, 0]]))

    assert math.isnan(found.kappa)
    assert (found.oa, found.miou) == (1, 1)


def test_an_empty_matrix_scores_nothing():
    found = scores(np.zeros((2, 2), np.int64))

    assert math.isnan(found.oa) and math.isnan(found.kappa) and math.isnan(found.miou)
    assert found.support.tolist() == [0, 0]


def test_sums_of_matrices_score_like_their_pixels_together():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 3, (2, 4, 500))
    parts = sum(confusion_matrix(t, g, 3) for t, g in zip(truth, guess, strict=True))

    np.testing.assert_array_equal(parts, confusion_matrix(truth, guess, 3))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_merging_counts_is_relabelling_before_they_are_counted(data):
    groups = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=6))
    groups = np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    truth, guess = rng.integers(0, len(groups), (2, 17, 19))

    found = merged(confusion_matrix(truth, guess, len(groups)), groups)

    expected = confusion_matrix(groups[truth], groups[guess], groups.max() + 1)
    assert found.dtype == np.int64
    assert found.tolist() == expected.tolist()


def test_merging_is_exact_beyond_what_a_float_can_count():
    matrix = np.array([[2**53, 1], [1, 2**53 + 1]])

    assert merged(matrix, [0, 0]).tolist() == [[2**54 + 3]]
