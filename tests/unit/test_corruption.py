"""What each corruption promises: of pixels alone, and of a scene read through it in any windows."""

import json
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest

from pipeline_steps.rasters import corrupted, corruption, town
from pipeline_steps.rasters.corrupted import CorruptedScene, median_luminance, why_not
from pipeline_steps.rasters.corruption import SEVERITIES, VALUES
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import Scene, read
from pipeline_steps.rasters.windows import Window, blocks
from pipeline_steps.rasters.writing import write_raster
from tests.data.tiling import tile_scene, utm_grid

GSD = 0.5
RGB = (0, 1, 2)
KINDS = tuple(VALUES)
METRES = (GSD, GSD)


@pytest.fixture(scope="module")
def drawn():
    """A town of 200 pixels: uint8 [3, 200, 200] and metres."""
    rng = np.random.default_rng(3)
    ground = town.draw(200, GSD, 0.5, rng)
    return town.render(ground, GSD, rng), ground.height


def tiled(folder, image, heights=None, grid=None, **params):
    """Tile a scene of these pixels [bands, h, w]; without a ``grid`` it lies in UTM."""
    grid = grid or utm_grid(*image.shape[1:], gsd=GSD)
    folder.mkdir(exist_ok=True)
    write_raster(folder / "image.tif", image, grid)
    files = {"image": "image.tif"}
    if heights is not None:
        write_raster(folder / "heights.tif", heights[None].astype(np.float32), grid)
        files["elevation"] = "heights.tif"
    settings = {"bands": tuple(range(1, len(image) + 1)), "chunk": 64} | params
    manifest = tile_scene(folder, **files, **settings)
    return Scene(manifest, json.loads(manifest.read_text()))


@pytest.fixture(scope="module")
def scene(tmp_path_factory, drawn):
    image, heights = drawn
    return tiled(tmp_path_factory.mktemp("town"), image, heights)


def limits_of(scene, limits=None):
    return scene.limits(limits or [[0, 255]])


def seen(scene, kind, severity, limits=None, **how):
    """Return a scene's whole image as a corruption shows it."""
    limits = limits_of(scene, limits)
    median = median_luminance(scene, limits)
    return CorruptedScene(scene, kind, severity, limits, median).array("image", 0)[..., :, :]


def far(image, other):
    return float(np.square(image.astype(float) - other).mean())


# Of a whole scene


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_severity_is_farther_from_the_clean_image(scene, drawn, kind):
    distances = [far(drawn[0], seen(scene, kind, severity)) for severity in SEVERITIES]

    assert distances[0] > 0.5
    assert all(a < b for a, b in pairwise(distances)), distances


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("severity", [1, 4, 5])
def test_windows_of_any_size_show_the_same_bytes(scene, kind, severity):
    limits = limits_of(scene)
    view = CorruptedScene(scene, kind, severity, limits, 0.4).array("image", 0)
    whole = view[:, :, :]

    for size in (37, 64, 130):
        pieces = np.zeros_like(whole)
        for window in blocks(*whole.shape[1:], size):
            pieces[(..., *window.slices)] = read(view, window)
        assert np.array_equal(pieces, whole), size
    assert np.array_equal(view[:, 10:90:3, 5:100:7], whole[:, 10:90:3, 5:100:7])


