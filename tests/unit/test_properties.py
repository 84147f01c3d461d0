"""What holds for any raster: size, type, nodata, place and window are drawn by hypothesis."""

import itertools
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from pipeline_steps.rasters.labels import Codebook
from pipeline_steps.rasters.layers import Heights, Labels
from pipeline_steps.rasters.place import covered
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.splits import UNUSED, Division
from pipeline_steps.rasters.terrain import Ground
from pipeline_steps.rasters.views import Part, Picture
from pipeline_steps.rasters.windows import Window, blocks
from pipeline_steps.study.params.tile import Params
from tests.data.tiling import UTM, facts_of, stored, tile_scene

DEGREES = rasterio.CRS.from_epsg(4326).to_wkt()
IGNORE = 255


def examples(count):
    """Return how a property is tried: on a shared machine no example has a deadline."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


sizes = st.integers(1, 150)
seeds = st.integers(0, 2**32 - 1)
NODATA = {
    "uint8": (0, 255, 7),
    "uint16": (0, 65535, 300),
    "int16": (-32768, -1, 0),
    "float32": (-9999.0, 0.0, -3.4028234663852886e38),
}
dtypes = st.sampled_from(list(NODATA))


@st.composite
def transforms(draw, crs):
    """Draw a place: any pixel size, any way round, turned or not."""
    if crs is None:
        return (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    unit = 1e-5 if crs == DEGREES else 1.0
    gsd = draw(st.sampled_from([0.1, 0.5, 1.0, 7.3])) * unit
    down = draw(st.sampled_from([-1, 1, -0.5])) * gsd
    x, y = (9.0, 45.0) if crs == DEGREES else (5e5, 5e6)
    x += draw(st.floats(-100, 100)) * unit
    turn = rasterio.Affine.rotation(draw(st.sampled_from([0, 0, 30])))
    place = rasterio.Affine.translation(x, y) @ turn @ rasterio.Affine.scale(gsd, down)
    return tuple(place)[:6]


@st.composite
def grids(draw, lengths=sizes):
    crs = draw(st.sampled_from([None, UTM, DEGREES]))
    return Grid(draw(lengths), draw(lengths), crs, draw(transforms(crs)))


@st.composite
def windows(draw, height, width):
    """Draw a window within a raster, of at least one pixel."""
    y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Window(y, x, draw(st.integers(1, height - y)), draw(st.integers(1, width - x)))


def noise(rng, dtype, shape, none):
    """Return pixels over the whole range of a type, a few of which hold a nodata value."""
    if dtype == "float32":
        pixels = rng.normal(0, 1e3, shape).astype(np.float32)
    else:
        ends = np.iinfo(dtype)
        pixels = rng.integers(ends.min, ends.max, shape, dtype, endpoint=True)
    pixels[:, rng.random(shape[1:]) < 0.1] = none
    pixels[rng.random(shape) < 0.1] = none
    return pixels


# (a) pixels and where they are data


@st.composite
def images(draw):
    """Draw what an image file holds and how it says what is no data."""
    dtype = draw(dtypes)
    marks = ["nothing", "value", "mask", "values by band", *(["NaN"] if dtype == "float32" else [])]
    marks += ["alpha"] if dtype in ("uint8", "uint16") else []
    return {
        "grid": draw(grids()),
        "dtype": dtype,
        "mark": draw(st.sampled_from(marks)),
        "none": draw(st.sampled_from(NODATA[dtype])),
        "stated": draw(st.sampled_from([None, *NODATA[dtype]])),
        "count": draw(st.integers(1, 4)),
        "seed": draw(seeds),
        "profile": draw(
            st.sampled_from(
                [
                    {"compress": "DEFLATE", "tiled": True, "blockxsize": 32, "blockysize": 16},
                    {"compress": "LZW", "interleave": "band"},
                    {"compress": "ZSTD", "tiled": True, "blockxsize": 64, "blockysize": 64},
                    {"blockysize": 1},
                ]
            )
        ),
    }


def write_image(path, facts):
    """Write an image; return its pixels and where the file says that they are data."""
    rng, grid, mark = np.random.default_rng(facts["seed"]), facts["grid"], facts["mark"]
    shape, dtype = (facts["count"], grid.height, grid.width), facts["dtype"]
    pixels = noise(rng, dtype, shape, facts["none"])
    is_data, bands = np.ones(shape[1:], bool), pixels
    profile = dict(facts["profile"])
    if mark == "value":
        profile["nodata"] = facts["none"]
        is_data = (pixels != facts["none"]).any(axis=0)
    if mark == "NaN":
        pixels[rng.random(shape) < 0.1] = np.nan
    if mark in ("mask", "alpha"):
        is_data = rng.random(shape[1:]) < 0.7
    if mark == "alpha":
        alpha = (is_data * rng.integers(1, 255, shape[1:])).astype(dtype)
        bands = np.concatenate([pixels, alpha[None]])
    if dtype == "float32":
        is_data &= np.isfinite(pixels).all(axis=0)
    size = {"height": grid.height, "width": grid.width, "count": len(bands), "dtype": dtype}
    place = {"crs": grid.crs, "transform": rasterio.Affine(*grid.transform)}
    with (
        warnings.catch_warnings(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **size, **place, **profile) as target:
            if mark == "alpha":
                target.colorinterp = [*[ColorInterp.undefined] * len(pixels), ColorInterp.alpha]
            target.write(bands)
            if mark == "mask":
                target.write_mask(is_data)
    if mark == "values by band":
        values = [NODATA[dtype][k % 3] for k in range(len(pixels))]
        write_mosaic(path.with_suffix(".vrt"), path, values, dtype, grid)
        each = [band != value for band, value in zip(pixels, values, strict=True)]
        is_data &= np.logical_or.reduce(each)
    return pixels, is_data


def write_mosaic(path, source, values, dtype, grid):
    """Write a VRT of one file in which every band has a nodata value of its own."""
    kind = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16", "float32": "Float32"}[dtype]
    bands = "".join(
        f"<VRTRasterBand dataType='{kind}' band='{k}'><NoDataValue>{value!r}</NoDataValue>"
        f"<SimpleSource><SourceFilename relativeToVRT='1'>{source.name}</SourceFilename>"
        f"<SourceBand>{k}</SourceBand></SimpleSource></VRTRasterBand>"
        for k, value in enumerate(values, 1)
    )
    a, b, c, d, e, f = grid.transform
    place = ", ".join(map(repr, (c, a, b, f, d, e)))
    srs = f"<SRS>{rasterio.CRS.from_wkt(grid.crs).to_string()}</SRS>" if grid.crs else ""
    path.write_text(
        f"<VRTDataset rasterXSize='{grid.width}' rasterYSize='{grid.height}'>{srs}"
        f"<GeoTransform>{place}</GeoTransform>{bands}</VRTDataset>"
    )


def bits(array):
    """Return numbers as what they are made of, in which NaN equals itself."""
    return array.view(f"u{array.itemsize}")


@examples(70)
@given(images())
def test_tiling_keeps_every_pixel_bit_for_bit_and_says_where_there_is_data(facts):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pixels, is_data = write_image(folder / "image.tif", facts)
        bands, stated, grid = tuple(range(facts["count"], 0, -1)), facts["stated"], facts["grid"]
        name = "image.vrt" if facts["mark"] == "values by band" else "image.tif"
        rgb = (bands * 3)[:3]
        manifest = tile_scene(folder, image=name, bands=bands, rgb=rgb, nodata=stated, chunk=16)

        found, valid = stored(manifest, "image"), stored(manifest, "valid")
        (raster,) = facts_of(manifest)["rasters"]
    if stated is not None:
        is_data = is_data & (pixels != np.dtype(facts["dtype"]).type(stated)).any(axis=0)
    assert found.dtype == facts["dtype"]
    assert np.array_equal(bits(found), bits(pixels[::-1]))
    assert np.array_equal(valid, is_data)
    assert raster["valid_pixels"] == is_data.sum()
    assert np.allclose(raster["transform"], grid.transform, rtol=1e-12)
    assert (raster["crs"] is None) == (grid.crs is None)


@pytest.mark.parametrize("mark", ["mask", "alpha"])
def test_a_nodata_value_counts_beside_a_mask_or_alpha_too(mark):
    rng = np.random.default_rng(0)
    pixels = noise(rng, "uint8", (3, 40, 50), 7)
    is_shown = rng.random((40, 50)) < 0.7
    bands = [*pixels, *([255 * is_shown.astype(np.uint8)] if mark == "alpha" else [])]
    with tempfile.TemporaryDirectory() as folder, rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
        size = {"height": 40, "width": 50, "count": len(bands), "dtype": "uint8", "nodata": 7}
        place = {"crs": UTM, "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 5e6)}
        alpha = {"alpha": "YES", "photometric": "RGB"} if mark == "alpha" else {}
        path = Path(folder) / "image.tif"
        with rasterio.open(path, "w", driver="GTiff", **size, **place, **alpha) as target:
            target.write(np.stack(bands))
            if mark == "mask":
                target.write_mask(is_shown)
        valid = stored(tile_scene(Path(folder), image="image.tif"), "valid")

    assert np.array_equal(valid, is_shown & (pixels != 7).any(axis=0))


# (b) labels on another grid


@st.composite
def label_rasters(draw):
    """Draw an image's grid and one of the same CRS for its labels, shifted and scaled."""
    image = Grid(draw(sizes), draw(sizes), UTM, (1.0, 0.0, 5e5, 0.0, -1.0, 5e6))
    gsd = draw(st.sampled_from([1.0, 1.0, 0.37, 0.5, 2.0, 3.1]))
    down = gsd * draw(st.sampled_from([-1, -1, 1]))
    shifts = st.floats(-60, 60) | st.sampled_from([0.0, 1.0, -7.0, 0.5])
    x, y = 5e5 + draw(shifts), 5e6 + draw(shifts)
    labels = Grid(draw(sizes), draw(sizes), UTM, (gsd, 0.0, x, 0.0, down, y))
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "int32", "float32"]))
    return image, labels, dtype, draw(st.sampled_from([None, 0, 3, 9])), draw(seeds)


