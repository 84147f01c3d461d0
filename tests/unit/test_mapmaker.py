import itertools

import numpy as np
import pytest
import rasterio
import xarray
import zarr

from pipeline_steps.metrics.depth import Seam
from pipeline_steps.rasters import mapmaker
from pipeline_steps.rasters.blending import lines
from pipeline_steps.rasters.drafts import Drafts
from pipeline_steps.rasters.mapmaker import MapMaker, Network, Windows
from pipeline_steps.rasters.maps import NONE, SURE, finish, layers_of, rows_of_maps
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.walk import Sight
from pipeline_steps.rasters.windows import starts
from tests.data.disks import room
from tests.data.tiling import utm_grid

LOOKS = [("roof", (200, 55, 45)), ("road", (90, 90, 96)), ("tree", (30, 110, 50))]
WINDOWS = Windows(size=32, overlap=0.25, batch=3)
EVERY = ("classes", "confidence", "entropy", "disagreement", "depth", "probabilities")


def quietly(work, steps):
    return work


def picture(height, width, seed=0):
    """Return a picture of blots, so that windows of it differ."""
    rng = np.random.default_rng([seed, height, width])
    blots = rng.random((3, height // 8 + 1, width // 8 + 1), np.float32)
    return blots.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]


def softmax(values):
    shares = np.exp(4 * values)
    return shares / shares.sum(axis=1, keepdims=True)


class Colours:
    """Says of a pixel what its colour is, and counts what it is asked."""

    channels = len(LOOKS) + 2

    def __init__(self, fails_at=None, wrong=0.0):
        self.asked, self.fails_at, self.wrong = [], fails_at, wrong

    def __call__(self, inputs):
        (images,) = inputs
        self.asked.append(len(images))
        if self.fails_at is not None and len(self.asked) > self.fails_at:
            raise RuntimeError("window failed")
        size = images.shape[-1]
        away = np.abs(np.arange(size) - (size - 1) / 2) / (size / 2)
        # worst at the edge of a window, and in each another way
        mood = np.sin(1e4 * images.mean((1, 2, 3)))[:, None, None]
        bent = images[:, :3].copy()
        bent[:, 0] += self.wrong * mood * np.maximum(away[:, None], away) ** 2
        shares = softmax(bent.astype(np.float32))
        squares = (shares**2).sum(1, keepdims=True)
        found = np.concatenate([shares, squares, images[:, :1]], axis=1)
        return lambda: found


def made(
    folder,
    sights,
    network=None,
    names=("classes", "confidence"),
    windows=WINDOWS,
    grids=None,
    is_beside=False,
    intact=lambda: None,
):
    """Map rasters; return the files of each by name."""
    grids = grids or [utm_grid(*sight.picture.shape[1:], 0.5) for sight in sights]
    paths = [
        {
            name: folder / str(i) / (name if name == "probabilities" else f"{name}.tif")
            for name in names
        }
        for i in range(len(sights))
    ]
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    maker = MapMaker(sights, grids, windows, names, LOOKS, work)
    said = network or Colours()
    maker.make(Network(said, said.channels, is_beside), paths.__getitem__, quietly, intact)
    return paths


def read(path):
    with rasterio.open(path) as source:
        return source.read(1)


def bytes_of(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize("shape", [(70, 90), (32, 32), (1, 50), (50, 1), (9, 9), (200, 33)])
def test_maps_show_what_a_network_says_that_sees_each_pixel_alone(tmp_path, shape):
    image = picture(*shape)
    (files,) = made(tmp_path, [Sight(image, None)], names=EVERY)

    shares = softmax(image[None])[0]
    assert (read(files["classes"]) == shares.argmax(0)).all()
    np.testing.assert_allclose(read(files["confidence"]), 100 * shares.max(0), atol=0.6)
    entropy = -(shares * np.log(shares)).sum(0) / np.log(len(LOOKS))
    np.testing.assert_allclose(read(files["entropy"]), 100 * entropy, atol=0.6)
    assert read(files["disagreement"]).max() <= 1
    np.testing.assert_allclose(read(files["depth"]), image[0], atol=1e-5)
    cube = zarr.open_group(files["probabilities"], mode="r")["probabilities"]
    np.testing.assert_allclose(cube[:] / SURE, shares, atol=0.6 / SURE)


def test_uniform_weights_are_the_naive_mean(tmp_path):
    image, network = picture(150, 130), Colours(wrong=0.5)
    windows = WINDOWS._replace(weighting="mean")
    (files,) = made(tmp_path, [Sight(image, None)], network, windows=windows)

    total, count = np.zeros((len(LOOKS), 150, 130)), np.zeros((150, 130))
    for y, x in itertools.product(starts(150, 32, 0.25), starts(130, 32, 0.25)):
        part = np.s_[..., y : y + 32, x : x + 32]
        total[part] += network([image[part][None]])()[0, : len(LOOKS)]
        count[part[1:]] += 1
    assert (read(files["classes"]) == (total / count).argmax(0)).mean() >= 0.998


def seam(values, weighting="hann"):
    rows, columns = (lines(starts(n, 32, 0.25), 32, weighting) for n in values.shape)
    looked = Seam(rows, columns)
    looked.look(0, values)
    return looked.value()


def test_a_network_that_is_worst_at_its_window_s_edge_leaves_no_seam(tmp_path):
    image, found = np.full((3, 200, 200), 0.5, np.float32), {}
    image += np.random.default_rng(0).normal(0, 0.02, image.shape).astype(np.float32)
    for weighting in ("hann", "nearest"):
        windows = WINDOWS._replace(weighting=weighting)
        (files,) = made(
            tmp_path / weighting,
            [Sight(image, None)],
            Colours(wrong=0.5),
            ("probabilities", "classes"),
            windows,
        )
        cube = zarr.open_group(files["probabilities"], mode="r")["probabilities"]
        found[weighting] = seam(cube[0].astype(np.float32), weighting)

    assert found["hann"] <= 1.05 < found["nearest"]


def test_windows_that_disagree_are_shown(tmp_path):
    class Moody(Colours):
        def __call__(self, inputs):
            (images,) = inputs
            number = len(self.asked)
            self.asked.append(len(images))
            shares = np.zeros((len(images), len(LOOKS) + 2, 32, 32), np.float32)
            shares[:, number % 2] = shares[:, len(LOOKS)] = 1
            return lambda: shares

    windows = WINDOWS._replace(batch=1, overlap=0.5, weighting="mean")
    (files,) = made(tmp_path, [Sight(picture(32, 48), None)], Moody(), EVERY, windows)

    # two windows: each alone at its side, and of two minds in the middle, where the variance of
    # two classes is 1/4 each
    found = read(files["disagreement"])
    assert (found[:, :16] == 0).all() and (found[:, 32:] == 0).all()
    assert (found[:, 16:32] == round(100 * np.sqrt(0.5))).all()
    assert (read(files["confidence"])[:, 16:32] == 50).all()


def test_pixels_without_data_have_none_and_windows_of_them_cost_nothing(tmp_path):
    image, valid = picture(100, 100), np.zeros((100, 100), np.uint8)
    valid[:20, :20] = 1
    network = Colours()
    (files,) = made(tmp_path, [Sight(image, valid)], network, EVERY)

    assert sum(network.asked) == 1
    for name in set(EVERY) - {"depth", "probabilities"}:
        assert ((read(files[name]) != NONE) == (valid > 0)).all()
    assert (np.isfinite(read(files["depth"])) == (valid > 0)).all()
    cube = zarr.open_group(files["probabilities"], mode="r")["probabilities"]
    assert ((cube[0] != NONE) == (valid > 0)).all()


def test_a_scene_without_any_data_asks_nothing_and_is_mapped(tmp_path):
    network = Colours(fails_at=0)
    (files,) = made(tmp_path, [Sight(picture(40, 40), np.zeros((40, 40), np.uint8))], network)

    assert (read(files["classes"]) == NONE).all()


def test_small_rasters_share_batches(tmp_path):
    network = Colours()
    sights = [Sight(picture(20, 30, seed), None) for seed in range(7)]
    files = made(tmp_path, sights, network)

    assert network.asked == [3, 3, 1]
    for sight, found in zip(sights, files, strict=True):
        assert (read(found["classes"]) == sight.picture.argmax(0)).all()


@pytest.mark.parametrize("sizes", [[(120, 70)], [(20, 20), (100, 40), (30, 70)]])
def test_a_run_that_failed_anywhere_goes_on_to_the_same_bytes(tmp_path, sizes):
    sights = [Sight(picture(*size), None) for size in sizes]
    whole, asked = Colours(wrong=0.5), 0
    made(tmp_path / "whole", sights, whole, EVERY)
    expected = {k: v for k, v in bytes_of(tmp_path / "whole").items() if k.parts[0] != "work"}

    for fails_at in range(len(whole.asked)):
        folder = tmp_path / f"fails-{fails_at}"
        with pytest.raises(RuntimeError, match="window failed"):
            made(folder, sights, Colours(fails_at, wrong=0.5), EVERY)
        last = Colours(wrong=0.5)
        made(folder, sights, last, EVERY)
        asked += len(last.asked)
        found = {k: v for k, v in bytes_of(folder).items() if k.parts[0] != "work"}
        assert found == expected

    # what stood was not asked for again
    assert asked < len(whole.asked) ** 2


def test_a_network_that_works_beside_says_the_same(tmp_path):
    sights = [Sight(picture(70, 50), None)]

    one, two = (made(tmp_path / str(b), sights, is_beside=b)[0] for b in (False, True))

    assert one["confidence"].read_bytes() == two["confidence"].read_bytes()


def test_what_is_finished_is_not_done_again(tmp_path):
    sights = [Sight(picture(50, 50), None)]
    made(tmp_path, sights)

    network = Colours()
    made(tmp_path, sights, network)

    assert network.asked == []


def test_a_run_killed_between_drafts_and_maps_asks_nothing_again(tmp_path):
    sights = [Sight(picture(50, 50), None)]
    (files,) = made(tmp_path, sights)
    expected, classes = files["classes"].read_bytes(), read(files["classes"])
    confidence = read(files["confidence"])
    (tmp_path / "work/0.done").unlink()
    with Drafts(tmp_path / "work/0.drafts", 50, 50, layers_of(files, 3)) as drafts:
        drafts.append({"classes": classes, "confidence": confidence})
    files["classes"].unlink()

    made(tmp_path, sights, Colours(fails_at=0))

    assert files["classes"].read_bytes() == expected


@pytest.mark.parametrize("share", [0.02, 0.4, 0.8, 0.95, 0.999])
def test_a_disk_that_is_full_as_maps_are_written_leaves_the_rows_and_no_map(
    tmp_path, monkeypatch, share
):
    sights = [Sight(picture(600, 700), None)]
    (whole,) = made(tmp_path / "whole", sights)
    sizes = [file.stat().st_size for file in whole.values()]

    def finished(*arguments):
        with room(int(share * min(sizes))):
            finish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(mapmaker, "finish", finished)
        with pytest.raises(OSError, match=r"\.tif: cannot be written whole \(.+\), expected room"):
            made(tmp_path / "full", sights)
    assert not [*tmp_path.rglob("full/**/*.tif"), *tmp_path.rglob("full/**/*.done")]

    (files,) = made(tmp_path / "full", sights, Colours(fails_at=0))
    for name, file in files.items():
        assert file.read_bytes() == whole[name].read_bytes()


class Nan(Colours):
    """Says what is no number of all that is brighter than 1."""

    def __call__(self, inputs):
        found = super().__call__(inputs)()
        found[:, self.places] = np.where(inputs[0][:, :1] > 1, np.nan, found[:, self.places])
        return lambda: found

    places = slice(0, 1)


def test_a_network_that_says_what_is_no_number_ends_the_run(tmp_path):
    image = picture(200, 90)
    image[:, 120, 40] = 2
    sights = [Sight(picture(40, 40), None), Sight(image, None, name="town: raster b")]

    with pytest.raises(
        ValueError, match=r"^town: raster b: rows 120 to 143: .* in 1 pixels"
    ) as said:
        made(tmp_path, sights, Nan(), windows=WINDOWS._replace(weighting="nearest", overlap=0.25))

    assert "\n" not in str(said.value)
    assert not (tmp_path / "1" / "classes.tif").exists()


def test_what_is_no_number_where_there_is_no_data_does_not_matter(tmp_path):
    image, valid = picture(70, 90), np.ones((70, 90), np.uint8)
    image[:, 30:40, 50:60], valid[30:40, 50:60] = 2, 0

    (files,) = made(tmp_path, [Sight(image, valid)], Nan(), EVERY)

    for name in set(EVERY) - {"depth", "probabilities"}:
        assert ((read(files[name]) != NONE) == (valid > 0)).all()


def test_a_depth_that_is_no_number_is_not_known(tmp_path):
    class NoDepth(Nan):
        places = slice(-1, None)

    image = picture(70, 90)
    image[:, 30:40, 50:60] = 2
    (files,) = made(tmp_path, [Sight(image, None)], NoDepth(), EVERY)

    assert np.isnan(read(files["depth"])[30:40, 50:60]).all()
    assert (read(files["classes"]) != NONE).all()


def test_where_there_is_data_is_read_before_the_source_is_asked_after(tmp_path):
    class Vanishing:
        """Once all windows are known it is gone, and would be read as data everywhere."""

        shape, is_gone, is_watched = (100, 90), False, False

        def __getitem__(self, index):
            self.is_gone = self.is_watched
            return np.ones(self.shape, np.uint8)[index]

    valid = Vanishing()

    def intact():
        if valid.is_gone:
            raise ValueError("valid.zarr: changed")

    class Watched(Colours):
        def __call__(self, inputs):
            valid.is_watched = True
            return super().__call__(inputs)

    with pytest.raises(ValueError, match=r"valid\.zarr: changed"):
        made(tmp_path, [Sight(picture(100, 90), valid)], Watched(), intact=intact)

    assert (tmp_path / "work/0.drafts/rows.jsonl").read_text() == ""


GEOGRAPHIC = Grid(60, 40, rasterio.CRS.from_epsg(4326).to_wkt(), (1e-5, 0, 8.5, 0, -1e-5, 47.2))
ROTATED = Grid(60, 40, utm_grid(1, 1, 1).crs, (0.4, 0.3, 4e5, 0.3, -0.4, 5e6))
UP = Grid(60, 40, utm_grid(1, 1, 1).crs, (0.5, 0, 4e5, 0, -0.5, 5e6))
GRIDS = ["up", "rotated", "geo", "none"]
NOWHERE = Grid(60, 40, None, (1, 0, 0, 0, 1, 0))


@pytest.mark.parametrize("grid", [UP, ROTATED, GEOGRAPHIC, NOWHERE], ids=GRIDS)
def test_maps_lie_exactly_where_their_image_lies(tmp_path, grid):
    (files,) = made(tmp_path, [Sight(picture(60, 40), None)], names=EVERY, grids=[grid])

    for name in set(EVERY) - {"probabilities"}:
        with rasterio.open(files[name]) as source:
            assert tuple(source.transform)[:6] == grid.transform
            assert (source.crs.to_wkt() if source.crs else None) == grid.crs
            assert source.shape == (60, 40)
            assert source.overviews(1) == [] and source.profile["driver"] == "GTiff"
            assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.parametrize("grid", [UP, GEOGRAPHIC, NOWHERE], ids=["up", "geo", "none"])
def test_gdal_opens_probabilities_in_place(tmp_path, grid):
    (files,) = made(tmp_path, [Sight(picture(60, 40), None)], names=["probabilities"], grids=[grid])

    cube = zarr.open_group(files["probabilities"], mode="r")["probabilities"]
    with rasterio.open(f'ZARR:"{files["probabilities"]}":/probabilities') as source:
        assert source.count == len(LOOKS) and source.nodata == NONE
        assert (source.read() == cube[:]).all()
        assert source.scales[0] == pytest.approx(1 / SURE)
        if grid.crs:
            assert source.crs == rasterio.CRS.from_wkt(grid.crs)
        np.testing.assert_allclose(tuple(source.transform)[:6], grid.transform, rtol=1e-9)


@pytest.mark.parametrize("grid", [UP, ROTATED, GEOGRAPHIC, NOWHERE], ids=GRIDS)
def test_xarray_opens_probabilities_in_place(tmp_path, grid):
    (files,) = made(tmp_path, [Sight(picture(60, 40), None)], names=["probabilities"], grids=[grid])

    found = xarray.open_zarr(files["probabilities"])

    shares = found["probabilities"]
    assert shares.dims == ("class", "y", "x") and shares.shape == (3, 60, 40)
    np.testing.assert_allclose(shares.sum("class"), 1, atol=0.02)
    assert [name.decode() for name in found["class_name"].values] == [name for name, _ in LOOKS]
    place = rasterio.Affine(*grid.transform)
    told = map(float, found["spatial_ref"].attrs["GeoTransform"].split())
    assert rasterio.Affine.from_gdal(*told) == place
    assert found["spatial_ref"].attrs.get("crs_wkt") == grid.crs
    if grid is not ROTATED:
        x, y = place.c + place.a / 2, place.f + place.e / 2
        np.testing.assert_allclose((found["x"][0], found["y"][0]), (x, y), rtol=1e-12)


def test_an_unknown_map_is_refused():
    with pytest.raises(ValueError, match="map is 'heat', expected one of classes, "):
        rows_of_maps(layers_of(["heat"], 3), np.zeros((3, 1, 1), np.float32), None, 3, "rows")
