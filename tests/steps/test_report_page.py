"""The report's page in a real browser, as a reader uses it: by mouse, by keyboard, on a phone."""

import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from pipeline_steps.study.classes import ClassLook
from tests.data.results import HALVES, LOOKS, Results

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed"),
]

ROOF, ROAD, TREE = (look.rgb for look in LOOKS)
GREY = (77, 77, 77)
MANY = 3_000
"""Pixels of a screenshot that are more than a legend has."""

ODD = [
    "<script>document.title = 'taken'</script>",
    "</script><img src=x onerror=\"document.title = 'taken'\">",
    "{{ 7 * 7 }} & \"quoted\" 'name'",
]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # a container's root has no sandbox
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of two scenes: `deep` is right, `bare` calls all of it a tree."""
    results, tree = Results(tmp_path_factory.mktemp("page")), HALVES * 0 + 2
    for name, grey in (("harbour", 77), ("market", 99)):
        results.scene(name, HALVES, image=grey).map("deep", name, HALVES)
        results.map("bare", name, tree).sure("bare", name, HALVES * 100)
        results.depth("low", name, HALVES / 1.0)
    return results.report()[0]


class Reader:
    """A page that is open, and all that it said, asked for and threw."""

    def __init__(self, browser, file, width=1440, height=900):
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def choose(self, **selects):
        for name, text in selects.items():
            self.page.select_option(f"#{name}", label=text)

    def slide(self, name, value):
        """Move a slider as a hand does: its value, and the event that tells of it."""
        script = "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }"
        self.page.locator(f"#{name}").evaluate(script, value)

    def colours(self):
        """Return how many pixels of the map have each of the colours that scenes are made of."""
        data = self.page.locator("#map").screenshot()
        rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
        return {
            name: int((np.abs(rgb - colour).max(axis=-1) < 4).sum())
            for name, colour in (("roof", ROOF), ("road", ROAD), ("tree", TREE), ("grey", GREY))
        }

    def box(self, side="right"):
        """Return where the picture of one side lies on the screen."""
        return self.page.locator(f".leaflet-{side}-pane img").bounding_box()

    def column(self, table, number):
        """Return a column of the table of that name, from the top."""
        cells = f"[aria-label='Table: {table}'] tbody tr td:nth-child({number})"
        return self.page.locator(cells).all_inner_texts()


@pytest.fixture
def reader(browser, written):
    reader = Reader(browser, written)
    yield reader
    reader.context.close()


def test_nothing_is_said_and_nothing_but_the_page_is_asked_for(reader, written):
    reader.choose(scene="market", left="image", right="confidence: bare")
    reader.slide("swipe", 200)
    reader.page.keyboard.press("End")

    asked = [url for url in reader.asked if not url.startswith("data:")]
    assert asked == [written.as_uri()]
    assert reader.said == []


def test_the_slider_swipes_between_the_two_sides(reader):
    reader.choose(left="labels", right="map: bare")

    seen = {}
    for place in (0, 500, 1000):
        reader.slide("swipe", place)
        seen[place] = reader.colours()

    assert seen[0]["tree"] > MANY and seen[0]["roof"] + seen[0]["road"] < MANY / 10
    assert seen[1000]["tree"] < MANY / 10 and min(seen[1000]["roof"], seen[1000]["road"]) > MANY
    # the line hides a little
    assert seen[500]["roof"] == pytest.approx(seen[1000]["roof"], rel=0.05)
    assert seen[500]["tree"] == pytest.approx(seen[0]["tree"] / 2, rel=0.05)


def test_the_line_is_dragged(reader):
    reader.page.locator("#frame").scroll_into_view_if_needed()
    frame, line = (reader.page.locator(name).bounding_box() for name in ("#frame", "#divider"))
    y = line["y"] + line["height"] / 2

    reader.page.mouse.move(line["x"] + line["width"] / 2, y)
    reader.page.mouse.down()
    reader.page.mouse.move(frame["x"] + frame["width"] * 0.25, y, steps=4)
    reader.page.mouse.up()

    assert int(reader.page.input_value("#swipe")) == pytest.approx(250, abs=5)
    moved = reader.page.locator("#divider").bounding_box()
    assert moved["x"] + 12 == pytest.approx(frame["x"] + frame["width"] * 0.25, abs=3)


def test_the_keyboard_swipes_zooms_and_pans(reader):
    swipe, world = reader.page.locator("#swipe"), reader.page.locator("#map")
    swipe.focus()
    for _ in range(3):
        reader.page.keyboard.press("ArrowRight")
    assert int(swipe.input_value()) == 503

    before = reader.box()
    world.focus()
    reader.page.keyboard.press("+")
    reader.page.wait_for_timeout(400)
    near = reader.box()
    assert near["width"] == pytest.approx(2 * before["width"], rel=0.02)
    reader.page.keyboard.press("ArrowRight")
    reader.page.wait_for_timeout(600)
    assert reader.box()["x"] < near["x"] - 20
    reader.page.keyboard.press("-")
    reader.page.wait_for_timeout(400)
    assert reader.box()["width"] == pytest.approx(before["width"], rel=0.02)


def test_both_sides_lie_on_one_another_wherever_one_looks(reader):
    reader.page.locator(".leaflet-control-zoom-in").click()
    reader.page.wait_for_timeout(400)

    assert reader.box("left") == reader.box("right") == reader.box("under")


def test_opacity_uncovers_the_image(reader):
    reader.choose(left="labels", right="map: bare")
    covered = reader.colours()
    reader.slide("opacity", 0)
    bare = reader.colours()

    assert covered["grey"] < MANY / 10 < MANY < bare["grey"]
    assert bare["tree"] + bare["roof"] + bare["road"] < MANY / 10


def test_another_scene_keeps_the_layers_one_looks_at(reader):
    reader.choose(left="image", right="map: bare")
    reader.slide("swipe", 1000)
    assert reader.colours()["grey"] > MANY
    reader.choose(scene="market")

    assert reader.colours()["grey"] < MANY / 10  # market is of another grey
    chosen = [
        reader.page.locator(f"#{side} option:checked").inner_text() for side in ("left", "right")
    ]
    assert chosen == ["image", "map: bare"]


def test_the_worst_and_the_best_block_are_gone_to(reader):
    reader.choose(right="map: bare")
    whole = reader.box()

    names = reader.page.locator("#place option").all_inner_texts()
    assert names[0] == "the whole scene" and any(
        name.startswith("worst, OA 0.00") for name in names
    )
    reader.choose(place=names[1])
    reader.page.wait_for_timeout(400)

    # a block is half of the scene, as wide as all of it
    assert reader.box()["width"] > whole["width"]


def test_another_map_is_seen_whole_again(reader):
    reader.choose(right="map: bare")
    whole = reader.box()
    reader.page.locator("#place").select_option(index=1)
    reader.page.wait_for_timeout(400)
    assert reader.box()["width"] > whole["width"]

    reader.choose(right="map: deep")
    reader.page.wait_for_timeout(400)

    assert reader.page.locator("#place option:checked").inner_text() == "the whole scene"
    assert reader.box()["width"] == pytest.approx(whole["width"], rel=0.02)


def test_another_map_leaves_the_view_that_one_has_chosen(reader):
    reader.page.locator(".leaflet-control-zoom-in").click()
    reader.page.wait_for_timeout(400)
    near = reader.box()
    reader.choose(right="map: bare")

    assert reader.box() == near


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page of a scene of two images, of which the second is all wrong, and one of one."""
    results, tree = Results(tmp_path_factory.mktemp("folder")), HALVES * 0 + 2
    results.scene("many", HALVES, HALVES * 0).map("deep", "many", HALVES, tree)
    results.scene("one", HALVES).map("deep", "one", HALVES)
    return results.report()[0]


