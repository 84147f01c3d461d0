import base64
import hashlib
import html
import json
import re
import warnings
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image

from pipeline_steps import report
from pipeline_steps.presentation import depth, gain, page, scenes
from pipeline_steps.study.classes import IGNORE, ClassLook
from pipeline_steps.study.prompts import Prompts
from tests.data.results import HALVES, LOOKS, TABLES, TEMPLATE, Results

PANEL = 5_000
"""Pixels that are more than any legend has, and less than half a picture of a scene."""

LOW, HIGH = matplotlib.colormaps["magma"]([0.0, 1.0], bytes=True)[:, :3]


OF_ALL = {"learning_curves", "networks_at_work", "overall", "classes", "confusion"}
OF_ALL |= {"differences", "reliability", "windows_deep", "windows_bare"}
"""Figures of all trainings, where one of them took pictures and there are two experiments."""

OF_ONE = OF_ALL - {"differences", "windows_bare"}


def files_of(names, *formats):
    return {f"{name}.{kind}" for name in names for kind in ("png", *formats)}


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
    results.map("bare", "market", roof, tree[:48]).depth("low", "market", *DARK)
    return results.report(formats=("pdf", "svg"))


def test_there_is_a_figure_for_every_test_scene_and_some_of_all_to_see_and_to_print(drawn):
    _, figures = drawn

    expected = {"scene_harbour", "scene_market"} | OF_ALL
    assert {file.name for file in figures.iterdir()} == files_of(expected, "pdf", "svg")
    for file in figures.glob("*.png"):
        with Image.open(file) as picture:
            assert picture.format == "PNG" and min(picture.size) > 100
    for file in figures.glob("*.pdf"):
        assert file.read_bytes().startswith(b"%PDF-")
        assert b"/CreationDate" not in file.read_bytes()
    assert "harbour" in (figures / "scene_harbour.svg").read_text(encoding="utf-8")


def test_nothing_half_written_is_left(drawn):
    page, figures = drawn

    names = ["figures", "index.html", "manifest.json"]
    assert sorted(file.name for file in page.parent.iterdir()) == names
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


def test_the_page_holds_its_figures_but_those_the_viewer_shows(drawn):
    page, figures = drawn
    start = "data:image/png;base64,"
    sources = [one for one in parsed(page).sources if not one.startswith("#")]

    assert all(source.startswith(start) for source in sources)
    shown = {base64.b64decode(source.removeprefix(start)) for source in sources}
    expected = {file.read_bytes() for file in figures.glob("*.png") if "scene_" not in file.name}
    assert shown == expected


def test_the_page_forbids_all_that_is_not_its_own(drawn):
    text = drawn[0].read_text(encoding="utf-8")

    stated = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    policy = html.unescape(stated).split("; ")
    assert policy[:2] == ["default-src 'none'", "img-src data:"]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert policy[3] == "script-src " + " ".join(f"'sha256-{one}'" for one in hashes)
    assert not {"link", "iframe", "base", "object", "form"} & set(parsed(drawn[0]).tags)


def test_the_page_shows_the_tables_and_the_note(drawn):
    page, _ = drawn
    found = parsed(page)

    # confusions and reliability are figures; what all was made of is in seven tables
    assert found.tags.count("table") == len(TABLES) - 2 + 7
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


DARK = np.zeros((64, 64)), np.zeros((48, 64))


ODD = ["<script>alert(1)</script>", "$x_1$ & $y", r"50 % $\frac{$"]


def test_odd_class_names_neither_break_the_figures_nor_enter_the_page(tmp_path):
    looks = [ClassLook(name=n, color=look.color) for n, look in zip(ODD, LOOKS, strict=True)]
    results = Results(tmp_path, looks).scene("town", HALVES).map("deep", "town", HALVES)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page, figures = results.report()

    found, text = parsed(page), page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and found.tags.count("script") == 4
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


DIVIDED = {"codes": [[0, 2]], "tested": [0, 2048, 0]}
"""Of a scene the left half is learned from and the right one tested, which is all road."""


def test_the_divisions_of_scenes_are_figures_of_their_own(results):
    results.scene("town", HALVES).map("deep", "town", HALVES)
    results.division("town", DIVIDED["codes"], tested=DIVIDED["tested"])

    page, figures = results.report(formats=("pdf", "svg"))

    names = files_of(OF_ONE | {"scene_town", "split_town"}, "pdf", "svg")
    assert {file.name for file in figures.iterdir()} == names
    shown = {base64.b64decode(one.partition(",")[2]) for one in parsed(page).sources}
    assert (figures / "split_town.png").read_bytes() in shown


def test_windows_of_a_divided_scene_show_what_is_tested_alone(results):
    results.scene("town", HALVES).map("deep", "town", HALVES)
    _, whole = results.report()
    before = [pixels(whole / "windows_deep.png", look.rgb) for look in LOOKS[:2]]
    results.division("town", DIVIDED["codes"], tested=DIVIDED["tested"])

    _, figures = results.report()

    after = [pixels(figures / "windows_deep.png", look.rgb) for look in LOOKS[:2]]
    assert before[0] > PANEL / 5 and after[0] == 0
    assert after[1] == before[1]
    assert pixels(figures / "windows_deep.png", scenes.NO_CLASS) > before[0]


def test_a_study_of_one_block_has_a_figure_of_it(results, monkeypatch):
    results.scene("town", HALVES).map("deep", "town", HALVES)
    facts = json.loads(results.counts[0].read_text())
    facts["blocks"] = facts["blocks"][:1]
    results.counts[0].write_text(json.dumps(facts))

    page, figures = results.report()

    assert pixels(figures / "windows_deep.png", LOOKS[0].rgb) > 0
    (place,) = viewed(page)["windows"]
    assert (place["scene"], place["raster"], place["height"]) == ("town", 0, 32)