def looked_up(image, labels, values):
    """Return the label at each pixel's centre, where that is inside, and where it is safely so."""
    y, x = np.mgrid[: image.height, : image.width] + 0.5
    a, _, c, _, e, f = image.transform
    gsd, _, left, _, down, top = labels.transform
    column, row = (c + a * x - left) / gsd, (f + e * y - top) / down
    inside = (column >= 0) & (column < labels.width) & (row >= 0) & (row < labels.height)
    at = (row.astype(int).clip(0, labels.height - 1), column.astype(int).clip(0, labels.width - 1))
    is_safe = np.ones(inside.shape, bool)
    for place in (column, row):
        is_safe &= abs(place - np.rint(place)) > 0.05
    return values[at], inside, is_safe


@examples(70)
@given(label_rasters())
@example(
    (
        Grid(40, 50, UTM, (1, 0, 5e5, 0, -1, 5e6)),
        Grid(40, 50, UTM, (1, 0, 5e5 + 10, 0, -1, 5e6)),
        "int16",
        None,
        0,
    )
)
def test_labels_of_another_grid_are_those_below_each_pixel_s_centre(drawn):
    image, labels, dtype, none, seed = drawn
    values = np.random.default_rng(seed).choice([0, 1, 2, 3, 9], (labels.height, labels.width))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ones = {"grid": image, "dtype": "uint8", "mark": "nothing", "none": 7, "count": 3}
        write_image(folder / "image.tif", ones | {"seed": seed, "profile": {}})
        profile = {"driver": "GTiff", "count": 1, "dtype": dtype, "crs": UTM, "nodata": none}
        size = {"height": labels.height, "width": labels.width}
        place = rasterio.Affine(*labels.transform)
        with rasterio.open(folder / "labels.tif", "w", transform=place, **profile, **size) as file:
            file.write(values.astype(dtype), 1)
        files = {"image": "image.tif", "labels": "labels.tif"}
        manifest = tile_scene(folder, **files, ignore_labels=(9,), chunk=16)
        found, counts = stored(manifest, "labels"), facts_of(manifest)["label_counts"]

    below, inside, is_safe = looked_up(image, labels, values)
    expected = np.where(inside & (below != 9), below, IGNORE)
    assert np.array_equal(found[is_safe], expected[is_safe])
    assert counts == np.bincount(found.ravel(), minlength=256)[:4].tolist()


