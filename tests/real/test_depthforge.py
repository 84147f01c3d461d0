"""DepthForge on real imagery, in a small size."""

import pytest

from tests.benchmarks.overfit import overfitted

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_queries_learn_two_real_crops_by_heart(real_data):
    found = overfitted(count=2, size=96, steps=70)

    losses = list(found["loss"].values())
    assert found["labelled"] > 0.5
    assert losses[-1] < 0.6 * losses[0]
    assert found["oa"] > 0.9
