"""The report in Chromium: what its script does, and what a person who opens it meets."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, DRIVER, Browser
from selenium.webdriver import ActionChains, Keys

from clusterlab.artifacts import Projection
from clusterlab.data.images import Labels
from clusterlab.output import sprites
from clusterlab.output.charts import to_unit_square
from clusterlab.output.map_data import MARGIN
from clusterlab.output.names import read_names
from pages import data_of, page_of

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no Chromium with its driver on this machine (Debian: chromium, chromium-driver)",
)
HOSTILE = '</script><img src=x onerror="document.title=1">'
SECTIONS = {"compared", "clusters", "map", "confusion", "odd", "training", "made"}
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser: Browser, make_run, tmp_path: Path):
    """A function that opens the page of a run, by default of digits, in a fresh memory."""

    def show(run=None, names=None, *, width: int = 1280, theme: str = "light", is_new: bool = True):
        html = page_of(run or spread(make_run()), names)
        browser.open(html, tmp_path / "report.html", width=width, theme=theme)
        if is_new:
            browser.run("localStorage.clear()")
            browser.driver.refresh()
        return html

    return show


def spread(run):
    """The same run with its images far apart on the map: 16 columns of 15."""
    index = torch.arange(240)
    return replace(run, projection=Projection(points=torch.stack([index % 16, index // 16], dim=1).float()))


def point_at(browser: Browser, run, index: int, zoom: float = 1) -> None:
    """Move the mouse to where the image lies on the map, computed anew from its coordinates."""
    canvas = browser.one("#map-canvas")
    browser.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas)
    x, y = zoom * (to_unit_square(run.projection.points.double().numpy(), MARGIN)[index] - 0.5)
    width = canvas.size["width"]
    ActionChains(browser.driver, duration=0).move_to_element_with_offset(canvas, x * width, -y * width).perform()


def told(browser: Browser) -> str:
    """What the map shows of an image; nothing where it shows none."""
    return browser.one("#map-tip").text


def test_the_page_opens_without_a_complaint_or_a_request(page, browser: Browser, tmp_path: Path):
    html = page()
    assert browser.run("return document.documentElement.classList.contains('live')")
    assert browser.complaints() == []
    assert set(browser.requests()) == {(tmp_path / "report.html").as_uri()}
    assert {heading.get_attribute("id") for heading in browser.driver.find_elements("css selector", "h2")} >= SECTIONS
    # The policy stops any other script, and this test would see it.
    browser.open(html.replace("</main>", "<script>alert(1)</script></main>"), tmp_path / "broken.html")
    (complaint,) = browser.complaints()
    assert "Content Security Policy" in complaint


def test_hostile_texts_stay_texts(page, browser: Browser, make_run):
    run = make_run(240, ids=tuple(f"{HOSTILE}{i}.png" for i in range(240)))
    labels = Labels(run.images.sealed_labels.values, tuple(f"{HOSTILE}{i}" for i in range(10)))
    run = spread(replace(run, images=replace(run.images, sealed_labels=labels)))
    page(run, {0: HOSTILE})
    browser.one("[data-typed='1']").send_keys(HOSTILE)
    point_at(browser, run, 17)
    assert f"{HOSTILE}17.png" in told(browser)
    assert browser.one("[data-choose='1']").text == HOSTILE
    assert browser.driver.title == "scan on digits: clusters"
    assert browser.run("return document.querySelectorAll('[onerror], img[src=x]').length") == 0
    assert browser.complaints() == []


def test_the_map_shows_the_image_under_the_mouse(page, browser: Browser, make_run):
    run = spread(make_run())
    page(run, {int(run.assignments.probs[100].argmax()): "of a hundred"})
    point_at(browser, run, 100)
    assert "digits/0100.png" in told(browser)
    assert "of a hundred" in told(browser)
    assert f"confidence {round(100 * float(run.assignments.probs[100].max()))} %" in told(browser)
    time.sleep(0.2)  # the picture is decoded meanwhile
    shown = browser.run(
        "const picture = document.getElementById('map-picture');"
        "return [...picture.getContext('2d').getImageData(0, 0, 128, 128).data]"
    )
    middles = np.array(shown).reshape(128, 128, 4)[8::16, 8::16, 0]
    assert (middles == run.images.pixels[100, 0]).all()
    point_at(browser, run, 101)
    assert "digits/0101.png" in told(browser)
    ActionChains(browser.driver, duration=0).move_to_element(browser.one("h1")).perform()
    assert told(browser) == ""


def test_a_finger_that_taps_is_a_mouse_that_points(page, browser: Browser, make_run):
    run = spread(make_run())
    page(run, width=390)
    canvas = browser.one("#map-canvas")
    browser.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas)
    box = browser.run("return arguments[0].getBoundingClientRect().toJSON()", canvas)
    x, y = to_unit_square(run.projection.points.double().numpy(), MARGIN)[37] - 0.5
    where = {"x": box["x"] + box["width"] * (0.5 + x), "y": box["y"] + box["height"] / 2 - box["width"] * y}
    for kind, points in (("touchStart", [where]), ("touchEnd", [])):
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert "digits/0037.png" in told(browser)


def test_the_map_goes_by_keyboard_and_speaks(page, browser: Browser, make_run):
    run = spread(make_run())
    page(run)
    point_at(browser, run, 100)  # in column 4 of row 6
    canvas = browser.one("#map-canvas")
    for key, index in ((Keys.ARROW_RIGHT, 101), (Keys.ARROW_UP, 117), (Keys.ARROW_LEFT, 116), (Keys.ARROW_DOWN, 100)):
        canvas.send_keys(key)
        assert f"digits/{index:04d}.png" in told(browser)
        said = browser.one("#map-said").get_attribute("textContent")
        assert f"digits/{index:04d}.png" in said
        assert "confidence" in said
    canvas.send_keys(Keys.ESCAPE)
    assert told(browser) == ""
    assert browser.run("return getComputedStyle(document.getElementById('map-canvas')).outlineStyle") == "solid"


def test_a_map_that_is_zoomed_shows_its_middle_larger(page, browser: Browser, make_run):
    run = spread(make_run())
    page(run)
    browser.one("#map-in").click()
    point_at(browser, run, 100)
    assert "0100.png" not in told(browser)
    point_at(browser, run, 100, zoom=1.5)
    assert "0100.png" in told(browser)
    # Dragged by as much as image 101 lies to the right, it has 101 there.
    step = 0.94 / 15 * 1.5 * browser.one("#map-canvas").size["width"]
    ActionChains(browser.driver, duration=0).click_and_hold().move_by_offset(-round(step), 0).release().perform()
    point_at(browser, run, 100, zoom=1.5)
    assert "0101.png" in told(browser)
    browser.one("#map-canvas").send_keys("0")
    point_at(browser, run, 100)
    assert "0100.png" in told(browser)


def test_a_cluster_can_be_looked_at_alone(page, browser: Browser, make_run):
    run = spread(make_run())
    clusters = run.assignments.probs.argmax(dim=1)
    page(run)
    point_at(browser, run, 100)
    assert "0100.png" in told(browser)
    other = int((clusters[100] + 1) % 10)
    browser.one(f"[data-choose='{other}']").click()
    assert browser.one(f"[data-choose='{other}']").get_attribute("aria-pressed") == "true"
    point_at(browser, run, 100)
    assert "0100.png" not in told(browser)
    browser.one("#map-all").click()
    point_at(browser, run, 100)
    assert "0100.png" in told(browser)


def test_a_dot_without_a_picture_says_where_it_is_told_of(page, browser: Browser, make_run, monkeypatch):
    monkeypatch.setattr(sprites, "MOST_TILES", 20)
    run = spread(make_run())
    html = page(run)
    shown = data_of(html)["map"]["ids"]
    assert len(shown) == 20
    assert "room for the pictures of 20 of these images" in html
    apart = {f"digits/{i:04d}.png" for i in range(240)} - set(shown)
    # One with no pictured image in reach: pictures go before nearness.
    taken = {int(name[7:11]) for name in shown}
    lonely = next(
        i for i in range(240) if not {i, i - 1, i + 1, i - 16, i + 16} & taken and f"digits/{i:04d}.png" in apart
    )
    point_at(browser, run, lonely)
    assert "no picture of this one here" in told(browser)
    assert f"line {lonely + 2} of assignments.csv" in told(browser)


NAMES = {
    0: 'cats & "dogs": yes',
    1: "  großer\tHund ",
    2: "no",
    3: "# 3: [x",
    4: "\\u0041",
    5: "\u2028猫\x85\ufeffs",
    6: "1e3",
}


def typing(browser: Browser, cluster: int, text: str) -> None:
    field = browser.one(f"[data-typed='{cluster}']")
    browser.run(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        field,
        text,
    )


def test_typed_names_stand_everywhere_are_kept_and_come_back_from_the_file(page, browser: Browser, make_run, tmp_path):
    run = spread(make_run())
    page(run)
    browser.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
    )
    browser.one("[data-typed='7']").send_keys("sevens")
    assert browser.one("#kept").text == "Kept in this browser."
    for place in ("#cluster-7 h3", "[data-choose='7']", ".confusion thead [data-name='7']", "svg.map [data-name='7']"):
        assert browser.one(place).get_attribute("textContent").strip() == "sevens"
    for cluster, name in NAMES.items():
        typing(browser, cluster, name)
    browser.one("#save").click()
    file = tmp_path / "saved" / "names.yaml"
    until = time.monotonic() + 10
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    expected = {
        0: 'cats & "dogs": yes', 1: "großer Hund", 2: "no", 3: "# 3: [x", 4: "\\u0041", 5: "猫 s", 6: "1e3", 7: "sevens"
    }  # fmt: skip
    assert read_names(file.parent, result=run.result, num_clusters=10) == expected
    assert read_names(file.parent, result="head-scan-0", num_clusters=10) == {}  # of another training
    browser.driver.refresh()
    assert browser.one("[data-typed='7']").get_attribute("value") == "sevens"
    assert browser.one("[data-choose='0']").text == NAMES[0]
    # The page made anew with the file: its names stand where none was typed since, and a changed file wins.
    page(run, {7: "septets", 8: "eights"}, is_new=False)
    assert browser.one("[data-choose='7']").text == "septets"
    assert browser.one("[data-choose='8']").text == "eights"
    assert browser.complaints() == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_has_contrast_in_the_light_and_in_the_dark(page, browser: Browser, make_run, theme: str):
    run = spread(make_run())
    run = replace(run, images=replace(run.images, unreadable=(("a.jpg", "empty"),)))  # with a warning
    page(run, {0: "named"}, theme=theme)
    checked = browser.run(CONTRAST)
    assert checked["found"] == []
    assert checked["looked"] > 200
    ground = "return getComputedStyle(document.body).backgroundColor"
    before = browser.run(ground)
    browser.one("#theme").click()
    assert browser.run(ground) != before
    assert browser.run(CONTRAST)["found"] == []
    browser.driver.refresh()
    assert browser.run(ground) != before  # it is kept


def test_a_phone_has_nothing_to_scroll_sideways(page, browser: Browser, make_run):
    page(spread(make_run()), {0: "A rather long name of a cluster", 1: "n" * 100}, width=360)
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    assert browser.run("return document.documentElement.scrollWidth") <= 360


def test_without_scripts_the_page_stands_still_and_shows_the_same(page, browser: Browser, make_run):
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page(spread(make_run()), {3: "threes"}, is_new=False)
        assert browser.one("svg.still").is_displayed()
        assert browser.one("#cluster-3 h3").text == "threes"
        assert browser.one("[data-choose='2']").text == "Cluster 2"
        for absent in ("#map-canvas", "#save", "#theme", "[data-typed='3']"):
            assert not browser.one(absent).is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_it_is_light_and_has_the_map(page, browser: Browser):
    page(theme="dark")
    browser.look(width=800, theme="dark", media="print")
    assert browser.one("svg.still").is_displayed()
    assert not browser.one("#map-canvas").is_displayed()
    assert browser.run("return getComputedStyle(document.body).colorScheme") == "light"
