import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import (
    Scene,
    in_rows,
    known,
    new_array,
    open_array,
    read,
    rows_of,
    shard_size,
    tiled,
    written,
)
from pipeline_steps.rasters.windows import Window, blocks

ZARRS_OWN = "zarr.core.codec_pipeline.BatchedCodecPipeline"
"""How zarr unpacks chunks where nobody tells it otherwise."""


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


def test_what_is_compressed_is_smaller_and_reads_the_same(tmp_path):
    values = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    sizes = {}
    for codec in ("zstd", "deflate", "none"):
        array = new_array(tmp_path / codec, 0, values.shape, "uint8", 0, 256, codec)
        array[:] = values
        np.testing.assert_array_equal(open_array(tmp_path / codec, 0)[:], values)
        sizes[codec] = sum(file.stat().st_size for file in files_of(tmp_path / codec))

    assert sizes["none"] > values.nbytes > 10 * max(sizes["zstd"], sizes["deflate"])
    assert sizes["zstd"] != sizes["deflate"]


@pytest.mark.parametrize("window", [(0, 0, 300, 600), (17, 40, 90, 500), (255, 255, 2, 2)])
@pytest.mark.parametrize("codec", ["zstd", "deflate", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_small_chunks_and_large_read_like_by_zarr_itself(tmp_path, window, codec, dtype):
    """A chunk of 256 pixels is small in one byte a pixel, and in four it is not."""
    values = np.random.default_rng(0).integers(0, 9, (300, 600)).astype(dtype)
    values[:, 256:512] = 7
    new_array(tmp_path / "a", 0, values.shape, dtype, 7, 256, codec)[:] = values

    found = read(open_array(tmp_path / "a", 0), Window(*window))

    with zarr.config.set({"codec_pipeline.path": ZARRS_OWN}):
        expected = read(open_array(tmp_path / "a", 0), Window(*window))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, values[Window(*window).slices])


def test_a_small_chunk_that_is_damaged_is_an_error(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    write(tmp_path / "a", 0, values)
    (file,) = files_of(tmp_path / "a")
    damaged = bytearray(file.read_bytes())
    damaged[:8] = bytes(8)
    file.write_bytes(damaged)

    with pytest.raises(ValueError, match=r"a/0: cannot be read .*decompression"):
        read(open_array(tmp_path / "a", 0), Window(0, 0, 16, 16))


def test_a_shard_may_be_one_chunk(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (300, 70), np.uint8)
    array = new_array(tmp_path / "a", 0, values.shape, "uint8", 0, 128, per_shard=1)
    for block in blocks(*values.shape, 128):
        array[block.slices] = values[block.slices]

    assert array.shards == array.chunks == (128, 80)
    np.testing.assert_array_equal(open_array(tmp_path / "a", 0)[:], values)


def test_blocks_are_written_beside_the_caller_and_all_are_there_in_the_end(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (2, 300, 300), np.uint8)
    arrays = [new_array(tmp_path / name, 0, (300, 300), "uint8", 0, 16) for name in "ab"]

    with written(*arrays) as write:
        for block in blocks(300, 300, shard_size(16)):
            write(block, *values[(..., *block.slices)])

    for array, expected in zip(arrays, values, strict=True):
        np.testing.assert_array_equal(array[:], expected)


@pytest.mark.parametrize("good", [0, 1, 3])
def test_a_block_that_cannot_be_written_is_an_error(tmp_path, good):
    """It is the last, or others would have followed."""
    array = new_array(tmp_path / "a", 0, (128, 512), "uint8", 0, 16)
    some = list(blocks(128, 512, shard_size(16)))

    with pytest.raises(ValueError, match="shape"), written(array) as write:
        for number, block in enumerate(some[: good + 1]):
            write(block, np.ones((3, 3) if number == good else (128, 128), np.uint8))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 300), st.integers(1, 40), st.lists(st.integers(0, 150), max_size=9))
def test_rows_in_pieces_of_any_height_become_the_array(height, width, cuts):
    values = np.random.default_rng([height, width]).normal(size=(height, width)).astype("f2")
    pieces = np.split(values, sorted(min(cut, height) for cut in cuts))

    with tempfile.TemporaryDirectory() as folder:
        array = new_array(Path(folder) / "a", 0, values.shape, "float16", np.nan, 16)
        with in_rows(array) as write:
            for piece in pieces:
                write(piece)

        np.testing.assert_array_equal(open_array(Path(folder) / "a", 0)[:], values)


