"""A map of four bands where a third of the frame has no data."""

import numpy as np
import pytest
import rasterio

from pipeline_steps import predict
from pipeline_steps.rasters.store import open_array
from pipeline_steps.study.classes import IGNORE, ClassCode, ClassLook
from pipeline_steps.study.params.predict import Params
from tests.conftest import REAL
from tests.data.tiling import stored, tile_scene
from tests.steps.conftest import TINY, training
from tests.steps.test_train import trained

pytestmark = pytest.mark.real

BANDS = (1, 2, 3, 4)
NAMES = ("ground", "low vegetation", "high vegetation", "building")
LOOKS = [ClassLook(name=name, color=f"#8040{60 * i:02x}") for i, name in enumerate(NAMES)]
OUTPUTS = ("confidence", "entropy", "disagreement", "probabilities")


@pytest.fixture(scope="module")
def rural(tmp_path_factory):
    """The tiled scene, its image and the folder of its maps."""
    if not REAL.is_dir():
        pytest.skip("no ../shared/data here")
    folder, out = REAL / "ign_rural", tmp_path_factory.mktemp("rural")
    files = {"image": folder / "ortho_from_points.tif", "labels": folder / "landcover.tif"}
    codes = [ClassCode(name=name, value=value) for value, name in enumerate(NAMES, 1)]
    tile = tile_scene(out, codes, "train", **files, bands=BANDS, ignore_labels=(0,))
    encoder = TINY["network"]["encoder"] | {"bands": "all"}
    settings = training(network={"prompter": False, "encoder": encoder}, teacher=None, steps=60)
    model = trained(out / "model", tile, settings)
    maps = [out / f"{name}.tif" for name in ("classes", *OUTPUTS[:-1])]
    params = Params(window=128, overlap=0.25, batch=4, precision="fp32", outputs=OUTPUTS)
    maps.append(out / "probabilities.zarr")
    predict.run([model / "manifest.json"], tile, [], maps, LOOKS, params)
    return tile, files["image"], out


def read(path):
    with rasterio.open(path) as source:
        return source.read(1), source


def test_the_map_lies_on_the_source_s_grid_and_knows_a_class_exactly_where_there_is_data(rural):
    tile, image, folder = rural
    classes, found = read(folder / "classes.tif")
    _, source = read(image)

    assert (found.crs, found.transform, found.shape) == (source.crs, source.transform, source.shape)
    is_valid = stored(tile, "valid") > 0
    assert np.array_equal(classes != IGNORE, is_valid)
    assert (~is_valid).mean() == pytest.approx(0.351, abs=0.001)
    assert 1 < len(np.unique(classes[is_valid])) <= len(NAMES)


def test_every_other_map_has_data_where_the_classes_have(rural):
    _, _, folder = rural
    nodata = read(folder / "classes.tif")[0] == IGNORE

    for name in OUTPUTS[:-1]:
        values, source = read(folder / f"{name}.tif")
        assert np.array_equal(values == source.nodata, nodata), name


def test_the_probabilities_have_the_map_s_class_on_top_and_add_up(rural):
    _, _, folder = rural
    classes, _ = read(folder / "classes.tif")
    is_valid = classes != IGNORE
    shares = open_array(folder / "probabilities.zarr", "probabilities")[:][:, is_valid]

    top = np.take_along_axis(shares, classes[is_valid][None].astype(int), 0)[0]
    assert (top >= shares.max(0)).all()
    # each of four is rounded to a 254th
    assert np.abs(shares.astype(int).sum(0) - 254).max() <= 2
