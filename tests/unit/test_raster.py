import numpy as np
import pytest
import rasterio
from PIL import Image

from pipeline_steps.rasters.labels import NOT_A_LABEL
from pipeline_steps.rasters.raster import (
    Grid,
    alpha_of,
    bounds_in,
    crs_name,
    file_of,
    is_warped,
    moved,
    opened,
    opened_on,
    read,
    read_extent,
    read_image,
    read_labels,
    wkt_of,
)
from pipeline_steps.rasters.windows import Window, blocks
from pipeline_steps.rasters.writing import write_map, write_raster

UTM = rasterio.CRS.from_epsg(32643).to_wkt()
PLACE = (0.5, 0.0, 400000.0, 0.0, -0.5, 3000000.0)


def grid(height=40, width=60, crs=UTM, transform=PLACE):
    return Grid(height, width, crs, transform)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def whole(path):
    with opened(path) as source:
        window = Window(0, 0, source.height, source.width)
        return read(source, window, list(source.indexes))


def in_windows(path, size=128):
    with opened(path) as source:
        for window in blocks(source.height, source.width, size):
            read(source, window, list(source.indexes))


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def finished_map(path, values, place, resampling="mode", nodata=255, looks=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".raw")
    draft.write_bytes(values.tobytes())
    write_map(draft, path, place, str(values.dtype), nodata, resampling, "land cover", looks)
    draft.unlink()


def test_what_is_written_is_read_back_in_its_place(tmp_path):
    values = noise(3, 40, 60)

    write_raster(tmp_path / "deep" / "a.tif", values, grid(), nodata=7)

    np.testing.assert_array_equal(whole(tmp_path / "deep" / "a.tif"), values)
    with opened(tmp_path / "deep" / "a.tif") as source:
        assert Grid.of(source).disagreement(grid()) is None
        assert (source.crs.to_epsg(), source.nodata) == (32643, 7)


def test_a_raster_without_georeference_has_no_crs(tmp_path):
    plain = grid(crs=None, transform=(1, 0, 0, 0, 1, 0))
    write_raster(tmp_path / "a.tif", noise(1, 40, 60), plain)

    with opened(tmp_path / "a.tif") as source:
        assert Grid.of(source) == plain


def test_a_raster_without_georeference_stays_without_whatever_stands_in(tmp_path):
    plain = grid(crs=None, transform=(1, 0, 0, 0, 1, 0))
    write_raster(tmp_path / "a.tif", noise(1, 40, 60), plain)

    with opened(tmp_path / "a.tif") as source:
        assert Grid.of(source, "EPSG:32632") == plain


def test_a_crs_stands_in_where_a_file_has_a_place_alone_and_nowhere_else(tmp_path):
    write_raster(tmp_path / "placed.tif", noise(1, 40, 60), grid(crs=None))
    write_raster(tmp_path / "own.tif", noise(1, 40, 60), grid())

    with opened(tmp_path / "placed.tif") as source:
        assert Grid.of(source).crs is None
        assert crs_name(Grid.of(source, "EPSG:32632").crs) == "EPSG:32632"
    with opened(tmp_path / "own.tif") as source:
        assert crs_name(Grid.of(source, "EPSG:32632").crs) == "EPSG:32643"


def test_local_coordinates_are_no_place_on_the_ground(tmp_path):
    local = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    write_raster(tmp_path / "a.tif", noise(1, 40, 60), grid(crs=local))

    with opened(tmp_path / "a.tif") as source:
        assert source.crs
        assert Grid.of(source).crs is None


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_a_raster_that_lies_on_the_grid_is_opened_as_it_is(tmp_path, resampling):
    values = noise(1, 40, 60)
    write_raster(tmp_path / "a.tif", values, grid())

    with opened_on(tmp_path / "a.tif", grid(), resampling) as source:
        assert not is_warped(source)
        np.testing.assert_array_equal(read(source, Window(0, 0, 40, 60), 1), values[0])