def test_an_image_of_many_is_chosen_and_blocks_lead_to_theirs(browser, folder):
    reader = Reader(browser, folder)
    images = reader.page.locator("#raster")
    names = images.locator("option").all_inner_texts()
    assert names == ["b", "a"]  # the worst first

    reader.choose(left="labels", right="map: deep")
    reader.slide("swipe", 0)
    assert reader.colours()["tree"] > MANY
    reader.choose(raster="a")
    assert reader.colours()["tree"] < MANY / 10 < MANY < reader.colours()["road"]
    worst = next(
        text
        for text in reader.page.locator("#place option").all_inner_texts()
        if text.startswith("worst, OA 0.00") and text.endswith(", b")
    )
    reader.choose(place=worst)
    assert images.locator("option:checked").inner_text() == "b"
    assert reader.page.locator("#place option:checked").inner_text() == worst
    assert reader.colours()["tree"] > MANY
    reader.choose(scene="one")
    assert not images.is_visible() and reader.said == []
    reader.context.close()


@pytest.mark.parametrize("width", [680, 700, 800, 1000, 1440])
def test_a_part_that_is_gone_to_is_not_under_the_header(browser, written, width):
    reader = Reader(browser, written, width, 700)

    reader.page.locator("nav a", has_text="Classes").click()
    reader.page.wait_for_timeout(200)

    header = reader.page.locator("header").bounding_box()
    title = reader.page.locator("#classes h2").bounding_box()
    assert header["y"] == 0 and header["height"] < 58
    assert header["height"] <= title["y"] + 1 and title["y"] < 200
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= width
    reader.context.close()


