"""What the viewer is given: layers of a bounded size that show what lies in the stores."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline_steps.presentation.viewer import (
    LEAST_PX,
    WRONG,
    Seen,
    _drawing,
    _photograph,
    _shades,
    viewed,
)
from pipeline_steps.rasters.store import Scene, tiled
from pipeline_steps.study.manifest import read_manifest
from tests.data.results import LOOKS, Results

SIDE = 256
LABELS = np.random.default_rng(1).integers(0, 3, (SIDE, SIDE // 2)).astype(np.uint8)
LABELS[:8] = 99  # nothing
GUESS = np.random.default_rng(2).integers(0, 3, LABELS.shape).astype(np.uint8)


@pytest.fixture
def seen(tmp_path):
    results = Results(tmp_path).scene("town", LABELS, image=77).map("deep", "town", GUESS)
    ramp = np.linspace(0, 1, SIDE)[:, None] * np.ones(LABELS.shape)
    ramp[-1] = np.nan
    results.depth("net", "town", ramp)
    results.sure("deep", "town", np.full(LABELS.shape, 100))
    tile = results.tiles[0]
    scene = Scene(tile, read_manifest(tile))
    return Seen(scene, results.depths, results.maps, results.confidences)


def layers(seen, px=SIDE, megapixels=100.0):
    (scene,) = viewed([seen], None, LOOKS, px, megapixels)["scenes"]
    (raster,) = scene["rasters"]
    return raster, pixels(raster)


def pixels(raster):
    """Return the pixels of each layer of a raster."""
    found = {}
    for one in raster["layers"]:
        data = base64.b64decode(one["data"].partition(",")[2])
        found[one["name"]] = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"), int)
    return found


def test_layers_are_those_of_the_scene_pixel_by_pixel(seen):
    scene, found = layers(seen)

    names = "image", "labels", "depth: net", "map: deep", "errors: deep", "confidence: deep"
    assert tuple(found) == names
    assert (scene["height"], scene["width"]) == LABELS.shape
    colours = np.array([look.rgb for look in LOOKS])
    assert (found["map: deep"][..., :3] == colours[GUESS]).all()
    known = LABELS != 99
    assert (found["labels"][known][:, :3] == colours[LABELS[known]]).all()
    assert (found["labels"][..., 3] == np.where(known, 255, 0)).all()
    wrong = known & (LABELS != GUESS)
    assert (found["errors: deep"][..., 3] == np.where(wrong, 255, 0)).all()
    assert (found["errors: deep"][wrong][:, :3] == list(bytes.fromhex(WRONG[1:]))).all()
    assert np.abs(found["image"][..., :3] - 77).max() <= 2  # lossy


def test_depth_and_confidence_run_through_their_colours_and_unknown_is_clear(seen):
    _, found = layers(seen)

    depth, sure = found["depth: net"], found["confidence: deep"]
    light = depth[..., :3].sum(axis=-1)[:, 0]
    assert (depth[-1, :, 3] == 0).all() and (depth[:-1, :, 3] == 255).all()
    assert (
        light[0] < 30 < 500 < light[-2] and np.corrcoef(light[:-1], np.arange(SIDE - 1))[0, 1] > 0.9
    )
    assert (sure[..., :3] == [253, 231, 36]).all()  # viridis' last


def test_a_large_scene_is_sampled_and_says_its_own_size(seen):
    scene, found = layers(seen, px=100)

    # every third pixel, so that 256 are at most 100
    assert {one.shape[:2] for one in found.values()} == {(86, 43)}
    assert (scene["height"], scene["width"]) == (258, 129)
    assert (
        found["map: deep"][..., :3] == np.array([look.rgb for look in LOOKS])[GUESS[::3, ::3]]
    ).all()


def test_all_layers_together_have_no_more_than_so_many_pixels(seen):
    many = [seen] * 40
    found = viewed(many, None, LOOKS, 1024, 1.0)["scenes"]

    count = 0
    for scene in found:
        for picture in pixels(scene["rasters"][0]).values():
            assert max(picture.shape) >= LEAST_PX / 2
            count += picture[..., 0].size
    assert count <= 40 * seen.count * LEAST_PX**2
    assert count < 1e6 < 40 * seen.count * LABELS.size


def test_a_megapixel_of_noise_takes_no_more_than_the_manual_says():
    rng, side = np.random.default_rng(0), 512
    table = np.zeros((256, 3), np.uint8)
    worst = [
        _photograph(rng.random((side, side, 3))),
        _shades(rng.random((side, side)), "viridis"),
        _drawing(rng.integers(0, 256, (side, side)).astype(np.uint8), table),
    ]

    assert 0.5 < max(map(len, worst)) / side**2 < 1.4


@pytest.fixture
def many(tmp_path):
    """A scene of three images, the third of which shall be seen first."""
    rasters = [np.full((300, 300 + n), n, np.uint8) for n in range(3)]
    results = Results(tmp_path).scene("many", *rasters).map("deep", "many", *rasters)
    scene = Scene(results.tiles[0], read_manifest(results.tiles[0]))
    return Seen(scene, [], results.maps, [], (2, 0, 1))


def test_of_many_images_those_asked_for_are_seen_in_their_order(many):
    (scene,) = viewed([many], None, LOOKS, 1024, 100.0)["scenes"]

    assert [(one["index"], one["name"]) for one in scene["rasters"]] == [
        (2, "c"),
        (0, "a"),
        (1, "b"),
    ]
    for one in scene["rasters"]:
        shown = pixels(one)["map: deep"]
        assert shown.shape[:2] == (one["height"], one["width"]) == (300, 300 + one["index"])
        assert (shown[..., :3] == LOOKS[one["index"]].rgb).all()


def test_fewer_images_are_seen_before_all_are_small(many):
    megapixels = 4 * 2 * 260**2 / 1e6

    (scene,) = viewed([many], None, LOOKS, 1024, megapixels)["scenes"]

    assert [one["name"] for one in scene["rasters"]] == ["c", "a"]
    shown = sum(layer[..., 0].size for one in scene["rasters"] for layer in pixels(one).values())
    assert shown <= megapixels * 1e6


@pytest.mark.parametrize("run", ["seed-0", "seed-0-fold-1"])
def test_errors_of_a_divided_scene_are_those_of_what_is_tested(tmp_path, run):
    right, wrong = np.zeros((64, 64), np.uint8), np.ones((64, 64), np.uint8)
    results = Results(tmp_path).scene("town", right).map("deep", "town", wrong, run=run)
    folds = 2 if "fold" in run else None
    # without folds the third part is the test, in a fold the blocks of its number
    results.division("town", [[0, 1 if folds else 2]], folds=folds)
    (scene,) = tiled(results.tiles, results.splits, read_manifest)

    _, found = layers(Seen(scene, [], results.maps, []))

    shown = found["errors: deep"][..., 3] > 0
    assert not shown[:, :32].any() and shown[:, 32:].all()
    assert (found["labels"][..., 3] > 0).all()
