"""Pictures and videos on the page, in a real browser with a real server."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from mien.runtime.tables import columns

from .page_checks import FACE, LEFT, Served, astronaut, opened, until, write_video

pytest.importorskip("fastapi")
pytest.importorskip("av")

LABELS = ["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]

DROP = """(files) => {
  const held = new DataTransfer();
  for (const [name, type, text] of files) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    held.items.add(new File([bytes], name, { type }));
  }
  for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: held, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.kill()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "sway.webm")


@pytest.fixture(scope="module")
def picture() -> bytes:
    """The astronaut as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(astronaut()).save(file, "png")
    return file.getvalue()


def drop(page: Page, files: Sequence[tuple[str, str, bytes]]) -> None:
    page.evaluate(DROP, [[name, kind, base64.b64encode(data).decode()] for name, kind, data in files])


def status(page: Page, words: str) -> None:
    page.locator("#files-status", has_text=words).wait_for(timeout=30_000)


def downloaded(page: Page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.click(button)
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_pictures_are_dropped_and_read(browser: Browser, served: Served, picture: bytes) -> None:
    small = io.BytesIO()
    Image.fromarray(astronaut()).resize((256, 256)).save(small, "jpeg")
    with opened(browser, served.address, faults=True) as page:
        drop(
            page,
            [
                ("=cmd|'x'!A1.png", "image/png", picture),
                ("small, too.jpg", "image/jpeg", small.getvalue()),
                ("no picture.png", "image/png", b"this is no picture"),
            ],
        )
        status(page, "2 faces in 2 pictures. 1 file could not be read")
        assert page.get_attribute("#tab-files", "aria-selected") == "true"
        assert page.locator(".picture .fault").count() == 1
        assert page.locator(".picture canvas").count() == 2
        assert page.locator("#table-scroll tbody tr").count() == 3
        name, text = downloaded(page, "#files-csv")
        assert name.startswith("mien-")
        assert name.endswith(".csv")
        rows = list(csv.DictReader(io.StringIO(text.decode())))
        assert list(rows[0]) == columns(LABELS)
        # A spreadsheet must not run a file's name.
        assert [row["path"] for row in rows] == ["'=cmd|'x'!A1.png", "small, too.jpg", "no picture.png"]
        assert [row["faces"] for row in rows] == ["1", "1", ""]
        assert [float(rows[0][key]) for key in ("x0", "y0", "x1", "y1")] == pytest.approx(FACE, abs=6)
        assert rows[0]["emotion"] == "happiness"
        assert rows[2]["error"]
        _, text = downloaded(page, "#files-json")
        values = json.loads(text)
        assert values["model"] == "ferplus-swin-se"
        assert values["files"][0]["path"] == "=cmd|'x'!A1.png"
        assert values["files"][0]["faces"][0]["box"] == pytest.approx(FACE, abs=6)
        assert values["files"][2]["error"]


def test_the_annotated_picture_is_the_whole_one_with_its_box(
    browser: Browser, served: Served, picture: bytes
) -> None:
    with opened(browser, served.address) as page:
        drop(page, [("astronaut.png", "image/png", picture)])
        status(page, "1 face in 1 picture.")
        name, data = downloaded(page, ".picture button")
        assert name == "astronaut-faces.png"
        marked = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert marked.shape == astronaut().shape
        changed = (np.abs(marked - astronaut()) > 8).any(axis=2)
        ys, xs = np.nonzero(changed)
        assert (ys.min() > FACE[1] - 45, ys.max() < FACE[3] + 10) == (True, True)
        assert (xs.min() > FACE[0] - 10, xs.max() < FACE[2] + 110) == (True, True)
        # The inside of the box is as it was.
        assert not changed[80:150, 195:250].any()
        page.locator("#threshold").fill("100")
        page.locator("#table-scroll td", has_text="unsure (happiness)").wait_for()
        page.get_by_text("7, without contempt").click()
        until(page, lambda: page.locator("#table-scroll thead th").count() == 4 + 7)


def test_a_video_is_read_with_progress_and_plays_with_its_boxes(
    browser: Browser, served: Served, video: Path
) -> None:
    with opened(browser, served.address) as page:
        page.evaluate(
            "window.values = []; new MutationObserver(() => values.push(progress.value))"
            ".observe(progress, { attributes: true })"
        )
        page.click("#tab-files")
        page.set_input_files("#chooser", video)
        status(page, "1 face followed over 30 frames.")
        values = page.evaluate("values")
        assert values == sorted(values)
        assert len(set(values)) > 1
        assert page.is_hidden("#work")
        until(page, "document.querySelector('#film video').readyState >= 2")
        marks = "document.querySelector('.screen canvas').toDataURL()"
        page.evaluate("document.querySelector('#film video').currentTime = 0.3")
        until(page, "document.querySelector('.face-now').textContent.startsWith('happiness 9')")
        smiling = page.evaluate(marks)
        timeline = page.locator("#film .timeline")
        box = timeline.bounding_box()
        assert box is not None
        timeline.click(position={"x": box["width"] / 2, "y": 20})
        until(page, "Math.abs(document.querySelector('#film video').currentTime - 1.45) < 0.2")
        until(page, "document.querySelector('.face-now').textContent.startsWith('unsure')")
        assert page.evaluate(marks) != smiling
        page.evaluate("document.querySelector('#film video').play()")
        until(page, "document.querySelector('#film video').currentTime > 2.2")
        until(page, "document.querySelector('.face-now').textContent.startsWith('happiness')")
        timeline.focus()
        page.keyboard.press("Home")
        until(page, "document.querySelector('#film video').currentTime < 0.5")
        _, text = downloaded(page, "#files-csv")
        rows = list(csv.DictReader(io.StringIO(text.decode())))
        assert [int(row["frame"]) for row in rows] == list(range(30))
        assert [float(row["time"]) for row in rows] == pytest.approx(np.arange(30) / 10, abs=0.01)
        assert float(rows[0]["x0"]) == pytest.approx(FACE[0] + LEFT, abs=8)
        name, text = downloaded(page, "#files-json")
        assert name == "sway-timeline.json"
        assert len(json.loads(text)["frames"]) == 30


def test_reading_a_video_can_be_cancelled(browser: Browser, served: Served, tmp_path: Path) -> None:
    long = write_video(tmp_path / "long.webm", seconds=10)
    # The second may come while the server still lets go of the first, and is then tried again.
    with opened(browser, served.address, faults=True) as page:
        page.click("#tab-files")
        page.set_input_files("#chooser", long)
        page.locator("#work-text", has_text="Reading the video").wait_for(timeout=20_000)
        page.keyboard.press("Escape")
        status(page, "Cancelled.")
        assert page.is_hidden("#work")
        # The server is free again for the next one.
        page.set_input_files("#chooser", long)
        page.locator("#work-text", has_text="Reading the video").wait_for(timeout=20_000)
        page.click("#cancel")
        status(page, "Cancelled.")


def test_files_that_are_refused_say_why(browser: Browser, served: Served, video: Path) -> None:
    with opened(browser, served.address, faults=True) as page:
        drop(page, [("a.webm", "video/webm", b"no film at all")])
        until(page, "document.getElementById('files-status').classList.contains('fault')")
        assert len(page.text_content("#files-status") or "") > 20
        drop(page, [("a.webm", "video/webm", b"x"), ("b.webm", "video/webm", b"x")])
        status(page, "A video is read alone")