def moved_by(columns, rows):
    """Return the grid so many pixels further to the right and down."""
    return grid(transform=(0.5, 0.0, PLACE[2] + columns / 2, 0.0, -0.5, PLACE[5] - rows / 2))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_a_raster_beside_the_grid_is_there_where_it_lies_and_nowhere_else(tmp_path, dtype):
    values = (noise(1, 40, 60) % 100 + 1).astype(dtype)
    write_raster(tmp_path / "a.tif", values, moved_by(20, -10), nodata=1)

    with opened_on(tmp_path / "a.tif", grid(), "nearest") as source:
        assert is_warped(source) and file_of(source).nodata == 1
        found = read(source, Window(0, 0, 40, 60), 1)
        valid = read_extent(source, Window(0, 0, 40, 60))

    expected = np.zeros((40, 60), bool)
    expected[:30, 20:] = True
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[:30, 20:], values[0, 10:, :40])
    np.testing.assert_array_equal(valid, expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_heights_beside_the_grid_are_interpolated_and_nan_where_they_end(tmp_path, dtype):
    slope = np.broadcast_to(10 * np.arange(1, 21), (1, 40, 20)).astype(dtype)
    slope[0, 30:] = 7
    place = Grid(40, 20, UTM, moved_by(30.5, 0).transform)
    write_raster(tmp_path / "a.tif", slope, place, nodata=7)

    with opened_on(tmp_path / "a.tif", grid(), "bilinear") as source:
        found = read(source, Window(0, 0, 40, 60), 1)

    assert found.dtype == np.float32
    assert np.isnan(found[:, :30]).all() and np.isnan(found[:, 51:]).all()
    assert np.isnan(found[30:]).all()
    np.testing.assert_allclose(found[0, 31:50], 10 * np.arange(1, 20) + 5)


@pytest.mark.parametrize("crs, other", [(None, None), (UTM, None), (None, UTM)])
def test_another_size_without_a_crs_is_refused_with_both_sizes(tmp_path, crs, other):
    write_raster(tmp_path / "a.tif", noise(1, 41, 60), grid(41, 60, other))
    text = r"a\.tif: is 60x41 pixels, expected 60x40 like its image, since one of them has no CRS"

    with (
        pytest.raises(ValueError, match=text),
        opened_on(tmp_path / "a.tif", grid(crs=crs), "nearest"),
    ):
        pass


def test_the_same_size_without_a_crs_is_taken_for_the_same_place(tmp_path):
    write_raster(tmp_path / "a.tif", noise(1, 40, 60), grid(crs=None))

    with opened_on(tmp_path / "a.tif", grid(), "nearest") as source:
        assert not is_warped(source)


def test_with_a_crs_that_stands_in_a_raster_is_laid_where_it_belongs(tmp_path):
    values = noise(1, 40, 60)
    place = moved_by(20, -10)
    write_raster(tmp_path / "a.tif", values, grid(crs=None, transform=place.transform))

    with opened_on(tmp_path / "a.tif", grid(), "nearest", crs="EPSG:32643") as source:
        found = read(source, Window(0, 0, 40, 60), 1)

    np.testing.assert_array_equal(found[:30, 20:], values[0, 10:, :40])


def test_a_window_and_bands_are_read_in_the_order_asked_for(tmp_path):
    values = noise(4, 40, 60)
    write_raster(tmp_path / "a.tif", values, grid())
    window = Window(3, 5, 7, 11)

    with opened(tmp_path / "a.tif") as source:
        bands = read(source, window, [4, 1])
        band = read(source, window, 2)

    np.testing.assert_array_equal(bands, values[[3, 0], 3:10, 5:16])
    np.testing.assert_array_equal(band, values[1, 3:10, 5:16])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    "name, take",
    [
        ("a.jpg", whole),
        ("a.jpg", in_windows),
        ("a.tif", whole),
        ("a.png", in_windows),
        ("a.png", whole),
    ],
)
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, name, take, share):
    path = tmp_path / name
    if name == "a.tif":
        write_raster(path, noise(3, 300, 300), grid(300, 300))
    else:
        Image.fromarray(noise(300, 300, 3)).save(path)
    take(path)
    cut(path, share)

    with pytest.raises(ValueError, match=rf"{name}: cannot be read \(.+\), expected a whole"):
        take(path)


def test_what_is_no_raster_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a.tif").write_text("scene\timage\n")

    for name in ("a.tif", "gone.tif"):
        with pytest.raises(ValueError, match=rf"{name}: cannot be read"):
            whole(tmp_path / name)


def test_reading_leaves_no_file_beside_the_image(tmp_path):
    Image.fromarray(noise(30, 30, 3)).save(tmp_path / "a.jpg")

    whole(tmp_path / "a.jpg")
    with opened(tmp_path / "a.jpg") as source:
        read_image(source, Window(0, 0, 30, 30), [1], None)

    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_palette_is_looked_up_where_colours_are_asked_for(tmp_path):
    colours = np.array([(226, 169, 41), (132, 41, 246), (60, 16, 152)], np.uint8)
    indices = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(colours.ravel().tolist())
    picture.save(tmp_path / "mask.png")
    window = Window(2, 3, 10, 12)

    with opened(tmp_path / "mask.png") as source:
        as_rgb, as_values = (read_labels(source, window, rgb) for rgb in (True, False))

    np.testing.assert_array_equal(as_rgb, np.moveaxis(colours[indices[2:12, 3:15]], -1, 0))
    np.testing.assert_array_equal(as_values, indices[2:12, 3:15])
    assert as_rgb.dtype == np.uint8