def viewed(page):
    """Return what the viewer of a page is given."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="viewer-data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_viewer_has_the_images_where_a_map_is_worst_and_best(results):
    truth = [HALVES, HALVES, HALVES]
    guess = [HALVES, HALVES * 0 + 2, np.where(np.arange(64) < 48, HALVES, 2)]
    results.scene("many", *truth).map("deep", "many", *guess)

    page, _ = results.report(viewer_rasters=2)

    found = viewed(page)
    (scene,) = found["scenes"]
    assert [one["name"] for one in scene["rasters"]] == ["b", "c"]
    assert {one["raster"] for one in found["windows"]} == {1, 2}


def test_provenance_tells_study_classes_scenes_and_teachers(drawn):
    text = parsed(drawn[0]).text.partition("Provenance")[2].partition("Provenance")[2]

    for words in (
        *("town.yaml + more.yaml", "roof", "#c81e1e", "centre", "learned from", "beefbeefbeef"),
        *("hill", "watched", "harbour", "low", "fetch low-net", "518"),
    ):
        assert words in text, words


RULE = TEMPLATE.parents[2] / "rules" / "tabulate.smk"


def test_every_table_has_a_caption_of_its_own_which_both_reports_use(drawn):
    text = parsed(drawn[0]).text
    folder = TEMPLATE.parents[1] / "tables"
    captions = {file.stem: " ".join(file.read_text().split()) for file in folder.glob("*.rst")}

    listed = re.findall(r"TABLES \+?= (.*)", RULE.read_text())
    assert captions.keys() == set(re.findall(r'"(\w+)"', " ".join(listed))) - {"test"}
    assert len(set(captions.values())) == len(captions) and all(captions.values())
    for name in set(TABLES) - {"confusion", "reliability"}:
        assert captions[name] in " ".join(text.split())
    assert 'f"../report/tables/{table}.rst"' in RULE.read_text()


def test_every_figure_has_a_caption_of_its_own_and_words_for_those_who_do_not_see_it(drawn):
    kinds = {"scene", "depth", "teacher", "split", "learning", "networks", *report.OF_TABLES}
    captions = {
        kind: page.caption_of(f"{kind}_x", TEMPLATE.parents[1] / "figures.rst")
        for kind in (*kinds, "windows")
    }

    assert all(captions.values()) and len(set(captions.values())) == len(captions)
    text = drawn[0].read_text(encoding="utf-8")
    shown = re.findall(r'<img alt="([^"]+)"[^>]*>\s*<figcaption>([^<]+)</figcaption>', text)
    assert len(shown) == text.count("<figure>")
    for words, caption in shown:
        assert html.unescape(caption) in captions.values() and len(words.split()) > 5


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
    page, figures = results.report(formats=("pdf", "svg"))
    before = page.read_bytes()
    drawn_before = {file.name: file.read_bytes() for file in figures.iterdir()}
    (figures / "of_old.png").write_text("")

    results.report(formats=("pdf", "svg"))

    assert page.read_bytes() == before
    assert {file.name: file.read_bytes() for file in figures.iterdir()} == drawn_before
    assert {file.name for file in figures.iterdir()} == files_of(
        OF_ONE | {"scene_town"}, "pdf", "svg"
    )


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

    names = OF_ALL - {"networks_at_work", "windows_deep", "windows_bare"}
    names |= {"scene_overall", "scene_learning_curves", "windows_007", "windows_null"}
    assert {file.name for file in figures.iterdir()} == files_of(names)
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

    names = {"scene_high", "windows_bare"} | OF_ONE - {"networks_at_work", "windows_deep"}
    assert {file.name for file in figures.iterdir()} == files_of(names)
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
    results.depth("net", "many", HALVES / 2, HALVES[:48] / 2)
    one = results.report()[1] / "depth_many.png"
    with Image.open(one) as picture:
        height, error = picture.height, no_error(one)

    results.depth("other", "many", HALVES / 4, HALVES[:48] / 4)
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

    expected = OF_ALL | {"scene_town", "depth_town", "teacher_quality"}
    assert {file.name for file in figures.iterdir()} == files_of(expected)
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


def corrupted_town(results):
    """Leave what ``corrupt`` counted of the town, and a table of it."""
    results.scene("harbour", HALVES).map("deep", "harbour", HALVES)
    facts = {"experiment": "deep", "seed": 0, "fold": None, "scene": "harbour", "left_out": {}}
    facts["kinds"] = {"haze": {"1": np.eye(3, dtype=int).tolist(), "5": [[1, 1, 0]] * 3}}
    file = results.folder / "corrupt" / "harbour.json"
    file.parent.mkdir()
    file.write_text(json.dumps(facts))
    results.corruptions.append(file)
    return results


def test_corruptions_are_a_part_of_the_page_with_both_figures_and_their_table(results):
    page, figures = corrupted_town(results).report()

    names = {file.stem for file in figures.iterdir()}
    assert names == OF_ONE | {"scene_harbour", "corruptions", "corrupted"}
    text = page.read_text(encoding="utf-8")
    assert '<section id="robustness"' in text and '<a href="#robustness">' in text
    assert "Table: corruptions" in text


def test_without_corruptions_the_page_has_no_part_for_them(drawn):
    assert "robustness" not in drawn[0].read_text(encoding="utf-8").lower()
