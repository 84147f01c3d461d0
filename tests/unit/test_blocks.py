"""Where a map is best and worst: which blocks are chosen."""

import numpy as np
import pytest

from pipeline_steps.presentation.blocks import EACH, blocks_of, extremes, worst_first
from pipeline_steps.rasters.windows import Window


def found(*scenes):
    """Return the worst and the best blocks of scenes as ``score`` writes of them."""
    return extremes([block for one in scenes for block in blocks_of(one)])


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

    worst, best = found(scored("a", *rights[:12]), scored("b", *rights[12:]))

    assert [one.oa for one in worst] == [n / 100 for n in range(EACH)]
    assert [one.oa for one in best] == [n / 100 for n in range(19, 19 - EACH, -1)]
    for one in (*worst, *best):
        place = rights.index(round(one.oa * 100))
        assert one.scene == ("a" if place < 12 else "b")
        assert one.window == Window(64 * (place if place < 12 else place - 12), 0, 64, 32)


@pytest.mark.parametrize("count", range(1, 2 * EACH + 2))
def test_no_block_is_both(count):
    worst, best = found(scored("a", *range(count)))

    assert not set(worst) & set(best)
    assert len(worst) == min(EACH, count - count // 2) and len(best) == min(EACH, count // 2)


def test_blocks_with_few_labels_are_passed_over():
    worst, best = found(scored("a", 50, 60), scored("b", 0, 40, pixels=40))

    assert [one.oa for one in (*worst, *best)] == [0.5, 0.6]


def sized(scene, raster, *sides, right=1.0):
    """Return what ``score`` writes of a raster whose blocks of these sides are all labelled."""
    blocks = []
    for number, (height, width) in enumerate(sides):
        pixels, hits = height * width, round(right * height * width)
        place = {"raster": raster, "y": 64 * number, "x": 0, "height": height, "width": width}
        blocks.append(place | {"counts": [[hits, pixels - hits], [0, 0]]})
    return {"scene": scene, "blocks": blocks}


def test_a_small_scene_counts_like_a_large_one_and_what_is_left_over_at_an_edge_does_not():
    large = sized("large", 0, (512, 512), (512, 30), right=0.5)
    tiny, image = sized("tiny", 0, (64, 64), right=0.25), sized("many", 3, (80, 80), right=0.75)

    worst, best = found(large, tiny, image, sized("many", 4, (900, 900)))

    assert [one.scene for one in worst] == ["tiny", "large"]
    assert [(one.scene, one.raster) for one in best] == [("many", 4), ("many", 3)]
    assert worst[1].window.width == 512


def test_rasters_with_the_worst_and_the_best_blocks_come_first():
    scenes = [sized("many", n, (64, 64), right=0.1 * (n + 1)) for n in (5, 2, 8, 0, 4, 7, 1, 3, 6)]
    blocks = {"deep": [block for one in scenes for block in blocks_of(one)]}
    extreme = {"deep": extremes(blocks["deep"])}

    assert worst_first(blocks, extreme, 99) == {"many": [0, 1, 2, 3, 8, 7, 6, 5, 4]}
    assert worst_first(blocks, extreme, 3) == {"many": [0, 1, 2]}


def test_where_nothing_is_labelled_there_is_none():
    assert found(scored("a")) == ([], [])
