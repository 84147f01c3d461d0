"""Whatever GDAL reads comes out of ``tile`` as the same pixels."""

import json

import numpy as np
import pytest
import rasterio
import zarr
from rasterio.drivers import raster_driver_extensions

from pipeline_steps import tile
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import ClassCode

SIZE = (150, 210)
GRID = Grid(*SIZE, "EPSG:25832", (0.2, 0.0, 5e5, 0.0, -0.2, 5.5e6))
CODES = [ClassCode(name="a", value=1), ClassCode(name="b", value=2)]


def pixels_of(dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(0, 100, (3, *SIZE)).astype(np.float32)
    ends = np.iinfo(dtype)
    return rng.integers(ends.min, ends.max, (3, *SIZE), dtype, endpoint=True)


def tiled(folder, image, **params):
    """Tile one image without labels; return its manifest and a reader of its arrays."""
    (folder / "scenes.tsv").write_text(f"scene\timage\tsplit\na\t{image.name}\tpredict\n")
    stores = {n: folder / f"{n}.zarr" for n in ("image", "labels", "valid", "elevation")}
    tile.run(
        scene="a",
        table=folder / "scenes.tsv",
        root=str(image.parent),
        **stores,
        manifest=folder / "manifest.json",
        classes=CODES,
        params=tile.Params(chunk=64, **params),
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    return manifest, lambda name: zarr.open_group(stores[name], mode="r")["0"][:]


@pytest.mark.parametrize(
    "profile",
    [
        {
            "driver": "GTiff",
            "compress": "DEFLATE",
            "tiled": True,
            "blockxsize": 64,
            "blockysize": 64,
        },
        {"driver": "GTiff", "compress": "LZW", "blockysize": 7},
        {"driver": "GTiff", "interleave": "band", "BIGTIFF": "YES"},
        {"driver": "COG", "blocksize": 128},
        {"driver": "ENVI"},
    ],
    ids=lambda profile: "-".join(map(str, profile.values())),
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_layout_and_type_of_a_file_leave_its_pixels_as_they_are(tmp_path, profile, dtype):
    pixels = pixels_of(dtype)
    file = tmp_path / "image.tif"
    place = {"crs": GRID.crs, "transform": rasterio.Affine(*GRID.transform)}
    with rasterio.open(
        file, "w", height=SIZE[0], width=SIZE[1], count=3, dtype=dtype, **profile, **place
    ) as target:
        target.write(pixels)
    manifest, stored = tiled(tmp_path, file)

    assert manifest["dtype"] == dtype
    assert np.array_equal(stored("image"), pixels)
    assert stored("valid").all()


def test_internal_overviews_are_not_taken_for_the_image(tmp_path):
    pixels = pixels_of("uint8")
    write_raster(tmp_path / "image.tif", pixels, GRID)
    with rasterio.open(tmp_path / "image.tif", "r+") as target:
        target.build_overviews([2, 4])
    _, stored = tiled(tmp_path, tmp_path / "image.tif")

    assert np.array_equal(stored("image"), pixels)


@pytest.mark.skipif("jp2" not in raster_driver_extensions(), reason="this GDAL has no JPEG2000")
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_lossless_jpeg2000_is_read(tmp_path, dtype):
    pixels, file = pixels_of(dtype), tmp_path / "image.jp2"
    size = {"height": SIZE[0], "width": SIZE[1], "count": 3, "dtype": dtype}
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    with rasterio.open(file, "w", driver="JP2OpenJPEG", **size, **lossless) as target:
        target.write(pixels)
    _, stored = tiled(tmp_path, file)

    assert np.array_equal(stored("image"), pixels)


def mosaic(folder, files, width):
    """Write a VRT in which ``files`` lie side by side, each 100 pixels wide, and a gap."""
    bands = []
    for band in (1, 2, 3):
        sources = "".join(
            f"<SimpleSource><SourceFilename relativeToVRT='1'>{file.name}</SourceFilename>"
            f"<SourceBand>{band}</SourceBand><SrcRect xOff='0' yOff='0' xSize='100' ySize='80'/>"
            f"<DstRect xOff='{100 * i}' yOff='0' xSize='100' ySize='80'/></SimpleSource>"
            for i, file in enumerate(files)
        )
        bands.append(
            f"<VRTRasterBand dataType='Byte' band='{band}'><NoDataValue>0</NoDataValue>"
            f"{sources}</VRTRasterBand>"
        )
    place = ", ".join(map(str, (5e5, 0.2, 0, 5.5e6, 0, -0.2)))
    (folder / "mosaic.vrt").write_text(
        f"<VRTDataset rasterXSize='{width}' rasterYSize='80'><SRS>EPSG:25832"
        f"</SRS><GeoTransform>{place}</GeoTransform>{''.join(bands)}</VRTDataset>"
    )
    return folder / "mosaic.vrt"


def test_a_mosaic_of_files_is_one_image_and_its_gap_is_no_data(tmp_path):
    files, parts = [], []
    for number in range(2):
        parts.append(np.random.default_rng(number).integers(1, 256, (3, 80, 100), np.uint8))
        files.append(tmp_path / f"{number}.tif")
        place = (0.2, 0.0, 5e5 + 20 * number, 0.0, -0.2, 5.5e6)
        write_raster(files[-1], parts[-1], Grid(80, 100, GRID.crs, place))
    _, stored = tiled(tmp_path, mosaic(tmp_path, files, width=230))

    assert np.array_equal(stored("image")[..., :200], np.concatenate(parts, axis=2))
    assert stored("valid")[:, :200].all() and not stored("valid")[:, 200:].any()


def test_bands_are_kept_in_the_order_that_the_study_says(tmp_path):
    pixels = pixels_of("uint16")
    write_raster(tmp_path / "image.tif", pixels, GRID)
    manifest, stored = tiled(tmp_path, tmp_path / "image.tif", bands=(3, 1), rgb=(1, 3, 1))

    assert np.array_equal(stored("image"), pixels[[2, 0]])
    assert (manifest["bands"], manifest["rgb"]) == ([3, 1], [1, 0, 1])


@pytest.mark.parametrize("compression", ["zstd", "deflate", "none"])
def test_compression_changes_no_pixel(tmp_path, compression):
    pixels = pixels_of("int16")
    write_raster(tmp_path / "image.tif", pixels, GRID)
    _, stored = tiled(tmp_path, tmp_path / "image.tif", compression=compression)

    assert np.array_equal(stored("image"), pixels)


def test_another_type_is_refused_with_those_that_are_read(tmp_path):
    write_raster(tmp_path / "image.tif", np.ones((3, *SIZE)), GRID)
    with pytest.raises(ValueError, match=r"image\.tif: is float64, expected one of uint8, uint16,"):
        tiled(tmp_path, tmp_path / "image.tif")


@pytest.mark.parametrize("compression", ["zstd", "deflate", "none"])
def test_equal_work_gives_equal_bytes_at_any_time_of_day(tmp_path, monkeypatch, compression):
    write_raster(tmp_path / "image.tif", pixels_of("uint8"), GRID)
    made = []
    for number, now in enumerate((1e9, 2e9)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        folder = tmp_path / str(number)
        folder.mkdir()
        manifest, _ = tiled(folder, tmp_path / "image.tif", compression=compression)
        made.append(manifest["made"])

    assert made[0] == made[1]


def test_what_is_constant_takes_no_room_and_is_there_again(tmp_path):
    pixels = pixels_of("uint8")
    pixels[:, :70] = 0
    write_raster(tmp_path / "image.tif", pixels, GRID)
    _, stored = tiled(tmp_path, tmp_path / "image.tif", nodata=0)

    assert np.array_equal(stored("image"), pixels)
    assert np.array_equal(stored("valid"), (pixels != 0).any(axis=0))
    assert (stored("labels") == 255).all() and np.isnan(stored("elevation")).all()
    assert not list((tmp_path / "elevation.zarr" / "0").rglob("c/*"))
