"""What the figures of corruptions show: a panel a kind, a line an experiment, a crop a severity."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from pipeline_steps.presentation.corruption_charts import corrupted_figure, corruption_chart
from pipeline_steps.rasters.corrupted import CorruptedScene
from pipeline_steps.rasters.store import Scene
from pipeline_steps.rasters.writing import write_raster
from tests.data.tiling import tile_scene, utm_grid


def table(*experiments, kinds=("haze", "noise"), severities=(1, 3)):
    rows = []
    for k, kind in enumerate(kinds):
        for e, name in enumerate(experiments):
            row = {"kind": kind, "experiment": name, "seeds": 2}
            for place, column in enumerate(("clean", *severities)):
                value = 0.9 - 0.1 * place - 0.2 * e - 0.01 * k
                row |= {f"miou_{column}": value, f"miou_{column}_sd": 0.02 if k else np.nan}
            rows.append(row | {"miou_mean": 0.5, "miou_mean_sd": 0.1, "drop": 0.2, "drop_sd": 0.1})
    return pd.DataFrame(rows)


def panels(figure):
    return {axis.get_title(): axis for axis in figure.axes if axis.get_title()}


def test_a_panel_has_a_line_over_severity_for_each_experiment_from_the_clean_image_on():
    found = panels(corruption_chart(table("a", "b")))

    assert list(found) == ["haze", "noise"]
    lines = {line.get_label(): line for line in found["noise"].get_lines()}
    assert list(lines) == ["a", "b"]
    assert lines["a"].get_xdata().tolist() == [0, 1, 3]
    assert lines["b"].get_ydata() == pytest.approx([0.69, 0.59, 0.49])
    assert found["haze"].get_ylim()[0] == 0


def test_the_band_is_the_deviation_over_seeds():
    (band,) = panels(corruption_chart(table("a")))["noise"].collections

    ends = band.get_paths()[0].vertices
    at_zero = ends[ends[:, 0] == 0][:, 1]
    assert at_zero.min() == pytest.approx(0.87) and at_zero.max() == pytest.approx(0.91)


def test_many_experiments_are_told_apart_and_their_names_are_text():
    names = [f"e{n}_$x$" for n in range(14)]
    figure = corruption_chart(table(*names))

    axis = panels(figure)["haze"]
    looks = {(line.get_color(), line.get_linestyle()) for line in axis.get_lines()}
    assert len(looks) == 14
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    assert not any(text.get_parse_math() for text in legend.findobj(Text) if text.get_text())


@pytest.mark.parametrize("count", [1, 3, 5, 8])
def test_there_are_as_many_panels_as_kinds(count):
    kinds = [f"kind {n}" for n in range(count)]

    assert list(panels(corruption_chart(table("a", kinds=kinds)))) == kinds


def test_a_crop_is_shown_as_networks_see_it_of_the_scene_with_most_kinds(tmp_path):
    scenes, files = [], []
    for name, kinds in (("few", ["haze"]), ("many", ["haze", "jpeg"])):
        folder = tmp_path / name
        folder.mkdir()
        image = np.random.default_rng(1).integers(0, 255, (3, 200, 300), np.uint8)
        write_raster(folder / "image.tif", image, utm_grid(200, 300))
        manifest = tile_scene(folder, image="image.tif")
        facts = json.loads(manifest.read_text()) | {"scene": name}
        scenes.append(Scene(manifest, facts))
        told = {"scene": name, "kinds": {kind: {"2": [], "5": []} for kind in kinds}}
        files.append(folder / "counts.json")
        files[-1].write_text(json.dumps(told))

    figure = corrupted_figure(scenes, None, files)

    assert figure.get_suptitle() == "many"
    rows = np.array(figure.axes).reshape(2, 3)
    assert [axis.get_title() for axis in rows[0]] == ["as it is", "severity 2", "severity 5"]
    assert [axis.get_ylabel() for axis in rows[:, 0]] == ["haze", "jpeg"]
    limits = scenes[1].limits(None)
    worst = CorruptedScene(scenes[1], "jpeg", 5, limits).picture(0, limits)
    expected = np.moveaxis(worst[..., 20:180, 70:230], 0, -1)
    assert np.array_equal(rows[1, 2].images[0].get_array(), expected)
