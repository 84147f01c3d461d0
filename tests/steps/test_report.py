import base64
import json
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image

from pipeline_steps import report, tabulate, tile
from pipeline_steps.presentation import depth, gain, scenes
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import new_array
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import IGNORE, ClassCode, ClassLook
from pipeline_steps.study.prompts import Prompts
from pipeline_steps.study.transfer import Transfer
from tests.steps.conftest import stretch_file, tile_arguments

TEMPLATE = Path(__file__).resolve().parents[2] / "workflow" / "report" / "index.html.jinja"
PANEL = 5_000
"""Pixels that are more than any legend has, and less than half a picture of a scene."""

LOOKS = [
    ClassLook(name="roof", color="#c81e1e"),
    ClassLook(name="road", color="#1e1ec8"),
    ClassLook(name="tree", color="#1ec81e"),
]
LOW, HIGH = matplotlib.colormaps["magma"]([0.0, 1.0], bytes=True)[:, :3]
HALVES = np.repeat([[0, 1]], 64, 0).repeat(32, 1).astype(np.uint8)


def written(path, array, dtype=np.uint8):
    bands = array if array.ndim == 3 else array[None]
    write_raster(path, bands.astype(dtype), Grid(*bands.shape[1:], None, (1, 0, 0, 0, 1, 0)))
    return path


OF_ALL = {f"{name}.png" for name in ("learning_curves", "networks_at_work", "overall")}
OF_ALL |= {"differences.png", "reliability.png"}
"""Figures of all trainings, where one of them took pictures and there are two experiments."""

OF_ONE = OF_ALL - {"differences.png"}

TABLES = ("overall", "classes", "depth", "differences", "reliability")
SURE = np.zeros((101, 2), int)
SURE[80] = 1, 3
"""Pixels by confidence: four of 80 %, three of them right."""