def test_colours_are_the_first_three_bands(tmp_path):
    values = noise(4, 40, 60)
    write_raster(tmp_path / "mask.tif", values, grid())

    with opened(tmp_path / "mask.tif") as source:
        found = read_labels(source, Window(0, 0, 40, 60), as_rgb=True)

    np.testing.assert_array_equal(found, values[:3])


def test_colours_of_a_plain_band_are_an_error_that_names_the_file(tmp_path):
    write_raster(tmp_path / "mask.tif", noise(1, 40, 60), grid())

    with (
        opened(tmp_path / "mask.tif") as source,
        pytest.raises(ValueError, match=r"mask\.tif: has 1 band and no palette, expected colours"),
    ):
        read_labels(source, Window(0, 0, 40, 60), as_rgb=True)


def test_valid_follows_nodata(tmp_path):
    values = np.ones((1, 40, 60), np.uint8)
    values[:, :, :10] = 0
    write_raster(tmp_path / "a.tif", values, grid(), nodata=0)

    with opened(tmp_path / "a.tif") as source:
        _, valid = read_image(source, Window(5, 5, 10, 10), [1], None)

    np.testing.assert_array_equal(valid, np.tile([False] * 5 + [True] * 5, (10, 1)))


def test_valid_follows_alpha(tmp_path):
    picture = noise(20, 30, 4)
    picture[..., 3] = 255
    picture[:4, :, 3] = 0
    Image.fromarray(picture, "RGBA").save(tmp_path / "a.png")

    with opened(tmp_path / "a.png") as source:
        _, valid = read_image(source, Window(0, 0, 20, 30), [1, 2, 3], None)

    assert not valid[:4].any() and valid[4:].all()


def test_a_file_without_nodata_is_valid_everywhere(tmp_path):
    write_raster(tmp_path / "a.tif", np.zeros((1, 40, 60), np.uint8), grid())

    with opened(tmp_path / "a.tif") as source:
        assert read_image(source, Window(0, 0, 40, 60), [1], None)[1].all()


def data(path, bands, nodata=None):
    """Return where a raster of 40 x 60 pixels has data."""
    with opened(path) as source:
        pixels, is_valid = read_image(source, Window(0, 0, 40, 60), bands, nodata)
        np.testing.assert_array_equal(pixels, read(source, Window(0, 0, 40, 60), bands))
    return is_valid


