"""The live view of the page, in a real browser, with a real server and a file for a camera."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from mien.runtime.timeline import timeline_columns

from .page_checks import (
    CAMERA_SIZE,
    FACE,
    LEFT,
    REACH,
    Served,
    opened,
    start_camera,
    until,
)

pytest.importorskip("fastapi")

LABELS = ["anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
LEAST_RATE = 3
"""Results a second; a loaded machine that runs tests gives no more."""

STROKES = """() => {
  const canvas = document.getElementById("live-marks"), { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
  const columns = [], rows = [];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++)
    if (pixels[4 * (y * width + x) + 3] > 200) { columns.push(x); rows.push(y); }
  const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
  const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
  return { left: least(columns), bottom: most(rows), width, height };
}"""

WATCHED_SOCKETS = """
  window.unanswered = 0; window.mostUnanswered = 0; window.sent = [];
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    if (typeof data === "string") window.sent.push(JSON.parse(data));
    else window.mostUnanswered = Math.max(window.mostUnanswered, ++window.unanswered);
    return send.call(this, data);
  };
  const add = WebSocket.prototype.addEventListener;
  WebSocket.prototype.addEventListener = function (type, listener, options) {
    if (type === "message") add.call(this, type, (event) => {
      if (JSON.parse(event.data).type !== "ready") window.unanswered--;
    });
    return add.call(this, type, listener, options);
  };
"""

LATE_ANSWERS = """
  const add = WebSocket.prototype.addEventListener;
  WebSocket.prototype.addEventListener = function (type, listener, options) {
    const late = (event) => setTimeout(() => listener(event), 700);
    return add.call(this, type, type === "message" ? late : listener, options);
  };
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.kill()


def downloaded(page: Page, button: str) -> bytes:
    with page.expect_download() as waiting:
        page.click(button)
    return Path(waiting.value.path()).read_bytes()


def as_json(page: Page) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(downloaded(page, "#live-json"))
    return values


def share(page: Page, name: str) -> int:
    row = page.locator("#live-faces .bars li").filter(has_text=name)
    return int((row.locator(".value").text_content() or "").split()[0])


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return across / (both - across)


