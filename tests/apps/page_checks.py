"""What the tests of the page share: a camera's file, a video, a server, checks, the docs' pictures.

`python tests/apps/page_checks.py docs/images` takes the screenshots of docs/page.md anew.
"""

from __future__ import annotations

import math
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page

CAMERA_SIZE = (640, 480)
FACE = (178.0, 58.0, 268.0, 173.0)
"""Where the face is in scikit-image's picture `astronaut`, in pixels."""
LEFT, REACH = 64, 24
"""Where the picture begins in the camera's frame, on average, and how far it moves to each side."""
FRAMES, RATE = 90, 30
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FAKE_CAMERA = "--use-fake-device-for-media-stream"
FAKE_PERMISSION = "--use-fake-ui-for-media-stream"

REAL_ERRORS = ("serious", "critical")
OWN_FAULTS = re.compile(r"Failed to load resource|WebSocket connection to .* failed")
"""What Chromium writes by itself about a server that is gone or refuses."""


def astronaut() -> NDArray[np.uint8]:
    """uint8 RGB [512,512,3]; of NASA, in the public domain, in scikit-image's package."""
    from skimage import data

    picture: NDArray[np.uint8] = data.astronaut()
    return picture


def grave(picture: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """The astronaut with the corners of her mouth drawn down: 0 as she smiles, 1 all the way."""
    from scipy.ndimage import map_coordinates

    x0, y0, x1, y1 = 140, 40, 310, 220
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(float)
    across = (xs - 222.8) / 24
    near = np.exp(-(((ys - 140.5) / 16) ** 2) - (across / 1.6) ** 4)
    brow = (1 - np.abs(xs - 222.8) / 30).clip(0) * np.exp(-(((ys - 92) / 10) ** 2))
    opened = (ys - 140.5) / 12 * np.exp(-(((ys - 140.5) / 18) ** 2) - (across / 0.9) ** 4)
    moved = ys + share * (-28 * (across**2 - 0.35) * near + 10 * brow - 6 * opened)
    bent = picture.copy()
    for channel in range(3):
        bent[y0:y1, x0:x1, channel] = map_coordinates(
            picture[..., channel].astype(float), [moved, xs], order=1, mode="nearest"
        )
    return bent


def moving_face(count: int = FRAMES) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Frames uint8 RGB [480,640,3] and how far each is moved, in pixels: she sways, and ceases to smile."""
    picture = astronaut()
    width, height = CAMERA_SIZE
    for place in range(count):
        turn = 2 * math.pi * place / count
        frame = np.full((height, width, 3), 90, np.uint8)
        left = LEFT + round(REACH * math.sin(turn))
        frame[:, left : left + 512] = grave(picture, (1 - math.cos(turn)) / 2)[:height]
        yield frame, left


def write_camera(path: Path) -> Path:
    """A file that Chromium takes for a camera: YUV4MPEG2, 4:2:0, repeated for ever."""
    width, height = CAMERA_SIZE
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for frame, _ in moving_face():
            planes = Image.fromarray(frame).convert("YCbCr").split()
            small = [plane.resize((width // 2, height // 2)) for plane in planes[1:]]
            file.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in (planes[0], *small)))
    return path


def write_video(path: Path, seconds: float = 3.0) -> Path:
    """A WebM file of the same frames, ten a second."""
    import av

    rate = 10
    frames = [frame for frame, _ in moving_face(round(seconds * rate))]
    with av.open(path, "w") as container:
        stream = container.add_stream("libvpx", rate=rate)
        stream.width, stream.height = CAMERA_SIZE
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 1_500_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


class Served:
    """`mien serve` in a process of its own, that can be killed and started again at the same port.

    Args:
        options: more of them for the command line.
    """

    def __init__(self, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [sys.executable, "-m", "mien", "serve", "--port", str(self.port), *self._options]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _ in range(600):
            assert self._process.poll() is None, "mien serve ended at once"
            try:
                urllib.request.urlopen(f"{self.address}healthz", timeout=1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("mien serve does not answer")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def camera_arguments(camera: Path) -> list[str]:
    """What makes Chromium take a file for its camera, and allow it."""
    return [FAKE_CAMERA, FAKE_PERMISSION, f"--use-file-for-fake-video-capture={camera}"]


def another(browser: Browser, *arguments: str) -> Browser:
    """Another Chromium."""
    path = next(filter(None, map(shutil.which, CHROMIUM)))
    return browser.browser_type.launch(executable_path=path, args=["--no-sandbox", *arguments])


@contextmanager
def opened(
    browser: Browser,
    address: str,
    *,
    faults: bool = False,
    ready: bool = True,
    script: str = "",
    **settings: Any,
) -> Iterator[Page]:
    """The page; a complaint of it, or a request to anywhere else, is an error.

    Args:
        browser: that shows it.
        address: of the service.
        faults: whether Chromium may write of requests that failed, since the test has them fail.
        ready: wait until the model is known.
        script: that runs before the page's own.
        settings: of the browser's context.
    """
    context: BrowserContext = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **settings})
    page = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda stream: asked.append(re.sub("^ws", "http", stream.url)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.add_init_script(script)
    try:
        page.goto(address)
        if ready:
            page.wait_for_selector("html[data-ready=true]")
        yield page
    finally:
        context.close()
    origin = address.split("#")[0].removesuffix("docs")
    assert [url for url in asked if not url.startswith((origin, f"blob:{origin}", "data:"))] == []
    assert [text for text in complaints if not (faults and OWN_FAULTS.search(text))] == []


def until(page: Page, condition: str | Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition, in Python or in the page (which forbids the `eval` of Playwright's own way)."""
    end = time.monotonic() + seconds
    while not (page.evaluate(condition) if isinstance(condition, str) else condition()):
        assert time.monotonic() < end, f"it did not happen: {condition}"
        page.wait_for_timeout(50)


def start_camera(page: Page) -> None:
    """Start it, and wait for the first box."""
    page.click("#start")
    page.wait_for_selector("#stage[data-state=running].answered")
    page.wait_for_selector("#live-faces .face")


def accessibility_faults(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical; each with the first element."""
    from axe_playwright_python.sync_playwright import Axe

    # The script is injected by the debugger, which the page's Content-Security-Policy does not bind.
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:120]}"
        for one in found
        if one["impact"] in REAL_ERRORS
    ]


def take_pictures(folder: Path) -> None:
    """The screenshots of docs/page.md: live view and pictures, phone and desktop, light and dark."""
    from tempfile import TemporaryDirectory

    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    served = Served()
    path = next(filter(None, map(shutil.which, CHROMIUM)))
    with TemporaryDirectory() as work, sync_playwright() as playwright:
        camera = write_camera(Path(work) / "face.y4m")
        video = write_video(Path(work) / "astronaut.webm")
        picture = Path(work) / "astronaut.png"
        Image.fromarray(astronaut()).save(picture)
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", *camera_arguments(camera)]
        )
        try:
            for width, height in ((390, 844), (1440, 900)):
                for theme in ("light", "dark"):
                    view = {"viewport": {"width": width, "height": height}, "color_scheme": theme}
                    with opened(browser, served.address, **view) as page:
                        _take(page, folder, f"{width}-{theme}", picture, video)
        finally:
            browser.close()
            served.kill()


def _take(page: Page, folder: Path, ending: str, picture: Path, video: Path) -> None:
    whole = ending.startswith("390")
    start_camera(page)
    page.wait_for_timeout(21_000)
    _save(page, folder / f"page-camera-{ending}.png", whole)
    page.click("#stop")
    page.click("#tab-files")
    page.set_input_files("#chooser", [picture])
    page.wait_for_selector("#table-scroll table")
    _save(page, folder / f"page-picture-{ending}.png", whole)
    page.set_input_files("#chooser", [video])
    page.wait_for_selector("#film .face", timeout=60_000)
    page.evaluate("document.querySelector('#film video').currentTime = 2.6")
    page.wait_for_timeout(800)
    _save(page, folder / f"page-video-{ending}.png", whole)


def _save(page: Page, path: Path, whole: bool) -> None:
    """As a PNG of 256 colours, which is a third of the size."""
    page.screenshot(path=path, full_page=whole)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]))