def test_rows_are_written_in_whole_shards_each_once(tmp_path, monkeypatch):
    """A shard that is written in parts is read and packed again for every part."""
    array = new_array(tmp_path / "a", 0, (300, 200), "float32", np.nan, 16)
    written_rows = []
    original = type(array).__setitem__

    def spying(self, selection, value):
        written_rows.append((selection[-2].start, selection[-2].stop))
        original(self, selection, value)

    monkeypatch.setattr(type(array), "__setitem__", spying)
    with in_rows(array) as write:
        for _ in range(100):
            write(np.ones((3, 200), np.float32))

    assert written_rows == [(0, 128), (128, 256), (256, 300)]


@pytest.mark.parametrize(("given_rows", "says"), [(20, 20), (129, 129), (131, 131), (300, 300)])
def test_more_or_fewer_rows_than_the_array_has_are_an_error(tmp_path, given_rows, says):
    array = new_array(tmp_path / "a", 0, (130, 8), "float32", np.nan, 16)

    with (
        pytest.raises(ValueError, match=f"rows end at {says}, expected 130"),
        in_rows(array) as write,
    ):
        write(np.ones((given_rows, 8), np.float32))


@pytest.mark.parametrize("rows", [50, 128, 256])
def test_an_error_between_rows_comes_out_as_itself_and_leaves_no_thread(tmp_path, rows):
    array = new_array(tmp_path / "a", 0, (300, 8), "float32", np.nan, 16)
    before = threading.active_count()

    with pytest.raises(KeyError, match="a reader"), in_rows(array) as write:
        write(np.ones((rows, 8), np.float32))
        raise KeyError("a reader")

    assert threading.active_count() == before


def test_rows_that_cannot_be_written_are_an_error(tmp_path):
    array = new_array(tmp_path / "a", 0, (300, 8), "float32", np.nan, 16)

    with pytest.raises(ValueError, match=r"shape|broadcast"), in_rows(array) as write:
        write(np.ones((300, 5), np.float32))


def test_an_array_is_read_from_top_to_bottom_a_shard_at_a_time(tmp_path):
    values = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)
    write(tmp_path / "a", 0, values)

    rows = list(rows_of(open_array(tmp_path / "a", 0)))

    assert [len(part) for part in rows] == [128, 128, 44]
    np.testing.assert_array_equal(np.concatenate(rows), values)


def test_rows_are_unknown_where_they_are_not_valid():
    values = np.arange(35, dtype=np.float32).reshape(7, 5)
    valid = (values % 3 > 0).astype(np.uint8)

    found = list(known([values[:3], values[3:4], values[4:]], valid))

    assert [top for top, _ in found] == [0, 3, 4]
    expected = np.where(valid, values, np.nan)
    rows = np.concatenate([band for _, band in found])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected)


def test_rows_are_known_where_all_is_valid():
    values = np.ones((4, 5), np.float32)

    ((top, band), (below, _)) = known([values[:3], values[3:]], None)

    assert (top, below) == (0, 3)
    np.testing.assert_array_equal(band, values[:3])


RASTER = {"name": "a", "height": 4, "width": 6, "crs": None, "transform": [1, 0, 5, 0, -1, 9]}


def scene(folder, divided=None, **facts):
    """Return a scene of one raster, whose image is of four bands."""
    facts = {"bands": [1, 2, 3, 4], "rgb": [3, 0, 1], "dtype": "uint16"} | facts
    facts |= {"scene": "town", "is_folder": False, "rasters": [RASTER], "label_counts": [5, 7]}
    return Scene(folder / "manifest.json", facts, divided)


def test_a_scene_knows_its_rasters_and_their_grids(tmp_path):
    write(tmp_path / "labels.zarr", 0, np.ones((4, 6), np.uint8))

    found = scene(tmp_path)

    assert (found.name, found.rasters, found.is_folder) == ("town", ["a"], False)
    assert found.grid(0) == Grid(4, 6, None, (1, 0, 5, 0, -1, 9))
    assert found.array("labels", 0)[:].all()