def test_arrows_that_say_a_table_can_be_sorted_can_be_seen(reader):
    """WCAG 2.1 asks of what is no text for a contrast of three to one."""
    button = reader.page.locator("th button").first
    inks = button.evaluate("e => getComputedStyle(e, '::after').color")
    papers = reader.page.locator("th").first.evaluate("e => getComputedStyle(e).backgroundColor")

    def light(colour):
        shares = np.array(re.findall(r"\d+", colour)[:3], float) / 255
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    assert (light(papers) + 0.05) / (light(inks) + 0.05) > 3


def test_the_legend_explains_what_is_shown_and_no_more(reader):
    reader.choose(left="labels", right="map: bare")
    assert reader.page.locator("#legend").inner_text().split() == ["roof", "road", "tree"]
    reader.choose(left="depth: low", right="errors: bare")

    said = reader.page.locator("#legend").inner_text()
    assert "wrong" in said and "pseudo-depth" in said and "roof" not in said


def test_errors_are_where_map_and_labels_differ(reader):
    reader.choose(left="errors: deep", right="errors: bare")
    wrong = np.array([215, 38, 61])
    counts = []
    for place in (1000, 0):
        reader.slide("swipe", place)
        data = reader.page.locator("#map").screenshot()
        rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
        counts.append(int((np.abs(rgb - wrong).max(axis=-1) < 4).sum()))

    assert counts[0] < MANY / 10 < MANY < counts[1]


def test_tables_sort_by_a_click_and_by_the_keyboard(reader):
    header = reader.page.locator("[aria-label='Table: overall'] th", has_text="miou").first
    before = reader.column("overall", 3)

    header.get_by_role("button").click()
    down = reader.column("overall", 3)
    header.get_by_role("button").press("Enter")
    up = reader.column("overall", 3)

    assert header.get_attribute("aria-sort") == "ascending"
    assert [float(one) for one in down] == sorted(map(float, before), reverse=True)
    assert up == down[::-1] and len(set(up)) == 2
    name = reader.page.locator("[aria-label='Table: overall'] th").first
    name.get_by_role("button").click()
    assert reader.column("overall", 1) == ["bare", "deep"]


def test_a_narrow_screen_shows_all_without_moving_sideways(browser, written):
    reader = Reader(browser, written, 390, 844)

    assert reader.page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("#scene", "#left", "#right", "#place", "#opacity", "#map", "#swipe"):
        box = reader.page.locator(name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    reader.context.close()


def test_names_that_look_like_a_script_are_shown_as_text(browser, tmp_path):
    looks = [ClassLook(name=n, color=look.color) for n, look in zip(ODD, LOOKS, strict=True)]
    results = Results(tmp_path, looks).scene("town", HALVES).map("deep", "town", HALVES)
    results.map("bare", "town", HALVES)
    reader = Reader(browser, results.report()[0])

    assert reader.page.title() == "Land-cover report" and reader.said == []
    legend, text = reader.page.locator("#legend"), reader.page.locator("main")
    for name in ODD:
        assert name in legend.inner_text() and name in text.inner_text()
    reader.context.close()
