import json

import numpy as np
import pytest

from pipeline_steps import strata, tile
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import open_array
from pipeline_steps.rasters.strata import Kinds
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import ClassCode
from pipeline_steps.study.params.strata import Params
from tests.steps.conftest import stretch_file, tile_arguments

CODES = [ClassCode(name=name, value=value) for value, name in enumerate(("roof", "road"))]
LIT, SHADE = (180, 120, 90), 30
"""Luminances of three kinds in daylight, and of shadow."""


def write(path, array):
    array = np.asarray(array)
    array = array if array.ndim == 3 else array[None]
    write_raster(path, array, Grid(*array.shape[-2:], None, (1, 0, 0, 0, 1, 0)))
    return path


def scene(folder, image, labels, heights=None):
    files = [write(folder / "image.tif", np.asarray(image, np.uint8))]
    files.append(write(folder / "labels.tif", np.asarray(labels, np.uint8)))
    if heights is not None:
        files.append(write(folder / "heights.tif", np.asarray(heights, np.float32)))
    arguments = tile_arguments(folder / "here", "here", *files)
    tile.run(**arguments | {"classes": CODES, "params": tile.Params(chunk=32)})
    return folder / "here" / "manifest.json"


def told(folder, manifest, **params):
    """Return the kinds of a scene, and of each pixel its height bin, light and band."""
    files = [folder / "out" / name for name in ("strata.zarr", "strata.png", "manifest.json")]
    strata.run(manifest, stretch_file(folder / "stretch"), *files, Params(**params))
    kinds = Kinds.of(json.loads(files[2].read_text())["kinds"])
    codes = np.asarray(open_array(files[0], 0)[:])
    assert files[1].stat().st_size > 1000
    return kinds, np.unravel_index(codes, kinds.shape)


@pytest.fixture
def shaded():
    """An image [3, H, W] whose left third is in shadow, with some noise, and where that is."""
    grey = np.repeat([SHADE, *LIT], (30, 20, 20, 20))
    noise = np.random.default_rng(0).integers(-8, 9, (3, 96, 90))
    return np.clip(grey + noise, 0, 255), np.broadcast_to(grey == SHADE, (96, 90))


def test_shadow_is_told_by_the_image_alone(tmp_path, shaded):
    image, is_shade = shaded
    manifest = scene(tmp_path, image, np.zeros(is_shade.shape))

    kinds, (_, lights, _) = told(tmp_path, manifest)

    assert kinds.has_shadow
    assert np.array_equal(lights == 1, is_shade)


def test_an_image_of_one_colour_has_no_shadow(tmp_path):
    manifest = scene(tmp_path, np.full((3, 40, 40), 90), np.zeros((40, 40)))

    kinds, _ = told(tmp_path, manifest)

    assert not kinds.has_shadow


def test_bands_count_pixels_to_the_boundary_whatever_is_read_at_a_time(tmp_path, monkeypatch):
    labels = np.zeros((96, 90), int)
    labels[:, 50:] = 1
    image = np.random.default_rng(1).integers(0, 255, (3, 96, 90))
    manifest = scene(tmp_path, image, labels)
    distance = np.where(labels, np.arange(90) - 49, 50 - np.arange(90))
    expected = np.searchsorted([1, 3, 10], distance)

    for size in (2048, 32):
        monkeypatch.setattr(strata, "shard_size", lambda chunk, size=size: size)
        # whole shards are written: of 32 pixels only with chunks as large
        kinds, (_, _, bands) = told(tmp_path / str(size), manifest, boundary_px=(1, 3, 10))
        assert kinds.reaches == (1, 3, 10)
        assert np.array_equal(bands, expected)


def test_bins_of_height_end_where_the_study_says_and_what_is_unknown_is_in_none(tmp_path):
    heights = np.linspace(-1, 12, 40 * 40).reshape(40, 40)
    heights[5] = np.nan
    image = np.random.default_rng(2).integers(0, 255, (3, 40, 40))
    manifest = scene(tmp_path, image, np.zeros((40, 40)), heights)

    kinds, (bins, _, _) = told(tmp_path, manifest, height_m=(2.0, 5.0))

    assert kinds.bin_names() == ["height below 2 m", "height 2 to 5 m", "height from 5 m"]
    expected = np.where(np.isnan(heights), 3, np.digitize(heights.astype(np.float32), [2, 5]))
    assert np.array_equal(bins, expected)


def test_a_scene_without_elevation_has_no_bins(tmp_path):
    image = np.random.default_rng(3).integers(0, 255, (3, 40, 40))

    kinds, _ = told(tmp_path, scene(tmp_path, image, np.zeros((40, 40))))

    assert kinds.heights == () and kinds.bin_names() == []


def test_the_strata_of_counts_are_sums_over_their_kinds():
    kinds = Kinds((1, 3), True, (2.0, 5.0))
    counts = np.random.default_rng(4).integers(0, 99, (kinds.count, 2, 2))
    bins, lights, bands = np.unravel_index(np.arange(kinds.count), kinds.shape)

    found = dict(kinds.strata(counts))

    assert list(found) == [
        "all",
        "boundary, 1 px",
        "boundary, 3 px",
        "interior, beyond 3 px",
        "lit",
        "shadow",
        "height below 2 m",
        "height 2 to 5 m",
        "height from 5 m",
    ]
    for name, some in {
        "all": bins >= 0,
        "boundary, 3 px": bands <= 1,
        "interior, beyond 3 px": bands == 2,
        "shadow": lights == 1,
        "height 2 to 5 m": bins == 1,
    }.items():
        assert np.array_equal(found[name], counts[some].sum(axis=0)), name


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"boundary_px": (3, 1)}, r"boundary_px is \[3, 1\], expected ascending values"),
        ({"height_m": (5.0, 5.0)}, r"height_m is \[5.0, 5.0\], expected ascending values"),
        (
            {"boundary_px": tuple(range(1, 9)), "height_m": tuple(map(float, range(8)))},
            None,
        ),
    ],
)
def test_kinds_ascend_and_have_room_in_a_byte(params, words):
    if words is None:
        assert Kinds(params["boundary_px"], True, params["height_m"]).count <= 256
        Params(**params)
        return
    with pytest.raises(ValueError, match=words):
        Params(**params)
