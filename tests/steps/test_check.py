import json

import numpy as np
import pytest

from pipeline_steps.check import Models, Params, Tile, run
from pipeline_steps.rasters.raster import Grid, write_raster
from pipeline_steps.study.params.fetch import Model
from tests.steps.conftest import CODES

GRID = Grid(64, 64, "EPSG:32632", (0.5, 0.0, 5e5, 0.0, -0.5, 5e6))


def check(folder, labels=None, grid=GRID, models=None, **tile):
    write_raster(folder / "image.tif", np.ones((3, 64, 64), np.uint8), GRID)
    labels = np.zeros((1, grid.height, grid.width), np.uint8) if labels is None else labels
    write_raster(folder / "labels.tif", labels, grid)
    table = folder / "scenes.tsv"
    table.write_text("scene\timage\tlabels\tsplit\na\timage.tif\tlabels.tif\ttrain\n")
    found = folder / "findings.json"
    tile = Tile(**tile)
    run(table, str(folder), found, CODES, models or Models(), tile, Params())
    return json.loads(found.read_text())


def test_a_sound_study_passes_and_is_described(tmp_path):
    found = check(tmp_path)
    assert found["scenes"][0]["crs"] == "EPSG:32632"
    assert found["scenes"][0]["megapixels"] == 64 * 64 / 1e6
    assert found["warnings"] == []


@pytest.mark.parametrize("size", [(60, 64), (64, 65)])
def test_labels_of_another_size_are_found(tmp_path, size):
    with pytest.raises(ValueError, match=r"labels\.tif: is \d+x\d+ pixels, expected 64x64"):
        check(tmp_path, grid=Grid(*size, GRID.crs, GRID.transform))
    assert not (tmp_path / "findings.json").exists()


def test_a_sampled_label_outside_the_classes_is_an_error_or_a_warning(tmp_path):
    labels = np.full((1, 64, 64), 99, np.uint8)
    with pytest.raises(ValueError, match=r"labels\.tif: has label values 99"):
        check(tmp_path, labels)

    found = check(tmp_path, labels, unlisted_labels="ignore")
    assert "99" in found["warnings"][0]


def test_a_model_folder_without_weights_is_found(tmp_path):
    models = Models(models={"mine": Model(source=str(tmp_path))})
    with pytest.raises(ValueError, match=r"has no config\.json, .*\(and 1 more above\)"):
        check(tmp_path, models=models)


def test_all_errors_are_in_the_log_before_the_first_is_raised(tmp_path, caplog):
    labels = np.full((1, 60, 64), 99, np.uint8)
    with pytest.raises(ValueError, match="and 1 more above"):
        check(tmp_path, labels, Grid(60, 64, GRID.crs, GRID.transform))
    assert "expected 64x64" in caplog.text
    assert "99" in caplog.text
