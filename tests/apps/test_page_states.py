"""What the page says when something is missing, and that it is for all: axe-core, keyboard, phone, dark."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from .page_checks import (
    FAKE_CAMERA,
    FAKE_PERMISSION,
    Served,
    accessibility_faults,
    another,
    astronaut,
    opened,
    start_camera,
    until,
    write_video,
)

pytest.importorskip("fastapi")
pytest.importorskip("axe_playwright_python")

WIDTHS = (390, 1440)
TOKEN = "a-token-of-the-tests"

IN_USE = """
  navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("in use", "NotReadableError"); };
"""
FROM_AFAR = 'Object.defineProperty(navigator, "mediaDevices", { value: undefined });'

FOCUS = """() => {
  const on = document.activeElement;
  const shown = on.id === "chooser" ? document.querySelector("label[for=chooser]")
    : on.name === "view" || on.name === "prior" ? on.nextElementSibling : on;
  const style = getComputedStyle(shown);
  const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return [on.id || on.value || on.textContent.trim(), outlined];
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.kill()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    """With a token, and no room for a stream."""
    served = Served("--token", TOKEN, "--streams", "0")
    yield served
    served.kill()


def check(page: Page) -> None:
    """No serious fault and no sideways scroll, light and dark, phone and desktop."""
    for _ in range(2):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert accessibility_faults(page) == []
        # By script, since a dialog would take the click.
        page.evaluate("document.getElementById('theme').click()")


def notice(page: Page, title: str) -> None:
    page.locator("#notice-title", has_text=title).wait_for()
    assert len(page.text_content("#notice-text") or "") > 20
    assert title in (page.text_content("#live-status") or "")


def test_the_check_finds_faults(browser: Browser, served: Served) -> None:
    with opened(browser, served.address) as page:
        page.evaluate(
            "document.getElementById('mirror').textContent = '';"
            "document.querySelector('.statement').style.color = '#bbbbbb'"
        )
        found = {fault.split(":")[0] for fault in accessibility_faults(page)}
        assert found == {"button-name", "color-contrast"}


def test_the_live_view_is_for_all(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address) as page:
        check(page)
        start_camera(page)
        check(page)
        page.click("#pause")
        check(page)


def test_pictures_and_video_are_for_all(browser: Browser, served: Served, tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "astronaut.png")
    (tmp_path / "text.png").write_text("no picture")
    with opened(browser, served.address, faults=True) as page:
        page.click("#tab-files")
        check(page)
        page.set_input_files("#chooser", [tmp_path / "astronaut.png", tmp_path / "text.png"])
        page.locator("#files-status", has_text="could not be read").wait_for()
        check(page)
        page.set_input_files("#chooser", write_video(tmp_path / "sway.webm", 1))
        page.wait_for_selector("#film .face", timeout=20_000)
        check(page)


def test_camera_refused(browser: Browser, served: Served) -> None:
    strict = another(browser, FAKE_CAMERA)
    with opened(strict, served.address) as page:
        page.click("#start")
        notice(page, "The camera was not allowed")
        check(page)
        assert page.is_enabled("#start")
    strict.close()


def test_no_camera(browser: Browser, served: Served) -> None:
    with opened(browser, served.address, permissions=["camera"]) as page:
        page.click("#start")
        notice(page, "No camera was found")


def test_camera_in_use(browser: Browser, served: Served) -> None:
    with opened(browser, served.address, script=IN_USE) as page:
        page.click("#start")
        notice(page, "The camera is in use")


def test_no_camera_for_a_page_from_another_machine(browser: Browser, served: Served) -> None:
    with opened(browser, served.address, script=FROM_AFAR) as page:
        page.click("#start")
        notice(page, "No camera here")
        assert "https" in (page.text_content("#notice-text") or "")


def test_camera_lost_and_started_again(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address) as page:
        start_camera(page)
        page.evaluate(
            "const [track] = document.getElementById('live-video').srcObject.getVideoTracks();"
            "track.dispatchEvent(new Event('ended'))"
        )
        notice(page, "The camera went away")
        start_camera(page)


def test_no_face(browser: Browser, served: Served) -> None:
    empty = another(browser, FAKE_CAMERA, FAKE_PERMISSION)
    with opened(empty, served.address) as page:
        page.click("#start")
        page.locator("#live-status", has_text="No face in the picture").wait_for()
        assert page.text_content("#badge") == "No face in the picture"
        check(page)
    empty.close()


def test_server_gone(filmed: Browser) -> None:
    served = Served()
    with opened(filmed, served.address, faults=True) as page:
        start_camera(page)
        served.kill()
        notice(page, "The server does not answer")
        check(page)
        page.click("#tab-files")
        file = io.BytesIO()
        Image.fromarray(astronaut()).save(file, "jpeg")
        page.set_input_files(
            "#chooser", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}
        )
        page.locator("#files-status", has_text="The server does not answer.").wait_for()