@pytest.mark.parametrize("kind", KINDS)
def test_wide_windows_are_put_together_of_pieces(scene, kind, monkeypatch):
    whole = seen(scene, kind, 4)
    monkeypatch.setattr(corrupted, "PIECE", 48)

    assert np.array_equal(seen(scene, kind, 4), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_a_scene_with_holes_show_the_same_bytes_and_holes_stay(tmp_path, drawn, kind):
    image, heights = drawn[0].copy(), drawn[1]
    image[:, 60:90, 100:170] = 7
    image[:, ::17, ::13] = 7
    scene = tiled(tmp_path, image, heights, nodata=7)
    hole = (image == 7).all(0)
    view = CorruptedScene(scene, kind, 4, limits_of(scene), 0.4).array("image", 0)
    whole, pieces = view[:, :, :], np.zeros_like(image)
    for window in blocks(200, 200, 50):
        pieces[(..., *window.slices)] = read(view, window)

    assert (whole[:, hole] == 7).all()
    assert np.array_equal(pieces, whole)
    assert far(image[:, ~hole], whole[:, ~hole]) > 0.5


@pytest.mark.parametrize("kind", ["blur", "gsd"])
def test_what_has_no_data_is_mixed_into_nothing(tmp_path, kind):
    image = np.full((3, 64, 64), 200, np.uint8)
    image[:, 20:40, 20:40] = 0
    scene = tiled(tmp_path, image, nodata=0)

    found = seen(scene, kind, 5)

    assert np.array_equal(found, image)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "limits"), [("uint16", [1000, 9000]), ("int16", [-500, 2000]), ("float32", [-1, 3])]
)
def test_other_types_are_corrupted_between_their_limits(tmp_path, drawn, kind, dtype, limits):
    low, high = limits
    values = low + drawn[0] / 255 * (high - low)
    values = np.rint(values) if dtype != "float32" else values
    scene = tiled(tmp_path, values.astype(dtype), drawn[1])

    found = seen(scene, kind, 3, [limits])

    assert found.dtype == dtype and found.min() >= low and found.max() <= high
    eight = tiled(tmp_path / "eight", drawn[0], drawn[1])
    share = (found.astype(float) - low) / (high - low)
    # 8 bits are rounded before and after
    assert np.abs(share - seen(eight, kind, 3) / 255).mean() < 0.004


def test_every_kind_takes_one_band_or_many(tmp_path, drawn):
    image, heights = drawn
    five = np.concatenate([image, image[:2]])
    for bands, folder in ((image[:1], "one"), (five, "five")):
        scene = tiled(tmp_path / folder, bands, heights)
        for kind in KINDS:
            found = seen(scene, kind, 5)
            assert found.shape == bands.shape
            is_more = np.array([far(a, b) > 0 for a, b in zip(found, bands, strict=True)])
            expected = [kind not in ("season", "jpeg") or band < 3 for band in range(len(bands))]
            # a grey image has nothing green
            expected = [False] if (folder, kind) == ("one", "season") else expected
            assert is_more.tolist() == expected, kind


def test_red_green_and_blue_are_found_where_they_are(tmp_path, drawn):
    image, heights = drawn
    turned = tiled(tmp_path / "turned", image[::-1].copy(), heights, rgb=(3, 2, 1))
    plain = tiled(tmp_path / "plain", image, heights)

    for kind in ("haze", "shadow", "season", "jpeg", "sun"):
        assert np.array_equal(seen(turned, kind, 3)[::-1], seen(plain, kind, 3)), kind


def test_no_number_is_zero_and_stays_no_number_where_there_is_no_data(tmp_path):
    image = np.full((3, 32, 32), 2.0, np.float32)
    image[:, :4] = np.nan
    scene = tiled(tmp_path, image)

    found = seen(scene, "blur", 3, [[0, 4]])

    assert np.isnan(found[:, :4]).all() and np.allclose(found[:, 4:], 2.0)


def test_sun_needs_elevation_and_a_place_and_the_rest_needs_nothing(tmp_path, drawn):
    image, heights = drawn
    flat = Grid(200, 200, None, (1, 0, 0, 0, 1, 0))
    whole = tiled(tmp_path / "whole", image, heights)
    bare = tiled(tmp_path / "bare", image)
    nowhere = tiled(tmp_path / "nowhere", image, heights, flat)

    assert [why_not(one, "sun") for one in (whole, bare, nowhere)] == [
        None,
        "has no elevation",
        "has no georeference",
    ]
    assert not any(why_not(bare, kind) for kind in KINDS if kind != "sun")


def test_the_median_is_of_what_has_data(tmp_path):
    image = np.full((3, 40, 40), 51, np.uint8)
    image[:, :30] = 0
    scene = tiled(tmp_path, image, nodata=0)

    assert median_luminance(scene, limits_of(scene)) == pytest.approx(0.2, abs=1e-3)


