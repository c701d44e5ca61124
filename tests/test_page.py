"""The report's page in Chromium: from a file, without a network, by mouse and by keyboard, narrow and in the dark."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import fabricated
import pandas as pd
import pytest

from pipelines.report import page as report
from pipelines.report import tables

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

DEGRADATIONS = ("bi_x4", "crf15_x4", "crf25_x4")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of several methods, degradations, corpora and metrics, and its CSV."""
    folder = tmp_path_factory.mktemp("page")
    results = fabricated.results(
        folder / "results", degradations=DEGRADATIONS, corpora=("parallax", "vid4"), extra=["niqe", "of_old"]
    )
    report.write(fabricated.params(DEGRADATIONS, vid4=True), results, folder / "report", fabricated.VERSIONS)
    return folder / "report"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, the system's or playwright's own."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_api.sync_playwright() as playwright:
        if not found and not Path(playwright.chromium.executable_path).is_file():
            pytest.skip("needs Chromium: apt-get install chromium, or playwright install chromium")
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture
def opened(browser: Any, made: Path) -> Iterator[Open]:
    """Opens the page, all requests but for the file itself refused; at the end nothing must have been asked or complained of."""
    contexts, heard = [], []

    def refuse(route: Any) -> None:
        heard.append(f"asked for {route.request.url[:80]}")
        route.abort()

    def open_page(width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        context.route(re.compile(r"^(?!file:|data:)"), refuse)
        shown = context.new_page()
        shown.on("console", lambda message: heard.append(message.text))
        shown.on("pageerror", lambda error: heard.append(str(error)))
        shown.goto((made / "index.html").as_uri())
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert heard == []


VALUES = """() => [...document.querySelectorAll("td[data-value]")].map((cell) => ({
    ...cell.closest("table").dataset, ...cell.parentElement.dataset, ...cell.dataset,
    text: cell.querySelector("data").textContent, given: cell.querySelector("data").value,
    published: cell.querySelector("data.published")?.value ?? "", difference: cell.querySelector("small b")?.textContent ?? "",
}))"""


def test_no_number_differs_from_the_csv(opened: Open, made: Path) -> None:
    shown = opened().evaluate(VALUES)
    rows = pd.read_csv(made / "results.csv", keep_default_na=False, dtype=str)
    rows = rows[rows["protocol"] != ""].set_index(["method", "corpus", "degradation", "protocol", "metric", "clip"])
    assert rows.index.is_unique
    known = rows.to_dict("index")
    seen = set()
    for cell in shown:
        key = tuple(cell[name] for name in rows.index.names)
        row, heading = known[key], tables.heading(cell["metric"])
        assert float(cell["value"]) == float(cell["given"]) == float(row["value"]), key
        assert cell["text"] == heading.write(float(row["value"])), key
        if cell["published"]:
            assert float(cell["published"]) == float(row["published"]), key
            less = heading.write_difference(float(row["value"]) - float(row["published"]))
            assert cell["difference"] == less, key
        elif cell["difference"]:
            assert cell["difference"] == heading.write_difference(float(row["difference"])), key
        seen.add(key)
    per_clip = {key for key in known if key[5]}
    assert seen >= {key for key in known if not key[5] and known[key]["value"]}
    assert seen >= {key for key in per_clip if key[4] in ("psnr", "ssim")}


def test_costs_are_the_csvs(opened: Open, made: Path) -> None:
    shown = opened()
    numbers = shown.evaluate('[...document.querySelectorAll("table.cost data")].map((found) => Number(found.value))')
    rows = pd.read_csv(made / "results.csv")
    assert numbers and set(numbers) <= set(rows[rows["protocol"].isna()]["value"])


STATE = """(viewer) => ({
    x: Number(viewer.style.getPropertyValue("--x")), y: Number(viewer.style.getPropertyValue("--y")),
    side: Number(viewer.style.getPropertyValue("--side")), label: viewer.querySelector(".window").getAttribute("aria-label"),
    tiles: [...viewer.querySelectorAll(".lens img")].map((image) => [image.offsetLeft, image.offsetTop, image.offsetWidth]),
})"""


def _viewer(shown: Any) -> Any:
    viewer = shown.locator(".viewer").first
    viewer.scroll_into_view_if_needed()
    viewer.locator('.window[tabindex="0"]').wait_for()
    return viewer


def test_the_lens_moves_over_all_pictures_at_once(opened: Open) -> None:
    shown = opened()
    viewer = _viewer(shown)
    lens = viewer.locator(".window")
    before = viewer.evaluate(STATE)
    picture = viewer.locator(".lens").nth(2).screenshot()
    lens.focus()
    way = ("ArrowLeft", -4) if before["x"] >= 4 else ("ArrowRight", 4)
    shown.keyboard.press(way[0])
    after = viewer.evaluate(STATE)
    assert after["x"] - before["x"] == way[1] and after["y"] == before["y"]
    assert after["label"] != before["label"] and str(after["x"]) in after["label"]
    assert len({tuple(tile) for tile in after["tiles"]}) == 1 and after["tiles"] != before["tiles"]
    assert viewer.locator(".lens").nth(2).screenshot() != picture
    shown.keyboard.press("Home")
    assert viewer.evaluate(STATE) == before

    box = viewer.locator(".whole").bounding_box()
    shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown.mouse.down()
    shown.mouse.move(box["x"] + box["width"] + 50, box["y"] + box["height"] + 50)
    corner = viewer.evaluate(STATE)
    shown.mouse.up()
    height, width = fabricated.SIZE
    assert (corner["x"] + corner["side"], corner["y"] + corner["side"]) == (width, height)
    shown.mouse.move(box["x"], box["y"])
    assert viewer.evaluate(STATE) == corner
    viewer.locator(".size").focus()
    shown.keyboard.press("End")
    assert viewer.evaluate(STATE)["side"] == min(height, width)


def test_the_lens_shows_the_pixels_under_it(opened: Open) -> None:
    """The tile of the truth is the part of its picture that the lens frames, whatever its place."""
    shown = opened()
    viewer = _viewer(shown)
    viewer.locator(".window").focus()
    for key in ("ArrowRight", "Shift+ArrowDown", "ArrowLeft", "ArrowUp"):
        shown.keyboard.press(key)
        found = viewer.evaluate(
            """(viewer) => {
                const box = viewer.querySelector(".whole").getBoundingClientRect(), frame = viewer.querySelector(".window").getBoundingClientRect();
                const tile = viewer.querySelector(".lens").getBoundingClientRect(), image = viewer.querySelector(".lens img").getBoundingClientRect();
                return [[(frame.left - box.left) / box.width, (tile.left - image.left) / image.width],
                        [(frame.top - box.top) / box.height, (tile.top - image.top) / image.height],
                        [frame.width / box.width, tile.width / image.width], [frame.height / box.height, tile.height / image.height]];
            }"""
        )
        for one, other in found:
            assert one == pytest.approx(other, abs=0.005)


def test_the_divider_moves_by_keyboard_and_mouse(opened: Open) -> None:
    shown = opened()
    viewer = _viewer(shown)
    area = viewer.locator(".compare")
    stage, divider = area.locator(".stage"), area.locator("input")
    sources = 'viewer => [...viewer.querySelectorAll(".stage img")].map((image) => image.src)'
    chosen = [area.locator(f"select.{side} option:checked").text_content() for side in ("left", "right")]
    assert chosen == ["basicvsr_bi", "basicvsr_crf25"] or chosen == ["bicubic", "basicvsr_crf25"]
    stage.scroll_into_view_if_needed()
    half = stage.screenshot()
    divider.focus()
    shown.keyboard.press("End")
    assert stage.evaluate('stage => stage.style.getPropertyValue("--split")') == "100%"
    left = stage.screenshot()
    shown.keyboard.press("Home")
    assert stage.evaluate('stage => stage.style.getPropertyValue("--split")') == "0%"
    right = stage.screenshot()
    assert len({half, left, right}) == 3
    box = stage.bounding_box()
    shown.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + box["height"] / 2)
    shown.mouse.down()
    shown.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    shown.mouse.up()
    assert float(divider.input_value()) == pytest.approx(75, abs=1)
    before = viewer.evaluate(sources)
    area.locator("select.left").focus()
    area.locator("select.left").select_option(label="truth")
    after = viewer.evaluate(sources)
    assert after[0] == before[0] and after[1] != before[1]