def test_limits_are_those_stated_for_each_band_or_for_all(tmp_path):
    each = [[0, 1], [2, 3], [4, 5], [6, 7]]

    assert scene(tmp_path).limits(each) == each
    assert scene(tmp_path).limits([[10, 900]]) == [[10, 900]] * 4
    assert scene(tmp_path, dtype="uint8").limits([[10, 90]]) == [[10, 90]] * 4


def test_8_bits_alone_have_limits_of_their_own(tmp_path):
    assert scene(tmp_path, dtype="uint8").limits(None) == [[0, 255]] * 4
    for dtype in ("uint16", "int16", "float32"):
        with pytest.raises(
            ValueError, match=rf"manifest\.json: image is {dtype}, expected stretch"
        ):
            scene(tmp_path, dtype=dtype).limits(None)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_limits_of_another_number_of_bands_are_refused(tmp_path, count):
    with pytest.raises(ValueError, match=rf"image has 4 bands, expected {count}, as many as are"):
        scene(tmp_path).limits([[0, 1]] * count)


@pytest.mark.parametrize("bands, order", [("rgb", (3, 0, 1)), ("all", (0, 1, 2, 3))])
def test_a_picture_is_the_bands_that_are_shown_between_their_own_limits(tmp_path, bands, order):
    values = np.random.default_rng(0).integers(0, 1000, (4, 4, 6)).astype(np.uint16)
    write(tmp_path / "image.zarr", 0, values)
    limits = [[0, 1000], [100, 600], [0, 1], [500, 700]]

    picture = scene(tmp_path).picture(0, limits, bands)

    assert picture.shape == (len(order), 4, 6)
    for shown, band in zip(picture[:, :, :], order, strict=True):
        low, high = limits[band]
        np.testing.assert_allclose(shown, ((values[band] - float(low)) / (high - low)).clip(0, 1))


HALVES = {
    "scene": "town",
    "folds": None,
    "rasters": [{"codes": [[0, 2]], "reach": 1}],
    "label_counts": {"train": [3, 1], "test": [1, 2]},
}
FOLDS = HALVES | {"folds": 2, "label_counts": {"train-0": [1, 1], "train-1": [2, 2]}}
FOLDS |= {"rasters": [{"codes": [[0, 1]], "reach": 1}]}


def test_a_whole_scene_counts_all_its_labels_in_every_part_and_fold(tmp_path):
    assert scene(tmp_path).label_counts("train", None) == [5, 7]
    assert scene(tmp_path).label_counts("train", 1) == [5, 7]


def test_a_divided_scene_counts_the_labels_of_a_part_and_of_a_fold(tmp_path):
    assert scene(tmp_path, HALVES).label_counts("train", None) == [3, 1]
    assert scene(tmp_path, FOLDS).label_counts("train", 1) == [2, 2]


def test_a_whole_scene_is_not_cut_off(tmp_path):
    labels = np.ones((4, 6), np.uint8)

    assert scene(tmp_path).within(labels, 0, "test", None, 255) is labels


@pytest.mark.parametrize(
    ("divided", "part", "fold", "columns"),
    [
        (HALVES, "train", None, [0, 1]),
        (HALVES, "test", None, [4, 5]),
        (HALVES, "val", None, []),
        (FOLDS, "test", 0, [0, 1]),
        (FOLDS, "train", 0, [4, 5]),
    ],
)
def test_a_divided_scene_is_cut_off_beyond_a_part_and_its_buffer(
    tmp_path, divided, part, fold, columns
):
    labels = np.ones((4, 6), np.uint8)

    found = scene(tmp_path, divided).within(labels, 0, part, fold, 255)[:, :]

    expected = np.full((4, 6), 255)
    expected[:, columns] = 1
    np.testing.assert_array_equal(found, expected)


def test_scenes_are_opened_with_the_divisions_that_are_theirs():
    facts = {
        Path("tile/a/manifest.json"): {"scene": "a"},
        Path("tile/b/manifest.json"): {"scene": "b"},
        Path("split/b/manifest.json"): {"scene": "b", "folds": 4},
        Path("split/c/manifest.json"): {"scene": "c", "folds": 4},
    }
    for one in facts.values():
        one |= {"is_folder": False, "rasters": []}
    tiles, splits = list(facts)[:2], list(facts)[2:]

    a, b = tiled(tiles, splits, facts.get)

    assert (a.name, a.folder, a.divided) == ("a", Path("tile/a"), None)
    assert (b.name, b.folder, b.divided["folds"]) == ("b", Path("tile/b"), 4)