class Results:
    """A results folder as the stages before leave it, and the report of it."""

    def __init__(self, folder, looks=LOOKS):
        self.folder, self.looks = folder, looks
        self.tiles, self.depths, self.maps, self.histories, self.counts = [], [], [], [], []
        self.splits, self.limits, self.prompts, self.qualities = [], None, [], []
        self.panels = []

    def scene(self, name, *labels, image=128, dtype=np.uint8, elevation=()):
        """Tile a scene of one raster, or of many."""
        sources = self.folder / "sources" / name
        for stem, one in zip("abc", labels, strict=False):
            written(sources / f"{stem}.tif", np.full((3, *one.shape), image), dtype)
            written(sources / "labels" / f"{stem}.tif", one)
        for stem, one in zip("abc", elevation, strict=False):
            written(sources / "elevation" / f"{stem}.tif", one, np.float32)
        stem = "*" if len(labels) > 1 else "a"
        files = [sources / f"{stem}.tif", sources / "labels" / f"{stem}.tif"]
        files += [sources / "elevation" / f"{stem}.tif"] if elevation else []
        arguments = tile_arguments(self.folder / "tile" / name, name, *files)
        codes = [ClassCode(name=look.name, value=i) for i, look in enumerate(self.looks)]
        tile.run(**arguments | {"classes": codes, "params": tile.Params(ignore_labels=(99,))})
        self.tiles.append(arguments["manifest"])
        return self

    def division(self, scene, colour):
        """Leave a picture of one colour where ``split`` leaves that of a scene's blocks."""
        folder = self.folder / "split" / scene
        folder.mkdir(parents=True)
        Image.new("RGB", (200, 200), colour).save(folder / "split.png")
        self.splits.append(folder / "manifest.json")
        return self

    def depth(self, teacher, scene, field):
        folder = self.folder / "depth" / teacher / scene
        new_array(folder / "depth.zarr", 0, field.shape, "float16", 0, 32)[:] = field
        self.depths.append(folder / "manifest.json")
        return self

    def quality(self, teacher, scene, spearman=None, auc_tall=None):
        """Leave what ``depth`` measured."""
        measured = {"spearman": spearman, "auc_tall": auc_tall, "classes": {}}
        self.qualities.append(self.folder / "depth" / teacher / scene / "quality.json")
        self.qualities[-1].parent.mkdir(parents=True, exist_ok=True)
        facts = {"teacher": teacher, "scene": scene, "rasters": [measured]}
        self.qualities[-1].write_text(json.dumps(facts))
        return self

    def prompted(self, experiment, teacher=None, **facts):
        """Say what prompts an experiment's network: nothing, or a teacher's depth."""
        facts = {"is_prompted": teacher is not None, "teacher": teacher} | facts
        self.prompts.append(Prompts(experiment=experiment, **facts))
        return self

    def map(self, experiment, scene, *guesses, run="seed-0"):
        """Write a scene's map, its counts, and once the training's history."""
        folder = self.folder / "predict" / experiment / run / scene
        self.maps.append(folder / "classes" if len(guesses) > 1 else folder / "classes.tif")
        for name, guess in zip("abc", guesses, strict=False):
            file = self.maps[-1] / f"{name}.tif" if len(guesses) > 1 else self.maps[-1]
            written(file, guess)
        history = self.folder / "train" / experiment / run / "history.csv"
        history.parent.mkdir(parents=True, exist_ok=True)
        depth = (",ssim_loss", ",0.5", ",0.4") if experiment == "deep" else ("", "", "")
        rows = ("step,lr,loss,cross_entropy", "20,0.1,1.5,1.0", "40,0.1,1.2,0.8")
        history.write_text("".join(f"{a}{b}\n" for a, b in zip(rows, depth, strict=True)))
        if history not in self.histories:
            self.histories.append(history)
            self.panels.append(history.parent / "panels")
            self.panels[-1].mkdir()
            for step in (20, 40) if experiment == "deep" else ():
                picture = Image.new("RGB", (64, 32), (step, 200, 0))
                picture.save(self.panels[-1] / f"step-{step:06d}.png")
        counts = self.folder / "score" / experiment / f"{scene}.json"
        counts.parent.mkdir(parents=True, exist_ok=True)
        matrix = np.eye(len(self.looks), dtype=int).tolist()
        facts = {"experiment": experiment, "seed": 0, "fold": None, "scene": scene}
        facts |= {"strata": {"all": matrix}, "blocks": [matrix], "rims": None}
        facts["confidence"] = SURE.tolist()
        counts.write_text(json.dumps(facts | {"classes": [look.name for look in self.looks]}))
        self.counts.append(counts)
        return self

    def report(self, template=TEMPLATE, **params):
        """Draw the report; return its page and its folder of figures."""
        tables = self.folder / "tabulate"
        findings = self.folder / "findings.json"
        findings.write_text('{"leaks": []}')
        inputs = (self.counts, self.qualities, [], [], self.folder / "benchmarks", findings)
        tabulate.run(*inputs, tables, [], Transfer(targets=(), learners=()), tabulate.Params())
        page, figures = self.folder / "report" / "index.html", self.folder / "report" / "figures"
        report.run(
            self.tiles,
            self.depths,
            self.maps,
            self.histories,
            self.panels,
            [tables / f"{name}.csv" for name in TABLES],
            self.splits,
            stretch_file(self.folder, self.limits),
            page,
            figures,
            template,
            self.looks,
            self.prompts,
            report.Params(**({"dpi": 50} | params)),
        )
        return page, figures