def test_labels_validity_and_size_are_the_scene_s_own(scene):
    view = CorruptedScene(scene, "haze", 2, limits_of(scene))

    assert view.name == "a, haze 2"
    assert view.grid(0) == scene.grid(0) and view.valid(0) is None
    assert view.array("labels", 0).shape == (200, 200)


# Of pixels


def flat(*levels):
    return np.array(levels, np.float32)[:, None, None] * np.ones((1, 8, 8), np.float32)


def test_haze_leaves_a_share_of_contrast_and_goes_to_its_veil():
    dark, light = flat(0, 0, 0), flat(1, 1, 1)
    found = [corruption.haze(one, 0.6, RGB) for one in (dark, light)]

    assert np.allclose(found[1] - found[0], 0.4)
    assert np.allclose(found[0][:, 0, 0], 0.6 * np.array(corruption.VEIL))


def test_shadow_darkens_what_is_darker_than_the_median_and_nothing_else():
    half, quarter, light = flat(0.2, 0.2, 0.2), flat(0.1, 0.1, 0.1), flat(0.7, 0.7, 0.7)

    assert np.array_equal(corruption.shadow(light, 1.0, RGB, 0.4), light)
    assert np.allclose(corruption.shadow(half, 1.0, RGB, 0.4), 0.1)
    assert np.allclose(corruption.shadow(quarter, 0.4, RGB, 0.4), 0.1 * (1 - 0.4 * 0.75))


@pytest.mark.parametrize("altitude", VALUES["sun"])
def test_a_house_throws_a_shadow_as_long_as_it_is_high_by_the_sun_away_from_it(altitude):
    heights = np.zeros((120, 120), np.float32)
    heights[90:100, 20:30] = 6
    light = corruption.sunlight(heights, (1.0, 1.0), altitude)

    # up and to the right, along the diagonal from the house's corner
    row = np.array([light[90 - step, 29 + step] for step in range(1, 60)])
    length = np.flatnonzero(row < 0.5).max() + 1
    exact = 6 / np.tan(np.radians(altitude)) / np.sqrt(2)
    assert abs(length - exact) <= 2
    assert (light[105:, :15] == 1).all()


def test_slopes_that_face_the_sun_are_brighter_and_flat_ground_is_as_it_was():
    y, x = np.mgrid[:60, :60].astype(np.float32)
    towards = corruption.sunlight((x - y) * 0.1 + 20, METRES, 40)[10:50, 10:50]
    away = corruption.sunlight((y - x) * 0.1 + 20, METRES, 40)[10:50, 10:50]
    plane = corruption.sunlight(np.full((60, 60), 3, np.float32), METRES, 40)

    assert (towards > 1.05).all() and (away < 0.95).all() and (plane == 1).all()


def test_heights_that_are_not_known_throw_no_shadow_and_none_is_endless():
    unknown = np.full((50, 50), np.nan, np.float32)
    assert (corruption.sunlight(unknown, METRES, 10) == 1).all()

    assert corruption.reach_of_sun(1e9, METRES, 10) == corruption.LONGEST + 2
    tall = corruption.heights_that_count(np.array([1e9], np.float32), METRES, 10)
    assert corruption.reach_of_sun(float(tall[0]), METRES, 10) <= corruption.LONGEST + 3


def test_the_sky_still_lights_what_lies_in_shadow():
    dark = corruption.sun(flat(1, 1, 1), np.zeros((8, 8), np.float32), RGB)

    assert np.allclose(dark[:, 0, 0], corruption.SKY)


def test_vegetation_turns_brown_as_bright_as_it_was_and_the_rest_stays():
    grass, roof = flat(0.3, 0.5, 0.2), flat(0.6, 0.3, 0.25)
    autumn = corruption.season(grass, 1.0, RGB)
    red, green, blue = autumn[:, 0, 0]

    assert red > green > blue
    weights = np.array(corruption.LUMINANCE)
    assert weights @ autumn[:, 0, 0] == pytest.approx(weights @ grass[:, 0, 0], abs=1e-5)
    half = corruption.season(grass, 0.5, RGB)
    assert np.allclose(half, (grass + autumn) / 2, atol=1e-5)
    assert np.allclose(corruption.season(roof, 1.0, RGB), roof)