# (c) windows


@st.composite
def divided(draw):
    """Draw a division of a raster, with or without folds, some of whose blocks are unused."""
    height, width = draw(sizes), draw(sizes)
    rows, columns = draw(st.integers(1, min(4, height))), draw(st.integers(1, min(4, width)))
    folds = draw(st.sampled_from([None, 3]))
    codes = draw(
        st.lists(
            st.sampled_from([0, 1, 2, UNUSED]), min_size=rows * columns, max_size=rows * columns
        )
    )
    reach = draw(st.integers(0, 12))
    part = draw(st.sampled_from(["train", "val", "test"]))
    fold = None if folds is None else draw(st.integers(0, 2))
    shape = np.reshape(codes, (rows, columns))
    return Division(height, width, shape, reach, folds), part, fold


@examples(80)
@given(divided(), st.data())
def test_any_window_of_a_part_is_cut_from_the_whole(drawn, data):
    division, part, fold = drawn
    values = np.random.default_rng(0).integers(1, 99, division.shape)
    view = Part(values, division, part, fold, 0)
    window = data.draw(windows(*division.shape))
    steps = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))

    whole = view[:, :]

    rows, columns = window.slices
    stepped = slice(rows.start, rows.stop, steps[0]), slice(columns.start, columns.stop, steps[1])
    assert np.array_equal(view[(..., *window.slices)], whole[window.slices])
    assert np.array_equal(view[(..., *stepped)], whole[stepped])
    assert np.array_equal(whole, np.where(whole != 0, values, 0))