def pixels(figure, colour):
    """Count the pixels of a figure that have exactly this colour."""
    with Image.open(figure) as picture:
        rgb = np.asarray(picture.convert("RGB"))
    return int((rgb == np.array(colour)).all(-1).sum())


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The page and the figures of two scenes, one of them of many images, and two experiments."""
    results = Results(tmp_path_factory.mktemp("drawn"))
    roof, tree = HALVES * 0, HALVES * 0 + 2
    results.scene("harbour", HALVES, image=77).map("deep", "harbour", HALVES)
    results.map("bare", "harbour", tree)
    results.depth("low", "harbour", np.zeros((64, 64))).depth("high", "harbour", np.ones((64, 64)))
    results.scene("market", roof, tree[:48], image=99).map("deep", "market", roof, tree[:48])
    results.map("bare", "market", roof, tree[:48]).depth("low", "market", np.zeros((64, 64)))
    return results.report()


def test_there_is_a_figure_for_every_test_scene_and_three_of_all(drawn):
    _, figures = drawn

    expected = {"scene_harbour.png", "scene_market.png"}
    assert {file.name for file in figures.iterdir()} == expected | OF_ALL
    for file in figures.iterdir():
        with Image.open(file) as picture:
            assert picture.format == "PNG" and min(picture.size) > 100


def test_nothing_half_written_is_left(drawn):
    page, figures = drawn

    assert sorted(file.name for file in page.parent.iterdir()) == ["figures", "index.html"]
    assert not list(figures.glob("*.partial"))


class _Addresses(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        names = {"src", "href", "srcset", "action", "data", "poster", "background"}
        self.sources += [value for name, value in attrs if name in names]

    def handle_data(self, data):
        self.text += data


def parsed(page):
    parser = _Addresses()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_the_page_holds_its_figures_and_needs_no_address(drawn):
    page, figures = drawn
    start = "data:image/png;base64,"
    found = parsed(page)

    assert all(source.startswith(start) for source in found.sources)
    shown = {base64.b64decode(source.removeprefix(start)) for source in found.sources}
    assert shown == {file.read_bytes() for file in figures.iterdir()}
    text = page.read_text(encoding="utf-8")
    bare = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"//|url\(|@import", bare)
    assert not {"script", "link", "iframe", "base"} & set(found.tags)


def test_the_page_shows_the_tables_and_the_note(drawn):
    page, _ = drawn
    found = parsed(page)

    assert found.tags.count("table") == len(TABLES)
    assert "summed over all test scenes" in found.text
    for word in ("deep", "bare", "roof", "miou", "overall", "classes", "harbour", "market"):
        assert word in found.text


def test_a_scenes_figure_shows_labels_and_maps_in_the_classes_colours(drawn):
    _, figures = drawn
    roof, road, tree = (pixels(figures / "scene_harbour.png", look.rgb) for look in LOOKS)

    # half of the labels and half of the map of `deep` each; the whole map of `bare`
    assert min(roof, road, tree) > PANEL
    assert roof == pytest.approx(road, rel=0.1)
    assert tree == pytest.approx(roof, rel=0.1)


def test_colours_are_never_blended(drawn):
    with Image.open(drawn[1] / "scene_harbour.png") as picture:
        red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB"), int), -1, 0)

    # between roof (200, 30, 30) and road (30, 30, 200) there is nothing
    between = (abs(green - 30) < 3) & (abs(red + blue - 230) < 5) & (red > 40) & (red < 190)
    assert not between.any()


def test_a_class_that_is_nowhere_has_its_colour_in_the_legend_alone(drawn):
    _, figures = drawn

    assert 0 < pixels(figures / "scene_market.png", LOOKS[1].rgb) < PANEL / 5
    assert pixels(figures / "scene_market.png", LOOKS[0].rgb) > PANEL


def test_a_scene_of_many_images_is_shown_by_its_first(drawn):
    _, figures = drawn

    assert pixels(figures / "scene_market.png", LOOKS[2].rgb) < PANEL / 5
    assert pixels(figures / "scene_market.png", LOOKS[0].rgb) > 3 * PANEL


def test_every_scene_shows_its_own_image_and_depth(drawn):
    _, figures = drawn
    shown = {
        "harbour": {(77, 77, 77): True, (99, 99, 99): False, tuple(LOW): True, tuple(HIGH): True},
        "market": {(77, 77, 77): False, (99, 99, 99): True, tuple(LOW): True, tuple(HIGH): False},
    }
    for name, colours in shown.items():
        for colour, is_there in colours.items():
            assert (pixels(figures / f"scene_{name}.png", colour) > PANEL) == is_there, (
                name,
                colour,
            )


def test_what_has_no_class_is_grey(results):
    labels = np.where(HALVES == 1, 99, HALVES)
    results.scene("town", labels).map("deep", "town", np.full((64, 64), IGNORE))

    _, figures = results.report()

    grey = pixels(figures / "scene_town.png", scenes.NO_CLASS)
    assert grey == pytest.approx(3 * pixels(figures / "scene_town.png", LOOKS[0].rgb), rel=0.1)
    assert grey > PANEL


def test_a_large_scene_is_sampled_down_and_keeps_its_colours(results):
    for name, height, width in (("even", 200, 150), ("odd", 65, 129)):
        labels = np.zeros((height, width), np.uint8)
        labels[height // 2 :] = 1
        results.scene(name, labels).map("deep", name, labels)

    _, figures = results.report(panel_px=64)

    for name in ("even", "odd"):
        roof, road = (pixels(figures / f"scene_{name}.png", look.rgb) for look in LOOKS[:2])
        assert roof > PANEL
        assert roof == pytest.approx(road, rel=0.2)


ODD = ["<script>alert(1)</script>", "$x_1$ & $y", r"50 % $\frac{$"]


def test_odd_class_names_neither_break_the_figures_nor_enter_the_page(tmp_path):
    looks = [ClassLook(name=n, color=look.color) for n, look in zip(ODD, LOOKS, strict=True)]
    results = Results(tmp_path, looks).scene("town", HALVES).map("deep", "town", HALVES)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page, figures = results.report()

    found = parsed(page)
    assert "script" not in found.tags
    assert all(name in found.text for name in ODD)
    assert pixels(figures / "scene_town.png", looks[0].rgb) > PANEL
    assert "Predicting '<script>" in found.text  # the note


def test_curves_are_drawn_for_experiments_with_and_without_depth(drawn, results):
    _, both = drawn
    results.scene("town", HALVES).map("bare", "town", HALVES)
    _, bare = results.report()

    blue, orange = (31, 119, 180), (255, 127, 14)  # the first two of matplotlib's cycle
    assert pixels(both / "learning_curves.png", blue) > 0
    assert pixels(both / "learning_curves.png", orange) > 0
    assert pixels(bare / "learning_curves.png", blue) > 0
    assert pixels(bare / "learning_curves.png", orange) == 0


def test_the_divisions_of_scenes_are_figures_of_their_own(results):
    results.scene("town", HALVES).map("deep", "town", HALVES).division("town", (1, 2, 3))

    page, figures = results.report()

    names = {"scene_town.png", "split_town.png"}
    assert {file.name for file in figures.iterdir()} == names | OF_ONE
    assert pixels(figures / "split_town.png", (1, 2, 3)) == 200 * 200
    shown = {base64.b64decode(one.partition(",")[2]) for one in parsed(page).sources}
    assert (figures / "split_town.png").read_bytes() in shown


def test_the_folds_of_an_experiment_are_drawn_as_one(results):
    """Each of its trainings is tested on other scenes, and all curves have one colour."""
    for fold, name in enumerate(("harbour", "market")):
        results.scene(name, HALVES).map("deep", name, HALVES, run=f"seed-0-fold-{fold}")

    _, figures = results.report()

    for name in ("harbour", "market"):
        assert pixels(figures / f"scene_{name}.png", LOOKS[0].rgb) > PANEL
    assert len(results.histories) == 2
    assert pixels(figures / "learning_curves.png", (31, 119, 180)) > 0
    assert pixels(figures / "learning_curves.png", (255, 127, 14)) == 0


def test_an_image_of_sixteen_bits_is_shown_between_the_studys_limits(results):
    results.limits = [[0, 4 * 255]]
    results.scene("town", HALVES, image=4 * 77, dtype=np.uint16).map("deep", "town", HALVES)

    _, figures = results.report()

    assert pixels(figures / "scene_town.png", (77, 77, 77)) > PANEL


def test_an_image_of_sixteen_bits_without_limits_is_refused_by_name(results):
    results.scene("town", HALVES, dtype=np.uint16).map("deep", "town", HALVES)

    with pytest.raises(ValueError, match=r"tile/town/manifest\.json: image is uint16, expected"):
        results.report()

    assert not list((results.folder / "report").iterdir())


def test_twice_the_resolution_gives_figures_twice_as_wide(drawn, results):
    results.scene("town", HALVES).map("deep", "town", HALVES)
    _, fine = results.report(dpi=100)

    widths = []
    for figures in (drawn[1], fine):
        with Image.open(figures / "learning_curves.png") as picture:
            widths.append(picture.width)

    assert widths[1] == 2 * widths[0]


def test_a_report_again_has_the_same_bytes_and_replaces_the_last(results):
    results.scene("town", HALVES).map("deep", "town", HALVES)
    page, figures = results.report()
    before = page.read_bytes()
    (figures / "of_old.png").write_text("")

    results.report()

    assert page.read_bytes() == before
    assert {file.name for file in figures.iterdir()} == {"scene_town.png"} | OF_ONE


def test_first_and_last_picture_of_each_training_that_took_some_are_shown(results):
    results.scene("town", HALVES).map("deep", "town", HALVES).map("bare", "town", HALVES)
    _, figures = results.report()

    for step in (20, 40):
        assert pixels(figures / "networks_at_work.png", (step, 200, 0)) > 0
    bare = Results(results.folder / "bare").scene("town", HALVES).map("bare", "town", HALVES)
    _, figures = bare.report()
    assert not (figures / "networks_at_work.png").exists()


def test_a_map_that_cannot_be_read_is_named_and_nothing_is_published(results):
    results.scene("town", HALVES).map("deep", "town", HALVES)
    results.maps[0].unlink()

    with pytest.raises(ValueError, match=re.escape(f"{results.maps[0]}: cannot be read")):
        results.report()

    assert not list((results.folder / "report").iterdir())


def test_labels_and_maps_are_sampled_at_the_same_pixels(results):
    stripes = np.zeros((128, 128), np.uint8)
    stripes[1::2] = 1
    results.scene("town", stripes).map("deep", "town", stripes)

    _, figures = results.report(panel_px=64)

    # every other row is road, and either both panels fall on it or neither does
    roof, road = (pixels(figures / "scene_town.png", look.rgb) for look in LOOKS[:2])
    assert min(roof, road) < PANEL / 5 < 2 * PANEL < max(roof, road)


def test_no_name_of_a_scene_or_an_experiment_is_taken_for_another_thing(results):
    for name in ("overall", "learning_curves"):
        results.scene(name, HALVES).map("007", name, HALVES).map("null", name, HALVES)

    _, figures = results.report()

    names = {"scene_overall.png", "scene_learning_curves.png"}
    assert {file.name for file in figures.iterdir()} == names | OF_ALL - {"networks_at_work.png"}
    assert pixels(figures / "scene_overall.png", LOOKS[0].rgb) > PANEL


# Depth beside elevation


def no_error(figure):
    """Count the pixels of no error, which rounding puts below or above it."""
    return pixels(figure, BELOW) + pixels(figure, ABOVE)


GREY = (212, 212, 212)
"""What has no value."""

BELOW, ABOVE, TOO_LOW, TOO_TALL = matplotlib.colormaps["RdBu_r"]([127, 128, 0, 255], bytes=True)[
    :, :3
]
METRES = np.where(HALVES, 12.0, 2.0)


def test_a_test_scene_with_elevation_has_a_figure_of_its_depth(results):
    results.scene("high", HALVES, elevation=[METRES]).map("deep", "high", HALVES)
    results.scene("flat", HALVES).map("deep", "flat", HALVES)
    for name in ("high", "flat"):
        results.depth("net", name, HALVES / 2)

    page, figures = results.report()

    assert (figures / "depth_high.png").exists() and not (figures / "depth_flat.png").exists()
    assert "brought to metres" in parsed(page).text


def test_without_teachers_there_is_no_figure_of_depth(results):
    results.scene("high", HALVES, elevation=[METRES]).map("bare", "high", HALVES)

    page, figures = results.report()

    names = {"scene_high.png"} | OF_ONE - {"networks_at_work.png"}
    assert {file.name for file in figures.iterdir()} == names
    assert "brought to metres" not in parsed(page).text


def test_depth_that_differs_from_height_by_scale_and_shift_has_no_error(results):
    results.scene("town", HALVES, elevation=[METRES]).map("deep", "town", HALVES)
    results.depth("net", "town", 0.25 + HALVES / 2)

    _, figures = results.report()

    figure = figures / "depth_town.png"
    assert no_error(figure) > 2 * PANEL
    assert pixels(figure, TOO_LOW) + pixels(figure, TOO_TALL) < PANEL / 5
    # elevation is shown between its extremes, and relative depth between 0 and 1
    assert min(pixels(figure, LOW), pixels(figure, HIGH)) > PANEL


@pytest.mark.parametrize(("patch", "wrong", "colour"), [(0, 1, TOO_TALL), (32, 0, TOO_LOW)])
def test_red_is_too_tall_and_blue_too_low(results, patch, wrong, colour):
    field = HALVES.copy()
    field[:32, patch : patch + 16] = wrong  # an eighth of the scene
    results.scene("town", HALVES, elevation=[METRES]).map("deep", "town", HALVES)
    results.depth("net", "town", field)

    _, figures = results.report()

    red, blue = (pixels(figures / "depth_town.png", each) for each in (TOO_TALL, TOO_LOW))
    right, other = (red, blue) if colour is TOO_TALL else (blue, red)
    assert right > PANEL / 5 + other


def test_where_depth_or_elevation_is_unknown_is_grey(results):
    holes, gaps = METRES.copy(), HALVES / 2
    holes[:16], gaps[48:] = np.nan, np.nan
    results.scene("town", HALVES, elevation=[holes]).map("deep", "town", HALVES)
    results.depth("net", "town", gaps)

    _, figures = results.report()

    # a quarter of depth, a quarter of elevation, and half of their difference
    grey = pixels(figures / "depth_town.png", GREY)
    assert grey == pytest.approx(2 * no_error(figures / "depth_town.png"), rel=0.1)
    assert grey > PANEL


def test_every_teacher_has_a_row_and_a_folder_is_shown_by_its_first_image(results):
    labels, tall = [HALVES, HALVES[:48]], [METRES, np.full((48, 64), 3.0)]
    results.scene("many", *labels, elevation=tall).map("deep", "many", *labels)
    results.depth("net", "many", HALVES / 2)
    one = results.report()[1] / "depth_many.png"
    with Image.open(one) as picture:
        height, error = picture.height, no_error(one)

    results.depth("other", "many", HALVES / 4)
    _, figures = results.report()

    with Image.open(figures / "depth_many.png") as picture:
        assert picture.height > 1.6 * height
    assert no_error(figures / "depth_many.png") == pytest.approx(2 * error, rel=0.1)
    assert error > 2 * PANEL


def test_a_scene_without_relief_or_height_breaks_no_figure(results):
    nothing = np.full((64, 64), np.nan)
    for name, elevation in (("town", METRES), ("plain", METRES * 0), ("unknown", nothing)):
        results.scene(name, HALVES, elevation=[elevation]).map("deep", name, HALVES)
        results.depth("blind", name, nothing).depth("constant", name, HALVES * 0 + 0.5)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, figures = results.report()

    assert len(list(figures.glob("depth_*.png"))) == 3


def test_the_error_is_that_of_the_best_line_and_unknown_where_either_is():
    rng = np.random.default_rng(0)
    guess, truth = rng.uniform(size=(9, 9)).astype(np.float32), rng.uniform(0, 9, (9, 9))
    guess[0, 0], truth[1, 1] = np.nan, np.nan

    error = depth.error_in_metres(guess, truth)

    known = np.isfinite(error)
    assert known.sum() == 79 and not known[0, 0] and not known[1, 1]
    residual = np.linalg.lstsq(np.c_[guess[known], np.ones(79)], truth[known], rcond=None)[1]
    assert (error[known] ** 2).sum() == pytest.approx(residual[0])
    flat = depth.error_in_metres(np.full((9, 9), 0.5, np.float32), truth)
    assert flat[0, 0] == pytest.approx(np.nanmean(truth) - truth[0, 0])


# The teacher's quality and the gain

OVERALL = pd.DataFrame(
    {
        "experiment": ["bare", "deep", "fed", "plain"],
        "miou": [0.5, 0.6, 0.8, 0.1],
        "miou_sd": [0.03, 0.04, float("nan"), 0.0],
    }
)
QUALITY = pd.DataFrame(
    {
        "teacher": ["net", "net", "net", "elevation", "blind"],
        "spearman": [0.2, 0.4, float("nan"), 1.0, float("nan")],
        "auc_tall": [0.7, float("nan"), float("nan"), 1.0, float("nan")],
    }
)
BARE, PLAIN = (Prompts(experiment=name, is_prompted=False) for name in ("bare", "plain"))
DEEP = Prompts(experiment="deep", is_prompted=True, teacher="net")
FED = Prompts(
    experiment="fed", is_prompted=True, teacher="elevation", is_elevation=True, is_fed=True
)


def test_the_gain_is_over_the_first_experiment_without_depth_prompts():
    rows = gain.gains(OVERALL, QUALITY, [DEEP, BARE, PLAIN, FED]).to_dict("records")

    deep, fed = rows
    assert (deep["experiment"], deep["baseline"]) == ("deep", "bare")
    assert deep["gain"] == pytest.approx(0.1)
    assert deep["sd"] == pytest.approx(0.05)  # the root of 0.03² + 0.04²
    assert deep["spearman"] == pytest.approx(0.3) and deep["auc_tall"] == pytest.approx(0.7)
    assert (fed["experiment"], fed["spearman"], fed["is_fed"]) == ("fed", 1, True)
    assert fed["gain"] == pytest.approx(0.3) and np.isnan(fed["sd"])


@pytest.mark.parametrize(
    "prompts",
    [
        [DEEP, FED],
        [BARE, PLAIN],
        [BARE, DEEP.model_copy(update={"teacher": "blind"})],
        [BARE, DEEP.model_copy(update={"teacher": None})],
        [],
    ],
    ids=["all prompted", "none prompted", "no elevation", "no depth loss", "none"],
)
def test_without_a_baseline_a_teacher_or_elevation_nothing_is_gained(prompts):
    assert len(gain.gains(OVERALL, QUALITY, prompts)) == 0


def test_label_feed_and_elevation_are_told_apart():
    figure = gain.gain_figure(gain.gains(OVERALL, QUALITY, [BARE, DEEP, FED]))

    for axis in figure.axes:
        marks = {line.get_marker(): line for line in axis.lines if line.get_marker() in ("o", "s")}
        label, fed = marks["o"], marks["s"]
        assert label.get_ydata() == pytest.approx([0.1]) and fed.get_ydata() == pytest.approx([0.3])
        assert label.get_color() != fed.get_color()
        assert label.get_markerfacecolor() == label.get_color()
        assert fed.get_markerfacecolor() == "white"
        assert {text.get_text() for text in axis.texts} == {"deep", "fed"}
    assert "gain in mIoU over bare" in figure.axes[0].get_ylabel()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["label in training", "fed to the network", "hollow: a scene's own elevation"]


def test_a_line_leads_from_teacher_to_teacher_by_quality():
    names = ["best", "worst", "good", "good too"]
    overall = pd.DataFrame(
        {"experiment": ["bare", *names], "miou": [0.5, 0.9, 0.6, 0.7, 0.8], "miou_sd": 0.0}
    )
    quality = pd.DataFrame(
        {"teacher": ["c", "a", "b"], "spearman": [0.9, 0.1, 0.5], "auc_tall": [0.9, 0.6, 0.7]}
    )
    prompts = [
        Prompts(experiment=name, is_prompted=True, teacher=teacher)
        for name, teacher in zip(names, "cabb", strict=True)
    ]

    figure = gain.gain_figure(gain.gains(overall, quality, [BARE, *prompts]))

    for axis, x in zip(figure.axes, ([0.1, 0.5, 0.9], [0.6, 0.7, 0.9]), strict=True):
        (line,) = (line for line in axis.lines if len(line.get_xdata()) == 3)
        assert line.get_xdata() == pytest.approx(x)
        # the two that share a teacher meet in the middle
        assert line.get_ydata() == pytest.approx([0.1, 0.25, 0.4])


def test_the_names_of_marks_lie_beside_one_another():
    names = [f"experiment-{n}" for n in range(8)]
    overall = pd.DataFrame(
        {"experiment": ["bare", *names], "miou": [0.5, *np.linspace(0.6, 0.605, 8)], "miou_sd": 0.1}
    )
    prompts = [Prompts(experiment=n, is_prompted=True, teacher="net") for n in names]

    figure = gain.gain_figure(gain.gains(overall, QUALITY, [BARE, *prompts]))

    figure.draw_without_rendering()
    for axis in figure.axes:
        boxes = [Text.get_window_extent(text) for text in axis.texts]
        assert len(boxes) == 8
        assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # with itself


def prompted_town(results):
    results.scene("town", HALVES, elevation=[METRES]).depth("net", "town", HALVES / 2)
    results.map("deep", "town", HALVES).map("bare", "town", HALVES)
    return results.prompted("deep", "net").prompted("bare")


def test_a_study_with_and_without_depth_prompts_shows_what_the_teacher_is_worth(results):
    page, figures = prompted_town(results).quality("net", "town", 0.7, 0.8).report()

    expected = {f"{name}.png" for name in ("scene_town", "depth_town")}
    of_all = OF_ALL | {"teacher_quality.png"}
    assert {file.name for file in figures.iterdir()} == expected | of_all
    assert "how well the teacher knows the height" in parsed(page).text
    teal = tuple(bytes.fromhex(gain.KINDS[False][2][1:]))
    assert pixels(figures / "teacher_quality.png", teal) > 0


def test_without_known_quality_there_is_no_figure_of_it(results):
    _, figures = prompted_town(results).quality("net", "town").report()

    assert (figures / "depth_town.png").exists()
    assert not (figures / "teacher_quality.png").exists()


def test_the_page_says_each_note_once(results):
    page, _ = prompted_town(results).quality("net", "town", 0.7, 0.8).report()

    text = parsed(page).text
    assert text.count("summed over all test scenes") == 1
    assert text.count("least error that any scale and shift gives") == 1
