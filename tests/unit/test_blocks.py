"""Where a map is best and worst: which blocks are chosen."""

import numpy as np
import pytest

from pipeline_steps.presentation.blocks import EACH, extremes
from pipeline_steps.rasters.windows import Window


def scored(scene, *rights, pixels=100, raster=0):
    """Return what ``score`` writes of a scene whose blocks have so many of their pixels right."""
    blocks = [
        {"raster": raster, "y": 64 * i, "x": 0, "height": 64, "width": 32}
        | {"counts": [[right, pixels - right], [0, 0]]}
        for i, right in enumerate(rights)
    ]
    return {"scene": scene, "blocks": blocks}


def test_the_worst_come_first_among_the_worst_and_the_best_among_the_best():
    rights = np.random.default_rng(0).permutation(20).tolist()

    worst, best = extremes([scored("a", *rights[:12]), scored("b", *rights[12:])])

    assert [one.oa for one in worst] == [n / 100 for n in range(EACH)]
    assert [one.oa for one in best] == [n / 100 for n in range(19, 19 - EACH, -1)]
    for one in (*worst, *best):
        place = rights.index(round(one.oa * 100))
        assert one.scene == ("a" if place < 12 else "b")
        assert one.window == Window(64 * (place if place < 12 else place - 12), 0, 64, 32)


@pytest.mark.parametrize("count", range(1, 2 * EACH + 2))
def test_no_block_is_both(count):
    worst, best = extremes([scored("a", *range(count))])

    assert not set(worst) & set(best)
    assert len(worst) == min(EACH, count - count // 2) and len(best) == min(EACH, count // 2)


def test_blocks_with_few_labels_are_passed_over():
    worst, best = extremes([scored("a", 50, 60), scored("b", 0, 40, pixels=40)])

    assert [one.oa for one in (*worst, *best)] == [0.5, 0.6]


def test_where_nothing_is_labelled_there_is_none():
    assert extremes([scored("a")]) == ([], [])