@examples(60)
@given(dtypes, sizes, sizes, st.lists(st.integers(0, 3), min_size=3, max_size=3), seeds, st.data())
def test_any_window_of_a_picture_is_cut_from_the_whole(dtype, height, width, rgb, seed, data):
    pixels = noise(np.random.default_rng(seed), dtype, (4, height, width), 0)
    limits = data.draw(st.sampled_from([[(0, 255)] * 4, [(-5, 2), (1, 9), (0, 1), (-9e3, 9e3)]]))
    view = Picture(pixels, rgb, limits)
    window = data.draw(windows(height, width))

    whole, cut = view[:, :], view[(..., *window.slices)]

    assert np.array_equal(cut, whole[(slice(None), *window.slices)])
    low, high = np.array(limits, float)[rgb].T[:, :, None, None]
    formula = ((pixels[rgb] - low) / (high - low)).clip(0, 1)
    assert np.allclose(whole, formula, atol=1e-5)


@examples(25)
@given(label_rasters(), st.integers(5, 60), st.sampled_from(["labels", "heights"]))
def test_what_lies_on_another_grid_is_the_same_in_any_windows(drawn, size, kind):
    image, other, _, _, seed = drawn
    values = np.random.default_rng(seed).integers(0, 4, (other.height, other.width))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "other.tif"
        profile = {
            "driver": "GTiff",
            "count": 1,
            "crs": UTM,
            "dtype": "uint8",
            "height": other.height,
        }
        place = rasterio.Affine(*other.transform)
        with rasterio.open(path, "w", transform=place, width=other.width, **profile) as target:
            target.write(values.astype(np.uint8), 1)
        book = Codebook([[0], [1], [2], [3]], (), IGNORE)
        layer = (
            Labels(path, image, book, Params())
            if kind == "labels"
            else Heights(path, None, image, Params())
        )
        with layer as view:
            whole = view.read(Window(0, 0, image.height, image.width))
            pieces = np.empty_like(whole)
            for window in blocks(image.height, image.width, size):
                pieces[window.slices] = view.read(window)

    assert np.array_equal(pieces, whole, equal_nan=kind == "heights")