def holed(count, dtype=np.uint8, fill=0):
    """Return bands of noise, of which the first is ``fill`` left and all are on top."""
    values = (noise(count, 40, 60) // 2 + 1).astype(dtype)
    values[:, :5] = fill
    values[0, :, :7] = fill
    return values


def rows_from(first):
    expected = np.ones((40, 60), bool)
    expected[:first] = False
    return expected


def test_nodata_is_where_all_bands_say_so_by_the_file_or_by_the_study(tmp_path):
    write_raster(tmp_path / "own.tif", holed(3), grid(), nodata=0)
    write_raster(tmp_path / "plain.tif", holed(3), grid())

    np.testing.assert_array_equal(data(tmp_path / "own.tif", [1, 2, 3]), rows_from(5))
    np.testing.assert_array_equal(data(tmp_path / "plain.tif", [1, 2, 3], 0), rows_from(5))
    assert data(tmp_path / "plain.tif", [1, 2, 3]).all()
    assert not data(tmp_path / "plain.tif", [1], 0)[:, :7].any()


def test_the_studys_nodata_adds_to_that_of_the_file(tmp_path):
    values = holed(3)
    values[:, 30:] = 200
    write_raster(tmp_path / "a.tif", values, grid(), nodata=0)

    expected = rows_from(5)
    expected[30:] = False
    np.testing.assert_array_equal(data(tmp_path / "a.tif", [1, 2, 3], 200), expected)


def test_what_is_no_number_in_one_band_is_no_data(tmp_path):
    write_raster(tmp_path / "a.tif", holed(2, np.float32, np.nan), grid())

    expected = rows_from(5)
    expected[:, :7] = False
    np.testing.assert_array_equal(data(tmp_path / "a.tif", [1, 2]), expected)
    np.testing.assert_array_equal(data(tmp_path / "a.tif", [2]), rows_from(5))


def test_a_mask_band_says_where_data_is(tmp_path):
    write_raster(tmp_path / "a.tif", noise(3, 40, 60), grid())
    with rasterio.open(tmp_path / "a.tif", "r+") as target:
        target.write_mask(rows_from(9))

    np.testing.assert_array_equal(data(tmp_path / "a.tif", [1, 2, 3]), rows_from(9))


@pytest.mark.parametrize("dtype, full", [("uint8", 255), ("uint16", 65535), ("float32", 255)])
def test_alpha_says_where_data_is_unless_it_is_a_band_of_the_image(tmp_path, dtype, full):
    values = np.concatenate([holed(3, dtype), np.full((1, 40, 60), full, dtype)])
    values[3, :9] = 0
    write_raster(tmp_path / "a.tif", values, grid(), photometric="RGB", alpha="yes")

    with opened(tmp_path / "a.tif") as source:
        assert alpha_of(source) == 4
    np.testing.assert_array_equal(data(tmp_path / "a.tif", [1, 2, 3]), rows_from(9))
    # near infrared may come as what GDAL takes for alpha: then nothing is where all is 0
    np.testing.assert_array_equal(data(tmp_path / "a.tif", [4, 1, 2, 3]), rows_from(5))


def test_whole_numbers_in_a_floating_file_are_labels_and_nan_is_none(tmp_path):
    values = (noise(1, 40, 60) % 7).astype(np.float32)
    values[0, :3] = np.nan
    write_raster(tmp_path / "a.tif", values, grid())

    with opened(tmp_path / "a.tif") as source:
        found = read_labels(source, Window(0, 0, 40, 60), as_rgb=False)

    assert found.dtype == np.int64
    assert (found[:3] == NOT_A_LABEL).all()
    np.testing.assert_array_equal(found[3:], values[0, 3:])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fraction_is_no_label_and_is_refused_by_the_files_name(tmp_path, dtype):
    values = np.zeros((1, 40, 60), dtype)
    values[0, 7, 7] = 0.5
    write_raster(tmp_path / "a.tif", values, grid())

    with opened(tmp_path / "a.tif") as source:
        assert not read_labels(source, Window(0, 0, 7, 60), as_rgb=False).any()
        text = rf"a\.tif: is {dtype} with fractions, expected integer labels"
        with pytest.raises(ValueError, match=text):
            read_labels(source, Window(0, 0, 40, 60), as_rgb=False)


def test_bounds_and_points_are_the_same_place_in_another_crs():
    window, lonlat = Window(4, 6, 10, 20), wkt_of("OGC:CRS84")
    corners = np.array([[400003.0, 2999998.0], [400013.0, 2999993.0]])

    left, bottom, right, top = bounds_in(grid(), window, UTM)
    west, south, east, north = bounds_in(grid(), window, lonlat)

    assert (left, top, right, bottom) == (*corners[0], *corners[1])
    there = moved(corners, UTM, lonlat)
    assert west <= there[0, 0] < there[1, 0] <= east and south <= there[1, 1] < there[0, 1] <= north
    assert (east - west, north - south) == pytest.approx(abs(there[1] - there[0]), rel=0.05)
    np.testing.assert_allclose(moved(there, lonlat, UTM), corners, atol=1e-4)


def test_a_crs_may_be_written_in_any_way_and_what_is_none_is_refused():
    assert wkt_of("EPSG:32643") == UTM
    with pytest.raises(ValueError, match="CRS is 'EPSG:none', expected one such as EPSG:25832"):
        wkt_of("EPSG:none")


def test_equal_grids_do_not_disagree():
    assert grid().disagreement(grid()) is None


def test_disagreement_names_both_sizes():
    found = grid().disagreement(grid(41, 60))

    assert found == "is 60x41 pixels, expected 60x40"


def test_disagreement_names_both_crs():
    other = rasterio.CRS.from_epsg(3857).to_wkt()

    assert grid().disagreement(grid(crs=other)) == "has CRS EPSG:3857, expected EPSG:32643"


def test_disagreement_in_crs_comes_before_that_in_size():
    other = rasterio.CRS.from_epsg(3857).to_wkt()

    assert grid().disagreement(grid(41, 60, other)).startswith("has CRS EPSG:3857")


@pytest.mark.parametrize("number, change, place", [(2, 0.25, (0.5, 0)), (5, -0.5, (0, 1))])
def test_a_shifted_grid_disagrees_by_pixels(number, change, place):
    moved = list(PLACE)
    moved[number] += change

    found = grid().disagreement(grid(transform=tuple(moved)))

    column, row = place
    assert found == f"begins at column {column} and row {row}, expected 0 and 0"


@pytest.mark.parametrize("number, change", [(0, 0.001), (4, 0.001), (1, 0.1), (3, 1e-5)])
def test_a_scaled_or_turned_grid_disagrees(number, change):
    moved = list(PLACE)
    moved[number] += change

    found = grid().disagreement(grid(transform=tuple(moved)))

    assert found == f"has transform {tuple(moved)}, expected {PLACE}"


@pytest.mark.parametrize("number, change", [(2, 0.004), (5, -0.004), (0, 4e-7), (4, 4e-7)])
def test_a_hair_of_difference_is_no_disagreement(number, change):
    moved = list(PLACE)
    moved[number] += change

    assert grid().disagreement(grid(transform=tuple(moved))) is None


def test_a_grid_without_crs_is_compared_by_size_alone():
    plain = grid(crs=None, transform=(1, 0, 0, 0, 1, 0))

    assert grid().disagreement(plain) is None
    assert plain.disagreement(grid()) is None
    assert plain.disagreement(grid(41, 60)) is not None


def test_a_crs_is_called_by_its_code_or_its_name():
    own = rasterio.CRS.from_proj4("+proj=tmerc +lat_0=1 +lon_0=2 +ellps=bessel").to_wkt()

    assert crs_name(UTM) == "EPSG:32643"
    assert crs_name(own) == own.split('"')[1]


def test_a_map_has_place_nodata_colours_and_names(tmp_path):
    values = noise(250, 310) % 3
    looks = [("roof", (200, 55, 45)), ("road", (90, 90, 96))]

    finished_map(tmp_path / "map.tif", values, grid(250, 310), looks=looks)

    np.testing.assert_array_equal(whole(tmp_path / "map.tif")[0], values)
    with rasterio.open(tmp_path / "map.tif") as source:
        assert Grid.of(source).disagreement(grid(250, 310)) is None
        assert source.nodata == 255
        assert source.colormap(1)[0] == (200, 55, 45, 255)
        assert source.colormap(1)[1] == (90, 90, 96, 255)
        assert source.tags(1)["class_0"] == "roof" and source.tags(1)["class_1"] == "road"


def test_a_map_is_a_cloud_optimised_geotiff_and_its_draft_is_gone(tmp_path):
    finished_map(tmp_path / "map.tif", noise(600, 700), grid(600, 700))

    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert source.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
        assert source.block_shapes == [(512, 512)]
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]


