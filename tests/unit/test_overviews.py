"""What overviews promise: half the size, by vote or by mean, and nodata has no say."""

from collections import Counter

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_steps.rasters.overviews import Level, halved, write_overviews
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_map

NONE = 255
SIZES = st.integers(1, 9)


def corners(values, y, x):
    return values[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel()


@settings(deadline=None, max_examples=60)
@given(height=SIZES, width=SIZES, seed=st.integers(0, 99))
def test_a_class_is_the_most_frequent_of_four_and_nodata_has_no_vote(height, width, seed):
    values = np.random.default_rng(seed).choice([0, 1, 2, NONE], (height, width)).astype(np.uint8)

    found = halved(values, NONE, "mode")

    assert found.shape == (-(-height // 2), -(-width // 2)) and found.dtype == np.uint8
    for y, x in np.ndindex(found.shape):
        votes = Counter(int(v) for v in corners(values, y, x) if v != NONE)
        most = max(votes.values(), default=0)
        assert votes[int(found[y, x])] == most
        assert votes or found[y, x] == NONE


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", NONE), ("float32", np.nan)])
@settings(deadline=None, max_examples=60)
@given(height=SIZES, width=SIZES, seed=st.integers(0, 99), gaps=st.booleans())
def test_a_value_is_the_mean_of_those_of_four_that_are_known(
    dtype, nodata, height, width, seed, gaps
):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 101, (height, width)).astype(dtype)
    if gaps:
        values[rng.random(values.shape) < 0.4] = nodata

    found = halved(values, nodata, "average")

    assert found.dtype == dtype
    for y, x in np.ndindex(found.shape):
        some = corners(values, y, x).astype(float)
        some = some[~np.isnan(some) & (some != nodata)]
        if not some.size:
            assert np.isnan(found[y, x]) if dtype == "float32" else found[y, x] == NONE
        else:
            rounding = 0.5 if dtype == "uint8" else 1e-4
            assert abs(found[y, x] - some.mean()) <= rounding


def test_overviews_are_halved_until_one_fits(tmp_path):
    values = np.random.default_rng(0).integers(0, 101, (70, 41)).astype(np.uint8)
    values.tofile(tmp_path / "map.raw")

    levels = write_overviews(Level(tmp_path / "map.raw", 70, 41), "uint8", NONE, "average", 16)

    assert [(one.height, one.width) for one in levels] == [(35, 21), (18, 11), (9, 6)]
    for level in levels:
        values = halved(values, NONE, "average")
        found = np.fromfile(level.file, np.uint8).reshape(level.height, level.width)
        assert np.array_equal(found, values)


def test_what_a_map_has_as_overviews_is_what_was_made_and_no_file_is_left(tmp_path):
    values = np.random.default_rng(1).choice([0, 1, 2, NONE], (1100, 700)).astype(np.uint8)
    draft = tmp_path / "drafts" / "classes.raw"
    draft.parent.mkdir()
    values.tofile(draft)
    grid = Grid(1100, 700, "EPSG:32632", (0.5, 0, 500000, 0, -0.5, 5000000))

    write_map(draft, tmp_path / "classes.tif", grid, "uint8", NONE, "mode", "land cover")

    assert [file.name for file in draft.parent.iterdir()] == ["classes.raw"]
    for level in range(2):
        values = halved(values, NONE, "mode")
        with rasterio.open(tmp_path / "classes.tif", OVERVIEW_LEVEL=level) as source:
            assert np.array_equal(source.read(1), values)
