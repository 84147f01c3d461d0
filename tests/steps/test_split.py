import numpy as np
import pytest
from PIL import Image

from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.splits import PARTS, UNUSED
from pipeline_steps.rasters.store import Scene
from pipeline_steps.rasters.windows import Window
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.split import Params, run
from pipeline_steps.study.params.split import Shares
from tests.data.tiling import facts_of, tile_scene, utm_grid

PIXELS = {"unit": "pixels", "size": 32, "buffer": 8}


def scene(folder, grid=None, labels=None, dtype="uint8", **profile):
    """Tile a scene of 256 by 320 pixels whose four classes lie in random patches of 16."""
    grid = grid or utm_grid(256, 320, 0.5)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, (3, grid.height, grid.width)).astype(dtype)
    folder.mkdir(exist_ok=True)
    write_raster(folder / "image.tif", pixels, grid, **profile)
    if labels is None:
        cells = rng.integers(0, 4, (-(-grid.height // 16), -(-grid.width // 16)))
        labels = np.kron(cells, np.ones((16, 16), int))[: grid.height, : grid.width]
    write_raster(folder / "labels.tif", labels[None].astype(np.uint8), grid)
    files = {"image": "image.tif", "labels": "labels.tif"}
    return tile_scene(folder, split="blocks", ignore_labels=(9,), chunk=64, **files)


def divide(tile, folder="split", **params):
    """Divide a tiled scene; return its manifest's facts and the path of the picture."""
    folder = tile.parent / folder
    run(tile, folder / "split.png", folder / "manifest.json", Params(**params))
    return facts_of(folder / "manifest.json"), folder / "split.png"


def masks(tile, facts, parts=PARTS, fold=None, index=0):
    """Return which pixels of a raster are in each part."""
    division = Scene(tile, facts_of(tile), facts).division(index)
    return {part: division.mask(Window(0, 0, *division.shape), part, fold) for part in parts}


def refused(tile, **params):
    with pytest.raises(ValueError) as caught:
        divide(tile, "refused", **params)
    text = str(caught.value)
    assert "\n" not in text and str(tile) in text
    assert not (tile.parent / "refused" / "manifest.json").exists()
    return text


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    return scene(tmp_path_factory.mktemp("town"))


def test_parts_get_their_shares_and_every_class(town):
    facts, _ = divide(town, **PIXELS | {"buffer": 0})

    counts = {part: np.array(found) for part, found in facts["label_counts"].items()}
    total = sum(counts.values())
    assert total.sum() == 256 * 320
    for part, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert counts[part].sum() / total.sum() == pytest.approx(share, abs=0.03)
        assert counts[part] / total == pytest.approx(np.full(4, share), abs=0.08)


def test_counts_are_of_the_pixels_that_remain_outside_the_buffers(town):
    facts, _ = divide(town, **PIXELS)

    labels = Scene(town, facts_of(town)).array("labels", 0)[:]
    for part, mask in masks(town, facts).items():
        found = np.bincount(labels[mask], minlength=256)[:4]
        assert facts["label_counts"][part] == found.tolist()


def test_blocks_in_metres_are_blocks_of_as_many_pixels(town):
    metres, _ = divide(town, size=32, buffer=5, unit="metres")
    pixels, _ = divide(town, size=64, buffer=10, unit="pixels")

    assert metres["rasters"] == pixels["rasters"]
    assert metres["rasters"][0]["reach"] == [5, 5]
    assert np.shape(metres["rasters"][0]["codes"]) == (4, 5)


def test_the_manifest_says_how_far_parts_are_apart_at_least(town):
    metres, _ = divide(town, size=32, buffer=5, unit="metres")

    assert metres["nearest_m"] == pytest.approx(5, rel=0.01)
    one, other = (np.argwhere(mask) for part, mask in masks(town, metres).items() if part != "val")
    apart = min(abs(other - pixel).max(axis=1).min() for pixel in one[::101])
    assert apart * 0.5 >= 5


def test_pixels_that_are_not_square_are_apart_in_metres_both_ways(tmp_path):
    oblong = Grid(256, 320, utm_grid(1, 1).crs, (0.25, 0.0, 5e5, 0.0, -1.0, 5e6))
    tile = scene(tmp_path / "a", oblong)

    facts, _ = divide(tile, size=30, buffer=8, unit="metres")

    train, test = (masks(tile, facts)[part] for part in ("train", "test"))
    for line, side in ((train, 0.25), (train.T, 1.0)):
        other = test if side == 0.25 else test.T
        for one, two in zip(line, other, strict=True):
            if one.any() and two.any():
                gaps = abs(np.flatnonzero(one)[:, None] - np.flatnonzero(two)[None])
                assert gaps.min() * side >= 8


def test_the_picture_is_a_png_that_shows_the_parts(town):
    _, picture = divide(town, **PIXELS)

    with Image.open(picture) as image:
        assert image.format == "PNG"
        colours = image.convert("RGB").getcolors(2**24)
    seen = {rgb for count, rgb in colours if count > 100}
    assert len({tuple(np.array(rgb) // 32) for rgb in seen}) > 5
    assert not list(picture.parent.glob("*partial*"))


def test_folds_test_every_block_once(town):
    facts, picture = divide(town, **PIXELS, folds=4)

    codes = np.array(facts["rasters"][0]["codes"])
    assert set(codes.ravel()) == set(range(4))
    assert (facts["folds"], picture.exists()) == (4, True)
    assert set(facts["label_counts"]) == {f"{p}-{k}" for p in ("train", "test") for k in range(4)}
    tested = sum(masks(town, facts, fold=fold)["test"].astype(int) for fold in range(4))
    assert tested.max() == 1
    assert tested.sum() == sum(sum(facts["label_counts"][f"test-{k}"]) for k in range(4))


def test_the_same_seed_divides_the_same_to_the_byte_and_another_one_differently(town):
    once, first = divide(town, "once", **PIXELS, seed=3)
    twice, second = divide(town, "twice", **PIXELS, seed=3)
    other, _ = divide(town, "other", **PIXELS, seed=4)

    assert once == twice
    assert first.read_bytes() == second.read_bytes()
    assert once["rasters"] != other["rasters"]


def test_a_block_without_labels_is_used_for_nothing(tmp_path):
    labels = np.tile([0, 1, 2, 3], (256, 80))
    labels[:64, :64] = 9
    facts, _ = divide(scene(tmp_path / "a", labels=labels), **PIXELS | {"size": 64})

    codes = np.array(facts["rasters"][0]["codes"])
    assert codes[0, 0] == UNUSED and (codes == UNUSED).sum() == 1


def test_of_many_small_images_each_is_a_block(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(20):
        grid = Grid(30, 40, None, (1, 0, 0, 0, 1, 0))
        pixels = rng.integers(0, 255, (3, 30, 40)).astype(np.uint8)
        write_raster(tmp_path / f"i{number}.tif", pixels, grid)
        write_raster(tmp_path / f"l{number}.tif", (pixels[:1] // 64), grid)
    tile = tile_scene(tmp_path, split="blocks", image="i*.tif", labels="l*.tif")

    facts, picture = divide(tile, unit="pixels", size=100, buffer=10)

    codes = [raster["codes"] for raster in facts["rasters"]]
    assert sorted(code for ((code,),) in codes) == [0] * 12 + [1] * 4 + [2] * 4
    assert [raster["name"] for raster in facts["rasters"]] == [f"i{n}" for n in range(20)]
    assert facts["nearest_m"] is None
    assert picture.stat().st_size > 1000


def test_a_share_of_nothing_gets_no_block(town):
    shares = Shares(train=0.7, val=0.0, test=0.3)

    facts, _ = divide(town, **PIXELS, shares=shares)

    assert set(facts["label_counts"]) == {"train", "test"}
    assert set(np.ravel(facts["rasters"][0]["codes"])) == {0, 2}


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_images_of_any_type_have_a_picture(tmp_path, dtype):
    _, picture = divide(scene(tmp_path / "a", dtype=dtype), **PIXELS)

    assert picture.stat().st_size > 1000


def test_nodata_does_not_take_the_contrast_from_the_picture(tmp_path):
    rng, grid = np.random.default_rng(0), utm_grid(256, 320)
    pixels = rng.normal(100, 10, (3, 256, 320)).astype(np.float32)
    pixels[:, :100] = -9999
    write_raster(tmp_path / "image.tif", pixels, grid, nodata=-9999)
    write_raster(tmp_path / "labels.tif", rng.integers(0, 4, (1, 256, 320)).astype(np.uint8), grid)
    tile = tile_scene(tmp_path, split="blocks", image="image.tif", labels="labels.tif")

    _, picture = divide(tile, **PIXELS)

    with Image.open(picture) as image:
        shown = np.asarray(image.convert("L"), float)
    height, width = shown.shape
    inside = shown[height // 2 : height * 3 // 4, width // 3 : width * 2 // 3]
    # within a block neighbouring pixels differ as much as those of a picture do
    assert abs(np.diff(inside, axis=1)).mean() > 5


def test_an_image_that_is_nowhere_a_number_has_a_picture_too(tmp_path):
    grid = utm_grid(64, 64)
    write_raster(tmp_path / "image.tif", np.full((3, 64, 64), np.nan, np.float32), grid)
    half = np.full((3, 64, 64), 5, np.float32)
    half[:, :, :40] = np.nan
    write_raster(tmp_path / "other.tif", half, grid)
    write_raster(tmp_path / "l_image.tif", np.zeros((1, 64, 64), np.uint8), grid)
    stripes = np.tile(np.arange(64) % 4, (64, 1))[None].astype(np.uint8)
    write_raster(tmp_path / "l_other.tif", stripes, grid)
    tile = tile_scene(tmp_path, split="blocks", image="[io]*.tif", labels="l_[io]*.tif")

    _, picture = divide(tile, unit="pixels", size=8, buffer=0)

    assert picture.stat().st_size > 1000


def test_blocks_in_metres_of_a_raster_without_a_crs_are_refused_with_the_way_out(tmp_path):
    tile = scene(tmp_path / "a", Grid(256, 320, None, (1, 0, 0, 0, 1, 0)))

    text = refused(tile, size=64, buffer=8, unit="metres")

    assert text.startswith(f"{tile}: image has no CRS, expected one since split.unit is metres")
    assert "`split.unit: pixels` needs none" in text


@pytest.mark.parametrize("params", [{"size": 300, "buffer": 20}, {"size": 150, "folds": 9}])
def test_too_few_blocks_for_the_parts_are_refused(town, params):
    text = refused(town, **PIXELS | params)

    assert "gets no labelled pixel of" in text and "expected some; a smaller split.size" in text


def test_a_scene_without_a_label_is_refused(tmp_path):
    tile = scene(tmp_path / "a", labels=np.full((256, 320), 9))

    assert "train, val, test gets no labelled pixel" in refused(tile, **PIXELS)