@examples(25)
@given(sizes, sizes, st.sampled_from([0.2, 0.5, 3.0]), seeds, st.data())
def test_any_window_of_the_ground_is_cut_from_the_whole(height, width, gsd, seed, data):
    surface = np.random.default_rng(seed).uniform(0, 20, (height, width)).astype(np.float32)
    surface[surface > 18] = np.nan
    ground = Ground(lambda window: surface[window.slices], height, width, gsd, 30.0, 0.2)
    window = data.draw(windows(height, width))

    whole = ground.heights(Window(0, 0, height, width))

    assert np.array_equal(ground.heights(window), whole[window.slices])
    assert np.isfinite(whole).all()


# (d) grids


@examples(100)
@given(grids(), grids())
def test_a_grid_agrees_with_itself_and_disagreement_is_mutual(one, other):
    assert one.disagreement(one) is None
    assert (one.disagreement(other) is None) == (other.disagreement(one) is None)
    if one.disagreement(other) is not None:
        assert ", expected " in one.disagreement(other) and "\n" not in one.disagreement(other)


@examples(60)
@given(grids(st.integers(2, 5000)), st.floats(-0.009, 0.009), st.floats(0.02, 3), st.data())
def test_a_hair_of_a_shift_is_none_and_a_pixel_s_is_one(grid, hair, shift, data):
    assume(grid.crs is not None)
    axis = data.draw(st.sampled_from([2, 5]))
    pixel = max(abs(grid.transform[0]), abs(grid.transform[1]))
    verdicts = []
    for move in (hair, shift):
        place = list(grid.transform)
        place[axis] += move * pixel
        verdicts.append(grid.disagreement(Grid(grid.height, grid.width, grid.crs, tuple(place))))

    assert verdicts[0] is None
    assert verdicts[1] is not None


@examples(80)
@given(grids(), grids())
def test_what_is_covered_is_a_share_and_all_of_it_by_itself(one, other):
    assert abs(covered(one, one) - 1) < 1e-9
    assert 0 <= covered(one, other) <= 1 + 1e-9


@examples(80)
@given(grids(), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_a_shifted_raster_covers_what_remains_in_each_direction(grid, right, down):
    assume(grid.crs is not None)
    a, b, c, d, e, f = grid.transform
    x, y = right * grid.width, down * grid.height
    moved = Grid(
        grid.height, grid.width, grid.crs, (a, b, c + a * x + b * y, d, e, f + d * x + e * y)
    )

    expected = max(0, 1 - abs(right)) * max(0, 1 - abs(down))

    assert abs(covered(grid, moved) - expected) < 1e-4
    assert abs(covered(moved, grid) - expected) < 1e-4


@examples(60)
@given(st.lists(grids(), min_size=2, max_size=2).filter(lambda two: two[0].crs == two[1].crs))
def test_the_ground_that_two_rasters_share_is_the_same_from_either_side(two):
    assume(two[0].crs is not None)
    areas = [
        grid.height * grid.width * abs(np.linalg.det(np.reshape(grid.transform, (2, 3))[:, :2]))
        for grid in two
    ]
    shared = [
        covered(*pair) * area for pair, area in zip(itertools.permutations(two), areas, strict=True)
    ]

    assert abs(shared[0] - shared[1]) <= 1e-6 * max(areas)