def test_a_large_map_has_overviews_without_colours_that_no_class_has(tmp_path):
    values = np.where(np.arange(1300) % 3, 4, 1).astype(np.uint8)
    values = np.broadcast_to(values, (1300, 1300)).copy()

    finished_map(tmp_path / "map.tif", values, grid(1300, 1300))

    with rasterio.open(tmp_path / "map.tif") as source:
        assert source.overviews(1) == [2, 4]
        small = source.read(1, out_shape=(325, 325))
    assert set(np.unique(small)) == {1, 4}


def test_a_depth_map_keeps_its_floats(tmp_path):
    values = np.random.default_rng(0).standard_normal((120, 130)).astype(np.float32)
    values[:5] = np.nan

    finished_map(tmp_path / "depth.tif", values, grid(120, 130), "average", nodata=np.nan)

    np.testing.assert_array_equal(whole(tmp_path / "depth.tif")[0], values)
    with rasterio.open(tmp_path / "depth.tif") as source:
        assert np.isnan(source.nodata)


def test_a_map_without_georeference_is_written_too(tmp_path):
    plain = grid(30, 30, None, (1, 0, 0, 0, 1, 0))
    finished_map(tmp_path / "map.tif", noise(30, 30), plain)

    with opened(tmp_path / "map.tif") as source:
        assert source.crs is None


def test_a_crs_that_lies_beside_a_picture_is_read(tmp_path):
    Image.fromarray(noise(30, 30, 3)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jgw").write_text("0.5\n0\n0\n-0.5\n400000\n3000000\n")
    notes = f"<PAMDataset><SRS>{UTM}</SRS></PAMDataset>"
    (tmp_path / "a.jpg.aux.xml").write_text(notes)

    with opened(tmp_path / "a.jpg") as source:
        assert source.crs.to_epsg() == 32643
        assert source.transform.a == 0.5
