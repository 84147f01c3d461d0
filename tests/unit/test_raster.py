import numpy as np
import pytest
import rasterio
from PIL import Image

from pipeline_steps.rasters.raster import (
    Grid,
    MapWriter,
    crs_name,
    opened,
    read,
    read_labels,
    read_valid,
    write_raster,
)
from pipeline_steps.rasters.windows import Window, blocks

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


def finished_map(path, values, place, resampling="mode", nodata=255, looks=None):
    writer = MapWriter(path, place, str(values.dtype), nodata)
    if looks:
        writer.describe(*looks)
    for top in range(0, len(values), 100):
        writer.write(top, values[top : top + 100])
    writer.close(resampling)


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
        read_valid(source, Window(0, 0, 30, 30))

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
        valid = read_valid(source, Window(5, 5, 10, 10))

    np.testing.assert_array_equal(valid, np.tile([False] * 5 + [True] * 5, (10, 1)))


def test_valid_follows_alpha(tmp_path):
    picture = noise(20, 30, 4)
    picture[..., 3] = 255
    picture[:4, :, 3] = 0
    Image.fromarray(picture, "RGBA").save(tmp_path / "a.png")

    with opened(tmp_path / "a.png") as source:
        valid = read_valid(source, Window(0, 0, 20, 30))

    assert not valid[:4].any() and valid[4:].all()


def test_a_file_without_nodata_is_valid_everywhere(tmp_path):
    write_raster(tmp_path / "a.tif", np.zeros((1, 40, 60), np.uint8), grid())

    with opened(tmp_path / "a.tif") as source:
        assert read_valid(source, Window(0, 0, 40, 60)).all()


def test_equal_grids_do_not_disagree():
    assert grid().disagreement(grid()) is None


def test_disagreement_names_both_sizes():
    found = grid().disagreement(grid(41, 60))

    assert found == "is 60x41 pixels, expected 60x40"


def test_disagreement_names_both_crs():
    other = rasterio.CRS.from_epsg(3857).to_wkt()

    assert grid().disagreement(grid(crs=other)) == "has CRS EPSG:3857, expected EPSG:32643"


@pytest.mark.parametrize("number, change", [(2, 0.25), (5, -0.5), (0, 0.001), (4, 0.001), (1, 0.1)])
def test_a_shifted_scaled_or_turned_grid_disagrees(number, change):
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
    looks = (["roof", "road"], [(200, 55, 45), (90, 90, 96)])

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


def test_a_map_that_is_given_up_leaves_no_draft(tmp_path):
    with pytest.raises(RuntimeError), MapWriter(tmp_path / "a.tif", grid(), "uint8", 255):
        raise RuntimeError

    assert not list(tmp_path.iterdir())


def test_a_crs_that_lies_beside_a_picture_is_read(tmp_path):
    Image.fromarray(noise(30, 30, 3)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jgw").write_text("0.5\n0\n0\n-0.5\n400000\n3000000\n")
    notes = f"<PAMDataset><SRS>{UTM}</SRS></PAMDataset>"
    (tmp_path / "a.jpg.aux.xml").write_text(notes)

    with opened(tmp_path / "a.jpg") as source:
        assert source.crs.to_epsg() == 32643
        assert source.transform.a == 0.5
