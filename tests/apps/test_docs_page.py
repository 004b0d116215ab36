"""The API's page, in a real browser with a real server: all of it is there, and calls can be tried."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from .page_checks import Served, accessibility_faults, astronaut, opened, write_video

pytest.importorskip("fastapi")
pytest.importorskip("av")

TOKEN = "only-for-tests"
WIDTHS = (390, 1440)
THEMES = ("light", "dark")
DANGLING = """[...document.querySelectorAll('main a[href^="#"]')]
  .map((link) => link.hash).filter((hash) => !document.querySelector(hash))"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served("--token", TOKEN)
    yield served
    served.kill()


@pytest.fixture(scope="module")
def description(served: Served) -> dict[str, Any]:
    with urllib.request.urlopen(f"{served.address}openapi.json") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "it's a photo.jpg"
    Image.fromarray(astronaut()).save(path)
    return path


def docs(served: Served) -> str:
    return f"{served.address}docs"


def trial(page: Page, operation: str) -> Locator:
    """The unfolded form of an operation."""
    section = page.locator(f"#{operation}")
    section.locator("summary").click()
    return section.locator(".try")


def give_token(page: Page) -> None:
    page.fill("#token", TOKEN)


def sent(form: Locator, status: str) -> str:
    """Send it; the answer, once the status is there."""
    form.get_by_role("button", name="Send").click()
    form.locator("[role=status]", has_text=status).wait_for(timeout=30_000)
    return form.locator(".result").inner_text()


def test_every_operation_parameter_answer_and_shape_is_there(
    browser: Browser, served: Served, description: dict[str, Any]
) -> None:
    with opened(browser, docs(served)) as page:
        titles = page.locator("#paths h2").all_text_contents()
        operations = [
            (method, path, told)
            for path, methods in description["paths"].items()
            for method, told in methods.items()
        ]
        assert titles == [f"{method.upper()} {path}" for method, path, _ in operations]
        for (_, _, told), section in zip(operations, page.locator("#paths > section").all(), strict=True):
            text = section.text_content() or ""
            assert told["summary"] in text
            rows = section.locator("tbody th").all_text_contents()
            named = [one["name"] for one in told.get("parameters", [])]
            bodies = list(told.get("requestBody", {}).get("content", {}))
            assert rows == named + bodies + list(told["responses"])
        shapes = page.locator("#schemas > details")
        assert [shape.get_attribute("id") for shape in shapes.all()] == list(
            description["components"]["schemas"]
        )
        links = page.locator("#contents a").all_text_contents()
        assert sorted(links) == sorted([*titles, "WS /v1/stream"])
        assert page.evaluate(DANGLING) == []


def test_a_link_to_a_shape_unfolds_it(browser: Browser, served: Served) -> None:
    with opened(browser, docs(served)) as page:
        fields = page.locator("#PredictAnswer table")
        assert not fields.is_visible()
        page.locator("#post-v1-predict a", has_text="PredictAnswer").click()
        fields.wait_for()
        fields.locator("a", has_text="PictureAnswer").click()
        page.locator("#PictureAnswer th", has_text="faces_found").wait_for()


def test_a_picture_is_tried(browser: Browser, served: Served, photo: Path) -> None:
    with opened(browser, docs(served)) as page:
        give_token(page)
        form = trial(page, "post-v1-predict")
        form.locator("input[type=file]").set_input_files(photo)
        form.get_by_label("view").fill("7")
        form.get_by_label("faces").select_option("cropped")
        answer = json.loads(sent(form, "200 OK"))
    (face,) = answer["pictures"][0]["faces"]
    assert face["box"] == [0, 0, 512, 512]
    assert "contempt" not in face["probabilities"]


def test_several_pictures_are_tried_as_a_form(browser: Browser, served: Served, photo: Path) -> None:
    with opened(browser, docs(served)) as page:
        give_token(page)
        form = trial(page, "post-v1-predict")
        form.locator("input[type=file]").set_input_files([photo, photo])
        answer = json.loads(sent(form, "200 OK"))
    assert [picture["faces"][0]["emotion"] for picture in answer["pictures"]] == ["happiness", "happiness"]


def test_a_video_is_tried(browser: Browser, served: Served, tmp_path: Path) -> None:
    video = write_video(tmp_path / "talk.webm", seconds=1)
    with opened(browser, docs(served)) as page:
        give_token(page)
        form = trial(page, "post-v1-predict-video")
        form.locator("input[type=file]").set_input_files(video)
        form.get_by_label("fps").fill("5")
        lines = [json.loads(line) for line in sent(form, "200 OK").splitlines()]
    assert [lines[0]["type"], lines[-1]["type"]] == ["start", "end"]
    assert lines[-1]["frames"] == 5


def test_what_is_refused_is_shown_with_its_sentence(browser: Browser, served: Served) -> None:
    with opened(browser, docs(served), faults=True) as page:
        form = trial(page, "get-v1-model")
        assert json.loads(sent(form, "401 Unauthorized"))["error"]["code"] == "no_token"
        give_token(page)
        assert json.loads(sent(form, "200 OK"))["model"]["size"] == 48


def test_the_line_for_the_shell_asks_the_same(browser: Browser, served: Served, photo: Path) -> None:
    with opened(browser, docs(served)) as page:
        give_token(page)
        form = trial(page, "post-v1-predict")
        form.get_by_label("threshold").fill("1")
        lines = {}
        for count in (1, 2):
            form.locator("input[type=file]").set_input_files([photo] * count)
            lines[count] = form.locator(".code").inner_text()
    assert shlex.split(lines[1])[-1] == f"{served.address}v1/predict?threshold=1"
    if not shutil.which("curl"):
        pytest.skip("needs curl to run them")
    for count, line in lines.items():
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=photo.parent,
            env={**os.environ, "MIEN_TOKEN": TOKEN},
            capture_output=True,
            timeout=60,
            check=True,
        )
        pictures = json.loads(done.stdout)["pictures"]
        assert [picture["faces"][0]["abstained"] for picture in pictures] == [True] * count


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_is_accessible(browser: Browser, served: Served, width: int, theme: str) -> None:
    view = {"viewport": {"width": width, "height": 900}, "color_scheme": theme}
    with opened(browser, docs(served), **view) as page:
        give_token(page)
        sent(trial(page, "get-v1-model"), "200 OK")
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert accessibility_faults(page) == []


def test_it_says_that_the_server_is_gone(browser: Browser) -> None:
    served = Served()
    try:
        with opened(browser, docs(served), faults=True) as page:
            form = trial(page, "get-healthz")
            served.kill()
            sent(form, "The server does not answer.")
    finally:
        served.kill()
