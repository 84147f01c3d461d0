"""A raster has its name only when all of it lies on the disk."""

import numpy as np
import pytest
import rasterio

from pipeline_steps.rasters import writing
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_map, write_raster
from tests.data.disks import room

SIZE = 1100
GRID = Grid(SIZE, SIZE, None, (1, 0, 0, 0, 1, 0))


def drawn(folder, **more):
    """Write a map of noise from its rows."""
    draft, path = folder / "classes.raw", folder / "maps" / "classes.tif"
    if not draft.exists():
        np.random.default_rng(0).integers(0, 6, (SIZE, SIZE), np.uint8).tofile(draft)
    write_map(draft, path, GRID, "uint8", 255, "mode", "land cover", **more)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of the map, written where there is room."""
    return drawn(tmp_path_factory.mktemp("whole")).read_bytes()


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.5, 0.8, 0.95, 0.99, 0.9999])
def test_where_a_map_meets_a_full_disk_one_line_says_so_and_nothing_has_its_name(
    tmp_path, whole, share
):
    drawn(tmp_path).unlink()

    full = pytest.raises(OSError, match=r"classes\.tif: cannot be written whole \(.+\), expected")
    with full as said, room(int(share * len(whole))):
        drawn(tmp_path)

    assert "\n" not in str(said.value)
    assert not (tmp_path / "maps" / "classes.tif").exists()
    assert drawn(tmp_path).read_bytes() == whole


@pytest.mark.parametrize("short", [1, 4, 100])
def test_a_map_without_its_last_bytes_is_noticed(tmp_path, whole, short):
    drawn(tmp_path).unlink()

    with pytest.raises(OSError, match="cannot be written whole"), room(len(whole) - short):
        drawn(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_where_a_raster_meets_a_full_disk_one_line_says_so(tmp_path, share):
    path = tmp_path / "image.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (3, 700, 600), np.uint8)
    grid = Grid(700, 600, None, GRID.transform)
    write_raster(path, pixels, grid)
    size = path.stat().st_size

    full = pytest.raises(OSError, match=r"image\.tif: cannot be written whole \(.+\), expected")
    with full, room(int(share * size)):
        write_raster(path, pixels, grid)

    assert not path.exists()


@pytest.fixture
def disturbed(monkeypatch):
    """A function that lets something happen to a map before it is looked at, or to its options."""

    def disturb(happens=lambda path: None, **options):
        copy = rasterio.shutil.copy

        def copied(source, target, **own):
            copy(source, target, **own | options)
            happens(target)

        monkeypatch.setattr(writing.rasterio.shutil, "copy", copied)

    return disturb


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.6, 0.99])
def test_a_hole_that_a_moment_without_room_left_is_noticed(tmp_path, whole, disturbed, share):
    def dig(path):
        with path.open("r+b") as file:
            file.seek(int(share * len(whole)))
            file.write(bytes(100))

    disturbed(dig)

    with pytest.raises(OSError, match="cannot be written whole"):
        drawn(tmp_path)


def test_a_block_that_is_missing_is_no_block_without_data(tmp_path, whole, disturbed):
    """Lengths of blocks are written last; one without any reads as if it had no data."""

    def forget(path):
        with rasterio.open(path) as source:
            length = int(source.get_tag_item("BLOCK_SIZE_1_1", "TIFF", bidx=1))
        data = path.read_bytes()
        head = data[:1000].replace(length.to_bytes(4, "little"), bytes(4))
        path.write_bytes(head + data[1000:])
        with rasterio.open(path) as source:
            assert source.get_tag_item("BLOCK_SIZE_1_1", "TIFF", bidx=1) is None
            assert (source.read(1)[512:1024, 512:1024] == 255).all()

    disturbed(forget)

    with pytest.raises(OSError, match=r"whole \(pixels are not those that were given\)"):
        drawn(tmp_path)


def test_an_overview_that_is_missing_is_noticed(tmp_path, disturbed):
    disturbed(overviews="NONE")

    with pytest.raises(OSError, match="cannot be written whole"):
        drawn(tmp_path)


@pytest.mark.parametrize("shape", [(1, 1), (512, 512), (513, 3), (1025, 1025), (1, 5000)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_maps_of_any_size_are_whole(tmp_path, shape, dtype):
    draft, path = tmp_path / "depth.raw", tmp_path / "depth.tif"
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    values.tofile(draft)

    write_map(draft, path, Grid(*shape, None, GRID.transform), dtype, 255, "average", "depth")

    with rasterio.open(path) as source:
        assert (source.read(1) == values).all()
