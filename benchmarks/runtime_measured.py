"""What benchmarks/runtime.py measures, most of it in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mien.runtime.classifier import Classifier, load

BATCHES = (1, 32)
FACES_A_TURN = 8
"""At least so many faces are read in a turn, so that one tick of the clock does not count."""
PEERS = ("fer", "facex", "facemood", "what_the_face", "facial_emotion_recognition")
"""Those of benchmarks/peers.py, which imports PyTorch."""
_MAXRSS = 1e6 if sys.platform == "darwin" else 1e3
"""In which the system counts `ru_maxrss`, to MB."""


@dataclass(frozen=True)
class Setting:
    """What all items share."""

    models: tuple[Path, ...]
    rounds: int
    pictures: int
    """In the folder of item 3."""
    seconds: float
    """Of the video of item 4."""
    scratch: Path


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    seconds: float
    processor: float
    """Seconds of processor time, its own processes' as well."""
    megabytes: float
    """The most memory that one of them held."""


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def frame() -> Image.Image:
    """A picture of 640 x 480 with one face of about 90 pixels."""
    from skimage.data import astronaut

    picture = Image.new("RGB", (640, 480), (40, 60, 80))
    picture.paste(Image.fromarray(astronaut()).resize((480, 480)), (80, 0))
    return picture


def in_process(*command: str) -> Done:
    """Run a command to its end.

    Raises:
        CalledProcessError: it failed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as heard:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=heard)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            heard.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, stderr=heard.read())
    return Done(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / _MAXRSS)


def write_efficientnet(path: Path) -> None:
    """An EfficientNet-B0 with random weights, its eight classes read from three channels of 224 px."""
    import timm

    from mien.card import ModelCard
    from mien.export.onnx import export_model
    from mien.labels import EMOTIONS

    card = ModelCard(name="efficientnet_b0", labels=EMOTIONS, size=224, channels=3)
    export_model(timm.create_model("efficientnet_b0", num_classes=len(EMOTIONS)).eval(), card, path)


def milliseconds(setting: Setting, efficientnet: Path, threads: int) -> dict[str, dict[int, list[float]]]:
    """Of each model, by batch size: the milliseconds a face of each round."""
    import peers
    import torch

    torch.set_num_threads(threads)
    peers.THREADS = threads
    models = {path.stem: Classifier(path, threads=threads).classify for path in setting.models}
    answers: dict[str, Callable[[npt.NDArray[np.uint8]], object]] = {
        **models,
        **{name: getattr(peers, name) for name in PEERS if not peers.PEERS[name].missing()},
        "EfficientNet-B0": Classifier(efficientnet, threads=threads).classify,
    }
    face = np.asarray(frame().crop((240, 30, 380, 170)).resize((48, 48)).convert("L"))[None, ..., None]
    taken: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in BATCHES} for name in answers}
    for batch in BATCHES:
        faces = np.ascontiguousarray(np.repeat(face, batch, axis=0))
        repeats = max(1, FACES_A_TURN // batch)
        for answer in answers.values():
            answer(faces)
        for number in range(setting.rounds):
            say(f"{threads} threads, batch {batch}, round {number + 1}")
            for name, answer in answers.items():
                start = time.perf_counter()
                for _ in range(repeats):
                    answer(faces)
                taken[name][batch].append(1000 * (time.perf_counter() - start) / (repeats * batch))
    return taken


def write_film(path: Path, seconds: float) -> int:
    """A film at 30 frames a second whose one face moves slowly; the number of its frames."""
    import av

    picture, count = np.asarray(frame()), round(30 * seconds)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.bit_rate = 4_000_000
        for number in range(count):
            moved = np.roll(picture, round(40 * np.sin(number / 20)), axis=1)
            for packet in stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return count


def watch_film(path: Path, model: Path) -> Done:
    """What a whole film takes once the model is open."""
    import resource

    from mien.runtime.video import watch

    opened = load(model)
    opened.read(frame())
    start, before = time.perf_counter(), time.process_time()
    for _ in watch(opened, path):
        pass
    return Done(
        time.perf_counter() - start,
        time.process_time() - before,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MAXRSS,
    )
