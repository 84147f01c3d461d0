"""Every n-th row and column of rasters, of files and of stores, without keeping the rest."""

import tracemalloc

import numpy as np
import pytest

from pipeline_steps.rasters import sampled as module
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.sampled import sampled, sampled_of
from pipeline_steps.rasters.splits import Division
from pipeline_steps.rasters.store import new_array
from pipeline_steps.rasters.views import Part
from pipeline_steps.rasters.writing import write_raster


def written(path, array):
    write_raster(path, array[None], Grid(*array.shape, None, (1, 0, 0, 0, 1, 0)))
    return path


@pytest.mark.parametrize("step", [1, 3, 7, 64])
@pytest.mark.parametrize("at_once", [1, 1000, 2**24])
def test_a_sample_is_every_nth_pixel_however_much_is_read_at_a_time(
    tmp_path, monkeypatch, step, at_once
):
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    array = np.random.default_rng(0).integers(0, 255, (150, 97)).astype(np.uint8)
    store = new_array(tmp_path / "array.zarr", 0, array.shape, "uint8", 0, 32)
    store[:] = array
    part = Part(store, Division(*array.shape, [[0, 2], [2, 0]], 5, None), "test", None, 255)

    assert (sampled(written(tmp_path / "a.tif", array), step) == array[::step, ::step]).all()
    assert (sampled_of(store, step) == array[::step, ::step]).all()
    assert (sampled_of(part, step) == part.held()[::step, ::step]).all()


def test_no_more_is_held_than_is_read_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2**18)
    file = written(tmp_path / "a.tif", np.zeros((4096, 4096), np.uint8))

    tracemalloc.start()
    found = sampled(file, 16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # of 16 MB
    assert found.shape == (256, 256) and peak < 2e6
