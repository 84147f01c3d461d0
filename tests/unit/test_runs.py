from collections import Counter

import pytest

from pipeline_steps.study.params.split import Params as Split
from pipeline_steps.study.params.split import Shares
from pipeline_steps.study.runs import Run, dealt, is_part, runs_of
from pipeline_steps.study.scenes import Scene

THREE = Split(folds=3, seed=1)


def scene(name, split):
    return Scene(name, (f"{name}.tif",), (f"{name}.png",), (), (), split, False, (name,))


FOLDED = [scene(name, "folds") for name in "abcdefgh"]


@pytest.mark.parametrize(
    "run, name",
    [
        (Run(0, None), "seed-0"),
        (Run(12, 0), "seed-12-fold-0"),
        (Run(3, 4), "seed-3-fold-4"),
        (Run(None, None), "seeds"),
        (Run(None, 2), "seeds-fold-2"),
    ],
)
def test_a_run_is_called_by_seed_and_fold_and_found_by_its_name(run, name):
    assert run.name == name
    assert Run.named(name) == run


@pytest.mark.parametrize(
    "name", ["", "seed-", "seed-1-fold-", "fold-1", "seed--1", "seed-1-fold-1x", "seeds-1"]
)
def test_another_name_is_refused_with_what_was_expected(name):
    with pytest.raises(
        ValueError,
        match=f"run is '{name}', expected seed-<n> or seeds, and with folds -fold-<k>",
    ):
        Run.named(name)


def test_every_seed_trains_once_and_with_folds_once_in_each():
    assert runs_of([4, 2], None) == [Run(4, None), Run(2, None)]
    assert runs_of([4, 2], 2) == [Run(4, 0), Run(4, 1), Run(2, 0), Run(2, 1)]


def test_scenes_are_dealt_to_folds_evenly_and_only_those_whose_split_is_folds():
    found = dealt([*FOLDED, scene("z", "train"), scene("y", "blocks")], THREE)

    assert set(found) == set("abcdefgh")
    assert sorted(Counter(found.values()).values()) == [2, 3, 3]


def test_the_same_seed_deals_the_same_and_another_one_differently():
    seeds = [Split(folds=3, seed=seed) for seed in range(6)]

    assert dealt(FOLDED, seeds[0]) == dealt(FOLDED, seeds[0])
    assert len({tuple(sorted(dealt(FOLDED, split).items())) for split in seeds}) > 1


def test_without_folds_nothing_is_dealt():
    assert dealt(FOLDED, Split()) == {}


def test_a_folded_scene_is_tested_in_one_fold_and_learned_from_in_all_others():
    folds = dealt(FOLDED, THREE)
    for one in FOLDED:
        tested = [fold for fold in range(3) if is_part(one, "test", fold, folds, THREE)]
        learned = [fold for fold in range(3) if is_part(one, "train", fold, folds, THREE)]
        assert tested == [folds[one.name]]
        assert sorted([*tested, *learned]) == [0, 1, 2]
        assert not is_part(one, "val", 0, folds, THREE)


def test_over_all_runs_a_folded_scene_is_both_learned_from_and_tested():
    folds = dealt(FOLDED, THREE)

    assert all(is_part(FOLDED[0], part, None, folds, THREE) for part in ("train", "test"))


@pytest.mark.parametrize("split", ["train", "val", "test", "predict"])
def test_a_whole_scene_is_what_the_table_says_whatever_the_fold(split):
    for fold in (None, 0, 1):
        parts = [
            part
            for part in ("train", "val", "test", "predict")
            if is_part(scene("a", split), part, fold, {}, THREE)
        ]
        assert parts == [split]


def test_a_divided_scene_has_the_parts_that_have_a_share():
    split = Split(shares=Shares(train=0.7, val=0.0, test=0.3))

    parts = [
        p for p in ("train", "val", "test") if is_part(scene("a", "blocks"), p, None, {}, split)
    ]

    assert parts == ["train", "test"]


def test_a_divided_scene_is_learned_from_and_tested_in_every_fold():
    for fold in (None, 0, 2):
        parts = [
            p
            for p in ("train", "val", "test", "predict")
            if is_part(scene("a", "blocks"), p, fold, {}, THREE)
        ]
        assert parts == ["train", "test"]
