"""The report in a real browser, from disk: phone, desktop, dark, paper; nothing overlaps, all of it works."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from mien.evaluate.run import evaluate_run
from mien.report.html import write_report

from .analysis_values import (
    features_values,
    keep,
    landscape_values,
    maps_values,
    robustness_values,
    sharpness_values,
)
from .conftest import run_config, run_maker

MOST = [i % 10 < 7 for i in range(400)]
MORE = [i % 10 < 9 for i in range(400)]
SMALLEST_TEXT = 9.0
"""CSS pixels, on a phone."""
A4 = {"width": 718, "height": 1016}
"""CSS pixels between margins of 1 cm."""

OVERLAPS = """() => {
  const shown = (e) => e.checkVisibility() && !e.closest(".unseen, .skip");
  const blocks = Array.from(document.querySelectorAll(
    "h1, h2, p, nav, .scroll, figure > svg, figure > img, figcaption, summary")).filter(shown);
  const boxes = blocks.map((e) => [e, e.getBoundingClientRect()]).filter(([, b]) => b.width && b.height);
  const found = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const [e, a] = boxes[i], [f, b] = boxes[j];
    if (e.contains(f) || f.contains(e)) continue;
    const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (x > 1 && y > 1)
      found.push([e, f].map((g) => `${g.tagName} ${g.textContent.slice(0, 40)}`).join(" / "));
  }
  for (const svg of document.querySelectorAll("figure svg")) {
    const texts = Array.from(svg.querySelectorAll("text")).filter(
      (t) => !/rotate\\(-?0*[1-9]/.test(t.getAttribute("transform") || ""));
    const rects = texts.map((t) => [t, t.getBoundingClientRect()]);
    for (let i = 0; i < rects.length; i++) for (let j = i + 1; j < rects.length; j++) {
      const [t, a] = rects[i], [u, b] = rects[j];
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (x > 1 && y > 0.35 * Math.min(a.height, b.height))
        found.push(`${svg.getAttribute("aria-label").slice(0, 40)}: ${t.textContent} / ${u.textContent}`);
    }
  }
  return found;
}"""

SMALL_TEXT = """(least) => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.textContent.trim() || !e.checkVisibility()) continue;
    if (e.closest("script, style, title, .unseen")) continue;
    let size = parseFloat(getComputedStyle(e).fontSize);
    const svg = e.closest("svg");
    if (svg) size *= svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    if (size < least) found.push(`${node.textContent.trim().slice(0, 40)}: ${size.toFixed(1)}`);
  }
  return found;
}"""

LOW_CONTRAST = """() => {
  const part = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = part(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("h1, h2, p, a, th, td, caption, figcaption, summary, button")) {
    if (!e.checkVisibility()) continue;
    const [a, b] = [light(part(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${e.tagName} ${e.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""

CUT_ON_PAPER = """() => {
  const edge = document.documentElement.clientWidth + 1;
  return Array.from(document.querySelectorAll("table, svg, img, p, figcaption"))
    .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > edge)
    .map((e) => `${e.tagName} ${e.textContent.slice(0, 60)}: ${e.getBoundingClientRect().right}`);
}"""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of three models, two of them with every analysis."""
    folder = tmp_path_factory.mktemp("few")
    make_run, splits = run_maker(folder), ("test", "validation")
    runs = [
        make_run("swin", run_config(), MOST, splits=splits),
        make_run("swin_se", run_config(se="pooled"), MOST, splits=splits),
        make_run("swin_se_sam", run_config(se="pooled", rho=0.05), MORE, splits=splits),
    ]
    for run, curvature in ((runs[1], 2.0), (runs[2], 0.5)):
        keep(run, "robustness", robustness_values())
        keep(run, "landscape", landscape_values(curvature))
        keep(run, "sharpness", sharpness_values(curvature))
        keep(run, "features", features_values())
        keep(run, "maps", maps_values())
    return write_report(runs, folder / "report.html")


@pytest.fixture(scope="module")
def faces(trained: Path, drawn_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of one run whose data is there: slices, faces, leaks, class counts."""
    folder = tmp_path_factory.mktemp("faces")
    run = shutil.copytree(trained, folder / "run")
    evaluate_run(run, drawn_folder)
    return write_report([run], folder / "report.html", data=drawn_folder)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of twelve models with long names, one of them with three seeds."""
    folder = tmp_path_factory.mktemp("many")
    make_run = run_maker(folder)
    runs = [
        make_run(
            f"a_rather_long_name_of_a_run_{i}-seed{seed}",
            run_config(se="pooled", rho=0.01 * i, seed=seed),
            MORE if i % 2 else MOST,
        )
        for i in range(12)
        for seed in range(1 if i else 3)
    ]
    return write_report(runs, folder / "report.html")


@pytest.fixture(params=["few", "faces", "many"])
def report(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@contextmanager
def opened(browser: Browser, path: Path, **settings: Any) -> Iterator[Page]:
    """The page, from disk; whatever it loads or complains of is an error."""
    context = browser.new_context(**settings)
    page = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_reads_well(browser: Browser, report: Path, width: int, scheme: Any) -> None:
    with opened(browser, report, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OVERLAPS) == []
        assert page.evaluate(SMALL_TEXT, SMALLEST_TEXT) == []
        assert page.evaluate(LOW_CONTRAST) == []


def test_the_checks_find_faults(browser: Browser, few: Path) -> None:
    with opened(browser, few, viewport={"width": 390, "height": 900}) as page:
        page.add_style_tag(
            content="h2 { margin-top: -3rem } .note { font-size: 8px; color: #999 } "
            ".summary { width: 50rem; max-width: none } svg text { font-size: 60px !important }"
        )
        assert any(fault.startswith("H2") or "/ H2" in fault for fault in page.evaluate(OVERLAPS))
        assert any(fault.startswith("Confusion matrix") for fault in page.evaluate(OVERLAPS))
        assert any(fault.endswith("8.0") for fault in page.evaluate(SMALL_TEXT, SMALLEST_TEXT))
        assert any(fault.startswith("P ") for fault in page.evaluate(LOW_CONTRAST))
        assert page.evaluate("document.documentElement.scrollWidth") > 390
        assert any(fault.startswith("P ") for fault in page.evaluate(CUT_ON_PAPER))


def test_on_paper_nothing_is_cut(browser: Browser, report: Path) -> None:
    with opened(browser, report, viewport=A4) as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(CUT_ON_PAPER) == []
        assert page.evaluate(OVERLAPS) == []
        assert page.evaluate(LOW_CONTRAST) == []
        assert page.locator("details.data").first.is_hidden()
        assert page.pdf(format="A4", margin=dict.fromkeys(("top", "right", "bottom", "left"), "1cm"))


def test_it_works(browser: Browser, few: Path, tmp_path: Path) -> None:
    with opened(browser, few, viewport={"width": 1440, "height": 900}) as page:
        table = page.locator("table.sortable").filter(has=page.get_by_text("All 8 classes, test split"))
        head = table.locator("th", has_text="accuracy").first

        def accuracies() -> list[str]:
            return table.locator("tbody td:nth-of-type(2)").all_inner_texts()

        def values() -> list[float]:
            return [float(text.split("\u00a0")[0]) for text in accuracies()]

        before = values()
        assert len(set(before)) > 1
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert values() == sorted(before, reverse=True)
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert values() == sorted(before)

        figure = page.locator("figure", has=page.locator("details.data")).first
        assert figure.locator("details table").is_hidden()
        figure.locator("summary").click()
        assert figure.locator("details table").is_visible()
        with page.expect_download() as download:
            figure.get_by_text("Save as CSV").click()
        saved = tmp_path / download.value.suggested_filename
        download.value.save_as(saved)
        assert saved.suffix == ".csv"
        with saved.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        told = figure.locator("details tr").all()
        assert rows == [row.locator("th, td").all_inner_texts() for row in told]

        shape = page.locator("svg .tip").first
        text = str(shape.get_attribute("data-tip"))
        assert text
        shape.hover()
        assert page.locator("#tip").inner_text() == text
        page.mouse.move(1, 1)
        assert page.locator("#tip").is_hidden()


def test_it_says_the_same_without_script(browser: Browser, few: Path) -> None:
    texts: Mapping[bool, list[str]] = {}
    for script in (True, False):
        with opened(browser, few, java_script_enabled=script) as page:
            texts = {**texts, script: page.locator("th, td, p, figcaption").all_inner_texts()}
            page.locator("details.data summary").first.click()
            assert page.locator("details.data table").first.is_visible()
    assert texts[True] == texts[False]