def test_the_divider_moves_by_touch(opened: Open) -> None:
    shown = opened(width=390, has_touch=True, is_mobile=True)
    viewer = _viewer(shown)
    stage = viewer.locator(".stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    shown.touchscreen.tap(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2)
    assert float(viewer.locator(".compare input").input_value()) == pytest.approx(20, abs=1)
    whole = viewer.locator(".whole")
    whole.scroll_into_view_if_needed()
    box = whole.bounding_box()
    shown.touchscreen.tap(box["x"] + 2, box["y"] + 2)
    assert viewer.evaluate(STATE)["x"] == viewer.evaluate(STATE)["y"] == 0


def test_a_phone_shows_it_without_scrolling_sideways(opened: Open) -> None:
    shown = opened(width=360)
    shown.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert shown.evaluate("document.documentElement.scrollWidth") == 360
    outside = shown.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((one) => !one.closest(".scroll, .lens, .sr, svg") &&
            one.getBoundingClientRect().right > 360.5).map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert outside == []


CONTRAST = """() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => rgb.slice(0, 3).map((value) => value / 255)
        .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const paper = (one) => { const rgb = parse(getComputedStyle(one).backgroundColor);
        return rgb[3] === 0 ? (one.parentElement ? paper(one.parentElement) : [255, 255, 255]) : rgb; };
    return [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility() && !one.closest("script, style, video, .sr") &&
        [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())).map((one) => {
            const svg = one.closest("svg"), style = getComputedStyle(one);
            const ink = light(parse(svg && one.tagName === "text" && style.fill !== "none" ? style.fill : style.color)), ground = light(paper(svg ? svg.parentElement : one));
            return [(Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05), one.outerHTML.slice(0, 100)];
        }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_can_be_read(opened: Open, scheme: str) -> None:
    shown = opened(color_scheme=scheme)
    shown.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert shown.evaluate(CONTRAST) == []
    background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")


def test_all_controls_are_reached_by_tab(opened: Open) -> None:
    shown = opened(reduced_motion="reduce")
    viewer = _viewer(shown)
    viewer.locator(".window").focus()
    reached = []
    for _ in range(4):
        shown.keyboard.press("Tab")
        reached.append(shown.evaluate("`${document.activeElement.tagName}.${document.activeElement.className}`"))
    assert reached == ["INPUT.size", "SELECT.left", "SELECT.right", "INPUT."]
    moving = "document.getAnimations().length + [...document.querySelectorAll('*')].filter((one) => parseFloat(getComputedStyle(one).transitionDuration)).length"
    assert shown.evaluate(moving) == 0


def test_without_scripts_the_pictures_are_there(opened: Open) -> None:
    shown = opened(java_script_enabled=False)
    tiles = shown.locator("details[open] > .viewer .lens img")
    assert tiles.count() == 5 * len(DEGRADATIONS) * 2
    box = shown.locator(".lens").first.bounding_box()
    image = tiles.first.bounding_box()
    assert image["width"] > box["width"] and image["x"] <= box["x"] and image["y"] <= box["y"]
    assert not shown.locator(".compare").first.is_visible()


WIDTHS = """() => [...document.querySelectorAll("table.suite, table.overview, table.clips")].filter((table) => table.checkVisibility()).map((table) =>
    [...table.rows].slice(1).filter((row) => row.checkVisibility()).map((row) =>
        [...row.cells].filter((cell) => cell.checkVisibility() && (cell.dataset.metric ?? cell.dataset.columns))
            .reduce((sum, cell) => sum + cell.colSpan, 0)))"""
VISIBLE = """([kind, value]) => [...document.querySelectorAll(`main [data-${kind}="${value}"]`)].filter((element) =>
    element.closest(".answer tbody") === null && element.getBoundingClientRect().width > 0).length"""


def test_what_is_shown_can_be_chosen_and_sent(opened: Open, made: Path) -> None:
    shown = opened()
    shown.evaluate('document.querySelectorAll("details").forEach((details) => { details.open = true; })')
    picker = shown.locator(".picker")
    wanted = {"corpus": "vid4", "degradation": "bi_x4", "method": "bicubic", "metric": "psnr"}
    others = {kind: [box.get_attribute("value") for box in picker.locator(f'input[name="{kind}"]').all()] for kind in wanted}
    assert all(len(values) > 1 and wanted[kind] in values for kind, values in others.items())
    before = shown.evaluate(WIDTHS)
    for kind, value in wanted.items():
        assert shown.evaluate(VISIBLE, [kind, value])
        for other in others[kind]:
            if other != value:
                assert shown.evaluate(VISIBLE, [kind, other]), (kind, other)
                picker.locator(f'input[name="{kind}"][value="{other}"]').uncheck()
                assert not shown.evaluate(VISIBLE, [kind, other]), (kind, other)
    left = shown.evaluate(WIDTHS)
    assert left and all(len(set(rows)) == 1 for rows in [*before, *left])
    assert shown.evaluate("location.hash") == "#corpus=vid4&degradation=bi_x4&method=bicubic&metric=psnr"
    picker.locator('input[name="metric"][value="psnr"]').click()  # the last one stays
    assert picker.locator('input[name="metric"][value="psnr"]').is_checked()
    sent = opened()
    sent.goto((made / "index.html").as_uri() + "#degradation=bi_x4&method=bicubic,unheard_of")
    sent.reload()
    assert sent.locator(".picker input:checked").evaluate_all("(all) => all.map((one) => one.value)") == [
        *others["corpus"],
        "bi_x4",
        "bicubic",
        *others["metric"],
    ]
    assert not sent.evaluate(VISIBLE, ["degradation", "crf15_x4"])
    sent.locator(".picker summary").click()
    sent.locator(".picker button").click()
    assert sent.evaluate("location.hash") == "" and sent.evaluate(VISIBLE, ["degradation", "crf15_x4"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened: Open, scheme: str) -> None:
    shown = opened(color_scheme=scheme, bypass_csp=True)
    shown.evaluate('document.querySelectorAll("details").forEach((details) => { details.open = true; })')
    shown.add_script_tag(content=files("axe_playwright_python").joinpath("axe.min.js").read_text())
    found = shown.evaluate("() => axe.run()")
    assert found["passes"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found["violations"]] == []