def test_faces_are_followed_at_a_cameras_rate(
    filmed: Browser, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(filmed, served.address) as page:
        assert page.evaluate("document.getElementById('live-video').srcObject") is None
        start_camera(page)
        shares = set()
        for _ in range(20):
            page.wait_for_timeout(200)
            shares.add(share(page, "happiness"))
        assert max(shares) - min(shares) > 20  # percent: she smiles, and ceases to
        rate = int(page.text_content("#rate") or 0)
        latency = page.text_content("#latency")
        with capsys.disabled():
            print(f" [{rate} results/s, {latency} from camera to box]", end="")  # noqa: T201
        assert rate >= LEAST_RATE
        page.click("#pause")
        frames = as_json(page)["frames"]
        boxes = [face["box"] for frame in frames for face in frame["faces"]]
        assert len(boxes) > 0.9 * len(frames) > 0
        for box in boxes:
            x0, y0, x1, y1 = FACE
            there = [(x0 + by, y0, x1 + by, y1) for by in range(LEFT - REACH, LEFT + REACH + 1)]
            assert max(overlap(tuple(box), place) for place in there) > 0.6
        assert np.ptp([box[0] for box in boxes]) > REACH
        assert {face["track"] for frame in frames for face in frame["faces"]} == {1}
        drawn = page.evaluate(STROKES)
        scale = drawn["height"] / CAMERA_SIZE[1]
        margin = (drawn["width"] - scale * CAMERA_SIZE[0]) / 2
        last = frames[-1]["faces"][0]["box"]
        # As a mirror shows it: the box begins where its right side is in the frame.
        assert drawn["left"] == pytest.approx(margin + scale * (CAMERA_SIZE[0] - last[2]), abs=4)
        assert drawn["bottom"] == pytest.approx(scale * last[3], abs=4)


def test_the_timeline_fills(filmed: Browser, served: Served) -> None:
    def painted() -> int:
        """Pixels with a colour; the lines are grey."""
        picture = Image.open(io.BytesIO(page.locator("#live-faces canvas").screenshot())).convert("RGB")
        return int((np.ptp(np.asarray(picture), axis=2) > 60).sum())

    with opened(filmed, served.address) as page:
        start_camera(page)
        page.wait_for_timeout(1000)
        before = painted()
        page.wait_for_timeout(2000)
        assert painted() > 1.5 * before > 0
        words = page.get_attribute("#live-faces canvas", "aria-label") or ""
        assert words.startswith("The last 20 seconds: happiness")


def test_files_hold_what_was_seen(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address) as page:
        start_camera(page)
        page.wait_for_timeout(1000)
        page.click("#pause")
        values = as_json(page)
        rows = list(csv.DictReader(io.StringIO(downloaded(page, "#live-csv").decode())))
        kept = [
            name for name in timeline_columns(LABELS) if name != "person" and not name.startswith("smoothed.")
        ]
        assert list(rows[0]) == kept
        faces = [(frame, face) for frame in values["frames"] for face in frame["faces"]]
        assert len(rows) >= len(faces) > 0
        with_face = [row for row in rows if row["track"]]
        for row, (frame, face) in zip(with_face, faces, strict=True):
            assert int(row["frame"]) == frame["frame"]
            assert row["emotion"] == face["emotion"]
            assert float(row["confidence"]) == pytest.approx(face["confidence"], abs=1e-6)
            assert row["abstained"] == str(face["abstained"])
            assert [float(row[name]) for name in ("x0", "y0", "x1", "y1")] == pytest.approx(
                face["box"], abs=0.01
            )
            assert sum(float(row[f"p.{name}"]) for name in LABELS) == pytest.approx(1, abs=1e-4)
        assert values["labels"] == LABELS
        assert (values["view"], values["prior"], values["threshold"]) == ("all", "training", None)


def test_the_snapshot_is_what_is_shown(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address) as page:
        start_camera(page)
        page.locator(".face-now", has_text="happiness 9").wait_for()
        page.click("#pause")
        box = as_json(page)["frames"][-1]["faces"][0]["box"]
        middle = (box[0] + box[2]) / 2
        for expected in (CAMERA_SIZE[0] - middle, middle):
            picture = Image.open(io.BytesIO(downloaded(page, "#snapshot"))).convert("RGB")
            assert picture.size == CAMERA_SIZE
            colour = np.array([0xE6, 0x9F, 0x00])
            near = (np.abs(np.asarray(picture).astype(int) - colour) <= 2).all(axis=2)
            # The lower edge of the box; the name is above it.
            row = near[round(box[3])]
            assert row.sum() > 0.8 * (box[2] - box[0])
            assert np.flatnonzero(row).mean() == pytest.approx(expected, abs=4)
            page.click("#mirror")


def test_no_more_frames_than_allowed_and_none_when_paused(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address, script=WATCHED_SOCKETS) as page:
        start_camera(page)
        page.wait_for_timeout(1000)
        assert 1 <= page.evaluate("mostUnanswered") <= 2
        page.focus("#stage")
        page.keyboard.press("Space")
        assert page.get_attribute("#pause", "aria-pressed") == "true"
        until(page, "unanswered === 0")
        page.evaluate("mostUnanswered = 0")
        page.wait_for_timeout(700)
        assert page.evaluate("mostUnanswered") == 0
        page.keyboard.press("Space")
        until(page, "mostUnanswered > 0")
        page.evaluate(
            "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        until(page, "unanswered === 0")
        page.evaluate("mostUnanswered = 0")
        page.wait_for_timeout(700)
        assert page.evaluate("mostUnanswered") == 0
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        until(page, "mostUnanswered > 0")
        page.click("#tab-files")
        until(page, "unanswered === 0")
        page.evaluate("mostUnanswered = 0")
        page.wait_for_timeout(500)
        assert page.evaluate("mostUnanswered") == 0


def test_settings_change_what_is_shown(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address, script=WATCHED_SOCKETS) as page:
        start_camera(page)
        assert page.locator("#live-faces .bars li").count() == 8
        page.locator("#threshold").fill("100")
        page.locator(".face-now", has_text="unsure").wait_for()
        until(page, "sent.at(-1).threshold === 1")
        page.click("#threshold-reset")
        until(page, "sent.at(-1).threshold === null")
        page.locator(".face-now", has_text="happiness 9").wait_for()
        page.get_by_text("7, without contempt").click()
        assert page.locator("#live-faces .bars li").count() == 7
        page.get_by_text("Even", exact=True).click()
        until(page, "sent.at(-1).prior === 'uniform' && sent.at(-1).view === '7'")
        page.wait_for_timeout(1000)
        page.click("#pause")
        values = as_json(page)
        assert (values["view"], values["prior"]) == ("7", "uniform")
        assert "contempt" not in values["frames"][-1]["faces"][0]["probabilities"]
        assert "contempt" in values["frames"][0]["faces"][0]["probabilities"]


def test_it_goes_on_when_the_server_comes_back(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address, faults=True) as page:
        start_camera(page)
        served.kill()
        page.wait_for_selector("#stage[data-state=gone]")
        assert page.is_visible("#notice-title")
        assert "does not answer" in (page.text_content("#live-status") or "")
        page.wait_for_timeout(1500)
        served.start()
        page.wait_for_selector("#stage[data-state=running].answered", timeout=10_000)
        page.wait_for_selector("#live-faces .face")
        page.wait_for_timeout(700)
        assert int(page.text_content("#rate") or 0) > 0
        assert page.is_hidden("#notice")


def test_frames_are_left_out_where_the_reading_is_slow(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address, script=LATE_ANSWERS) as page:
        start_camera(page)
        page.locator("#live-status", has_text="the others are left out").wait_for(timeout=10_000)


def test_stop_lets_the_camera_go(filmed: Browser, served: Served) -> None:
    with opened(filmed, served.address) as page:
        start_camera(page)
        page.evaluate("window.track = document.getElementById('live-video').srcObject.getVideoTracks()[0]")
        page.click("#stop")
        assert page.evaluate("track.readyState") == "ended"
        assert page.get_attribute("#stage", "data-state") == "idle"
        assert page.locator("#live-faces .face").count() == 0
        start_camera(page)
