import numpy as np
import pytest

from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import Scene, new_array, open_array, read, shard_size
from pipeline_steps.rasters.windows import Window, blocks


def files_of(array_folder):
    return [path for path in array_folder.rglob("*") if path.is_file() and path.name != "zarr.json"]


def write(store, index, values, fill=0, chunk=16):
    array = new_array(store, index, values.shape, str(values.dtype), fill, chunk)
    for block in blocks(*values.shape[-2:], shard_size(chunk)):
        array[(..., *block.slices)] = values[(..., *block.slices)]


@pytest.mark.parametrize("shape", [(3, 70, 150), (150, 70), (5, 5), (1, 1), (3, 129, 257)])
def test_what_is_written_is_read_back(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    write(tmp_path / "image.zarr", 0, values)

    np.testing.assert_array_equal(open_array(tmp_path / "image.zarr", 0)[:], values)


def test_floats_keep_their_nan(tmp_path):
    values = np.array([[1.5, np.nan], [np.nan, -2]], np.float32)

    write(tmp_path / "elevation.zarr", 0, values, np.nan)

    np.testing.assert_array_equal(open_array(tmp_path / "elevation.zarr", 0)[:], values)


def test_rasters_of_one_store_are_apart(tmp_path):
    for index in range(3):
        write(tmp_path / "labels.zarr", index, np.full((4, 4 + index), index, np.uint8), 255)

    for index in range(3):
        found = open_array(tmp_path / "labels.zarr", index)[:]
        np.testing.assert_array_equal(found, np.full((4, 4 + index), index))


def test_a_constant_raster_equal_to_its_fill_takes_no_chunk_file(tmp_path):
    write(tmp_path / "labels.zarr", 0, np.full((300, 300), 255, np.uint8), 255)

    assert files_of(tmp_path / "labels.zarr") == []
    assert (open_array(tmp_path / "labels.zarr", 0)[:] == 255).all()


def test_only_shards_with_content_become_files(tmp_path):
    values = np.zeros((300, 300), np.uint8)
    values[200, 10] = 1

    write(tmp_path / "labels.zarr", 0, values)

    assert len(files_of(tmp_path / "labels.zarr")) == 1


def test_an_image_of_many_chunks_is_one_file_a_shard(tmp_path):
    values = np.random.default_rng(0).integers(1, 256, (3, 2 * 128, 128), np.uint8)

    write(tmp_path / "image.zarr", 0, values)

    assert len(files_of(tmp_path / "image.zarr")) == 2


def test_a_missing_store_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.zarr: has no array 0"):
        open_array(tmp_path / "gone.zarr", 0)


def test_a_missing_array_is_named(tmp_path):
    write(tmp_path / "image.zarr", 0, np.zeros((4, 4), np.uint8))

    with pytest.raises(ValueError, match=r"image\.zarr: has no array 7"):
        open_array(tmp_path / "image.zarr", 7)


def test_an_open_array_cannot_be_written(tmp_path):
    write(tmp_path / "image.zarr", 0, np.zeros((4, 4), np.uint8))

    with pytest.raises(ValueError, match="read-only"):
        open_array(tmp_path / "image.zarr", 0)[:] = 1


def test_reading_is_cut_off_at_the_edges(tmp_path):
    values = np.arange(3 * 20 * 30, dtype=np.int32).reshape(3, 20, 30)
    write(tmp_path / "image.zarr", 0, values)
    window = Window(15, 25, 10, 10)

    for array in (values, open_array(tmp_path / "image.zarr", 0)):
        np.testing.assert_array_equal(read(array, window), values[:, 15:, 25:])


def test_a_scene_knows_its_rasters_and_their_grids(tmp_path):
    raster = {"name": "a", "height": 2, "width": 3, "crs": None, "transform": [1, 0, 5, 0, -1, 9]}
    facts = {"scene": "town", "is_folder": False, "rasters": [raster]}
    write(tmp_path / "labels.zarr", 0, np.ones((2, 3), np.uint8))

    scene = Scene(tmp_path / "manifest.json", facts)

    assert (scene.name, scene.rasters, scene.is_folder) == ("town", ["a"], False)
    assert scene.grid(0) == Grid(2, 3, None, (1, 0, 5, 0, -1, 9))
    assert scene.array("labels", 0)[:].all()
