import base64
import json
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from pipeline_steps import report, tabulate, tile
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import new_array
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import IGNORE, ClassCode, ClassLook
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


class Results:
    """A results folder as the stages before leave it, and the report of it."""

    def __init__(self, folder, looks=LOOKS):
        self.folder, self.looks = folder, looks
        self.tiles, self.depths, self.maps, self.histories, self.counts = [], [], [], [], []
        self.splits, self.limits = [], None

    def scene(self, name, *labels, image=128, dtype=np.uint8):
        """Tile a scene of one raster, or of many."""
        sources = self.folder / "sources" / name
        for stem, one in zip("abc", labels, strict=False):
            written(sources / f"{stem}.tif", np.full((3, *one.shape), image), dtype)
            written(sources / "labels" / f"{stem}.tif", one)
        stem = "*" if len(labels) > 1 else "a"
        files = [sources / f"{stem}.tif", sources / "labels" / f"{stem}.tif"]
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
        counts = self.folder / "score" / experiment / f"{scene}.json"
        counts.parent.mkdir(parents=True, exist_ok=True)
        matrix = np.eye(len(self.looks), dtype=int).tolist()
        facts = {"experiment": experiment, "seed": 0, "scene": scene, "strata": {"all": matrix}}
        counts.write_text(json.dumps(facts | {"classes": [look.name for look in self.looks]}))
        self.counts.append(counts)
        return self

    def report(self, template=TEMPLATE, **params):
        """Draw the report; return its page and its folder of figures."""
        tables = self.folder / "tabulate"
        findings = self.folder / "findings.json"
        findings.write_text('{"leaks": []}')
        tabulate.run(self.counts, [], [], findings, tables, tabulate.Params())
        page, figures = self.folder / "report" / "index.html", self.folder / "report" / "figures"
        report.run(
            self.tiles,
            self.depths,
            self.maps,
            self.histories,
            [tables / f"{name}.csv" for name in ("overall", "classes")],
            self.splits,
            stretch_file(self.folder, self.limits),
            page,
            figures,
            template,
            self.looks,
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


def test_there_is_a_figure_for_every_test_scene_and_two_of_all(drawn):
    _, figures = drawn

    expected = {"scene_harbour.png", "scene_market.png", "learning_curves.png", "overall.png"}
    assert {file.name for file in figures.iterdir()} == expected
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

    assert found.tags.count("table") == 2
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

    grey = pixels(figures / "scene_town.png", report.NO_CLASS)
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

    names = {"scene_town.png", "split_town.png", "learning_curves.png", "overall.png"}
    assert {file.name for file in figures.iterdir()} == names
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
    names = {"scene_town.png", "learning_curves.png", "overall.png"}
    assert {file.name for file in figures.iterdir()} == names


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

    assert len(list(figures.iterdir())) == 4
    assert pixels(figures / "scene_overall.png", LOOKS[0].rgb) > PANEL
