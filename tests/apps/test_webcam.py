"""The camera window on a video file and without a screen: what is shown, dropped, said."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests.runtime.conftest import make_card, write_model

from mien.apps.camera import open_camera
from mien.apps.webcam import show_webcam
from mien.cli import run
from mien.data.synthetic import draw_faces, paste_faces
from mien.errors import InputError
from mien.runtime.classifier import load

FRAMES = 15


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "linear.onnx", make_card())


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of one drawn face, 30 frames a second; the frame's number is its darkest corner."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    picture = paste_faces(
        draw_faces(1, size=96, channels=3, seed=1, frontal=True), width=320, height=240, seed=1
    )[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(autouse=True)
def _no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def test_a_film_is_shown_to_its_end(film: Path, model_path: Path) -> None:
    summary = show_webcam(load(model_path), camera=str(film))
    assert 1 <= summary.frames <= FRAMES
    assert summary.faces == summary.frames
    assert summary.latency > 0


def test_slow_reading_drops_frames_instead_of_lagging(film: Path) -> None:
    with open_camera(str(film)) as camera:
        seen = 0
        while (newest := camera.frame()) is not None:
            rgb, came = newest
            assert rgb.shape == (240, 320, 3)
            assert rgb.dtype == np.uint8
            assert time.perf_counter() - came < 0.3
            time.sleep(0.15)
            seen += 1
    assert 2 <= seen <= 5


def test_the_mirror_turns_the_picture_and_not_the_words(
    film: Path, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pygame

    monkeypatch.chdir(tmp_path)
    saved = {}
    for mirror in (False, True):
        monkeypatch.setattr(
            pygame.event,
            "get",
            lambda: [pygame.event.Event(pygame.KEYDOWN, key=pygame.K_s)],
        )
        show_webcam(load(model_path), camera=str(film), mirror=mirror, most_frames=2)
        (place,) = tmp_path.glob("mien-*.png")
        saved[mirror] = np.asarray(Image.open(place)).astype(int)
        place.unlink()
    turned = saved[True][:, ::-1]
    different = np.abs(turned - saved[False]).max(2) > 40
    # Only what is written differs: the words read the same way in both.
    assert 0 < different.mean() < 0.25


def test_keys_end_and_pause_it(film: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pygame

    pressed = iter([[pygame.K_SPACE], [], [pygame.K_SPACE], [], [pygame.K_q]])
    monkeypatch.setattr(
        pygame.event,
        "get",
        lambda: [pygame.event.Event(pygame.KEYDOWN, key=key) for key in next(pressed)],
    )
    assert show_webcam(load(model_path), camera=str(film)).frames == 2


def test_the_command_line(film: Path, model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["webcam", "--camera", str(film), "--model", str(model_path), "--most-frames", "2"]
    assert run(command) == 0
    assert "2 frames, 2 faces" in capsys.readouterr().out
    assert run(["webcam", "--camera", "99", "--model", str(model_path)]) == 2
    assert "give another --camera" in capsys.readouterr().err


def test_a_film_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_text("no film")
    with (
        pytest.raises(InputError, match="no camera or video could be opened"),
        open_camera(str(tmp_path / "x.mp4")),
    ):
        pass


def test_without_a_display_it_says_what_to_do(film: Path, model_path: Path) -> None:
    command = ["webcam", "--camera", str(film), "--model", str(model_path)]
    done = subprocess.run(
        [sys.executable, "-m", "mien", *command],
        env={"PATH": "/usr/bin:/bin", "SDL_VIDEODRIVER": "x11"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "there is no display to show the camera on" in done.stderr
    assert "mien predict" in done.stderr