def test_the_token_is_asked_for_and_a_wrong_one_told(filmed: Browser, guarded: Served) -> None:
    with opened(filmed, guarded.address, faults=True, ready=False) as page:
        page.wait_for_selector("#token-dialog[open]")
        assert page.evaluate("document.activeElement.id") == "token"
        check(page)
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.locator("#token-error", has_text="That token is not").wait_for()
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-ready=true]")
        assert page.is_hidden("#token-dialog")
        page.reload()
        page.wait_for_selector("html[data-ready=true]")


def test_the_token_is_taken_out_of_the_address(filmed: Browser, guarded: Served) -> None:
    with opened(filmed, f"{guarded.address}#token={TOKEN}", faults=True) as page:
        assert page.url == guarded.address
        page.click("#start")
        notice(page, "The server has no room for another camera")


def test_the_keyboard_is_enough(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address) as page:
        choosers: list[object] = []
        # Listened to from the beginning: the browser is told in its own time.
        page.on("filechooser", lambda chooser: choosers.append(chooser))
        reached = []
        while "start" not in reached:
            page.keyboard.press("Tab")
            name, visible = page.evaluate(FOCUS)
            assert visible, name
            reached.append(name)
            assert len(reached) < 15, reached
        assert reached[0] == "tab-camera"
        for wanted in ("theme", "all", "training", "threshold", "stage"):
            assert wanted in reached
        page.keyboard.press("Enter")
        page.wait_for_selector("#stage[data-state=running].answered")
        page.wait_for_selector("#live-faces .face")
        seen = []
        for _ in range(6):
            page.keyboard.press("Tab")
            seen.append(page.evaluate(FOCUS))
        assert [name for name, _ in seen[:4]] == ["pause", "mirror", "snapshot", "stop"]
        assert all(visible for _, visible in seen)
        page.focus("#stage")
        page.keyboard.press("Space")
        until(page, "document.getElementById('badge').textContent === 'Paused'")
        page.focus("#tab-camera")
        page.keyboard.press("ArrowRight")
        assert page.evaluate(FOCUS) == ["tab-files", True]
        assert page.is_visible("#drop")
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate(FOCUS)[0] == "chooser":
                break
        assert page.evaluate(FOCUS) == ["chooser", True]
        page.keyboard.press("Enter")
        until(page, lambda: len(choosers) == 1)


def test_the_theme_follows_the_system_until_it_is_chosen(browser: Browser, served: Served) -> None:
    with opened(browser, served.address, color_scheme="dark") as page:
        theme = "document.documentElement.dataset.theme"
        assert page.evaluate(theme) == "dark"
        page.emulate_media(color_scheme="light")
        until(page, f"{theme} === 'light'")
        page.click("#theme")
        assert page.evaluate(theme) == "dark"
        page.reload()
        assert page.evaluate(theme) == "dark"


def test_the_api_page_shows_the_description(browser: Browser, served: Served) -> None:
    with opened(browser, f"{served.address}docs") as page:
        titles = page.locator("#paths h2").all_text_contents()
        assert {"POST /v1/predict", "GET /v1/model", "GET /healthz"} <= set(titles)
        assert page.locator("#FaceAnswer th", has_text="detection_score").count() == 1
        check(page)