def test_noise_has_its_deviation_and_is_another_in_every_band_and_raster():
    grey = np.full((2, 300, 300), 0.5, np.float32)
    found = corruption.noise(grey, 0.04, (0, 0)) - grey

    assert found.std() == pytest.approx(0.04, rel=0.01) and abs(found.mean()) < 1e-3
    other = corruption.noise(grey, 0.04, (0, 0), 1) - grey
    for a, b in ((found[0], found[1]), (found, other), (found[:, :200], found[:, 100:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02
    louder = corruption.noise(grey, 0.08, (0, 0)) - grey
    assert np.allclose(louder, 2 * found, atol=1e-6)


def test_blur_keeps_the_mean_and_spreads_a_point_by_its_sigma():
    point = np.zeros((1, 81, 81), np.float32)
    point[0, 40, 40] = 1
    found = corruption.blur(point, 3.0)[0]
    y = np.arange(81) - 40

    assert found.sum() == pytest.approx(1, abs=1e-4)
    assert np.sqrt((found.sum(1) * y**2).sum()) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize("factor", VALUES["gsd"])
def test_wide_pixels_are_means_of_areas_from_the_rasters_corner(factor):
    rng = np.random.default_rng(0)
    picture = rng.random((1, 60, 48), np.float32)
    found = corruption.gsd(picture, factor, (0, 0), (60, 48))

    # area means by an image four times as fine, whose pixels no wide one cuts
    fine = picture[0].repeat(4, 0).repeat(4, 1)
    side = int(factor * 4)
    h, w = (length // side * side for length in fine.shape)
    coarse = fine[:h, :w].reshape(h // side, side, w // side, side).mean((1, 3))
    y = np.arange(8, 40)
    c = (y + 0.5) / factor - 0.5
    low, share = np.floor(c).astype(int), c - np.floor(c)
    rows = coarse[low] * (1 - share)[:, None] + coarse[low + 1] * share[:, None]
    x = np.arange(8, 32)
    c = (x + 0.5) / factor - 0.5
    low, share = np.floor(c).astype(int), c - np.floor(c)
    expected = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    assert np.allclose(found[0, 8:40, 8:32], expected, atol=1e-5)


def test_wide_pixels_of_a_plain_are_the_plain_to_its_last_row():
    plain = np.full((3, 31, 29), 0.3, np.float32)

    for factor in VALUES["gsd"]:
        assert np.allclose(corruption.gsd(plain, factor, (0, 0), (31, 29)), 0.3)


def test_blocks_of_jpeg_are_each_for_itself(drawn):
    picture = (drawn[0] / np.float32(255))[:, :64, :64]
    whole = corruption.jpeg(picture, 15, RGB)
    part = corruption.jpeg(picture[:, 16:40, 24:64], 15, RGB)

    assert np.array_equal(part, whole[:, 16:40, 24:64])
    steps = np.abs(np.diff(whole, axis=2)).mean((0, 1))
    assert steps[7::8].mean() > np.delete(steps, np.s_[7::8]).mean()


def test_a_picture_that_is_wider_than_one_jpeg_is_compressed_in_parts(monkeypatch, drawn):
    picture = (drawn[0] / np.float32(255))[:, :, :150]
    whole = corruption.jpeg(picture, 15, RGB)
    monkeypatch.setattr(corruption, "WIDEST", 64)

    assert np.array_equal(corruption.jpeg(picture, 15, RGB), whole)


def test_kinds_and_severities_are_what_a_study_can_ask_for():
    from pipeline_steps.study.params.corrupt import Kind, Params

    assert get_args(Kind) == KINDS == Params().kinds
    assert Params().severities == SEVERITIES
    assert all(len(values) == len(SEVERITIES) for values in VALUES.values())


def test_a_window_beyond_the_edge_is_cut_off(scene):
    view = CorruptedScene(scene, "blur", 5, limits_of(scene)).array("image", 0)

    assert read(view, Window(190, 190, 64, 64)).shape == (3, 10, 10)
