"""What reading faces costs: mien beside the packages that run offline, its start, its memory, its install.

    python benchmarks/runtime.py --model model.onnx
    python benchmarks/runtime.py --model model.onnx,model.int8.onnx --items 1,2 --rounds 9 --json runtime.json

What is compared takes turns, so that a slow moment of the machine falls on all alike; a row gives the median
over the rounds and their range. Ratios are to the first model of `--model`. The items:

1. Time a face, from a cropped picture of 48 x 48 to probabilities, one face and 32 at once, with 1 and with 2
   threads: the models, the packages of benchmarks/peers.py that are installed, and an EfficientNet-B0 at
   224 px with random weights, the network of HSEmotion, by onnxruntime. A package's TensorFlow Lite network
   takes one face at a time; the JavaScript package human is left out, its network is that of fer.
2. Seconds of `import mien` beyond those of an empty Python, and of `mien predict one.jpg` on a picture of
   640 x 480 in a fresh process, which starts Python, finds the face and prints its emotion; and the most
   memory that this process held.
3. Pictures/s of `mien predict FOLDER` with two processes to one. Where others use the machine, the processor
   time tells more: what two processes need beyond one is lost, the rest is shared.
4. Frames/s of a video of 640 x 480 with one face, decoded, the face followed and read in each frame; memory.
5. MB of mien and of what it needs without any extra, as installed here.

The face is that of the picture `astronaut` of scikit-image. Without `--model` the bundled model is read.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from runtime_measured import (
    BATCHES,
    Setting,
    frame,
    in_process,
    milliseconds,
    say,
    watch_film,
    write_efficientnet,
    write_film,
)

import mien
from mien.runtime.model_file import bundled_path

THREADS = (1, 2)
IMPORT_SECONDS, FIRST_ANSWER_SECONDS, FRAMES_A_SECOND, MEMORY_MB, TWO_WORKERS = 0.2, 1.0, 60.0, 400.0, 1.8
"""Targets."""


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    item: int
    what: str
    values: Sequence[float]
    """One a round."""
    unit: str
    target: float | None = None
    aim: Literal["at least", "at most"] = "at most"

    def __str__(self) -> str:
        middle = statistics.median(self.values)
        told = f"{middle:.2f} {self.unit}"
        if len(self.values) > 1:
            told += f" ({min(self.values):.2f} to {max(self.values):.2f})"
        if self.target is None:
            return f"| {self.item} | {self.what} | {told} | | |"
        reached = middle >= self.target if self.aim == "at least" else middle <= self.target
        return (
            f"| {self.item} | {self.what} | {told} | {self.aim} {self.target:g} "
            f"| {'reached' if reached else 'missed'} |"
        )


def time_a_face(setting: Setting) -> list[Row]:
    """Item 1."""
    efficientnet = setting.scratch / "efficientnet_b0.onnx"
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(write_efficientnet, efficientnet).result()
    rows = []
    for threads in THREADS:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            taken = pool.submit(milliseconds, setting, efficientnet, threads).result()
        first = setting.models[0].stem
        for batch in BATCHES:
            for name, times in taken.items():
                ratios = [own / base for own, base in zip(times[batch], taken[first][batch], strict=True)]
                told = f"{name}, {statistics.median(times[batch]):.2f} ms a face, to {first}"
                rows.append(
                    Row(1, f"batch {batch}, {threads} thread{'s' * (threads > 1)}: {told}", ratios, "times")
                )
    return rows


def start_up(setting: Setting) -> list[Row]:
    """Item 2."""
    picture = setting.scratch / "one.jpg"
    frame().save(picture, quality=90)
    model = str(setting.models[0])
    imports, answers = [], []
    for number in range(setting.rounds):
        say(f"start, round {number + 1}")
        empty = in_process(sys.executable, "-c", "pass")
        imports.append(in_process(sys.executable, "-c", "import mien").seconds - empty.seconds)
        answers.append(in_process(sys.executable, "-m", "mien", "predict", str(picture), "--model", model))
    return [
        Row(2, "import mien", imports, "s", IMPORT_SECONDS),
        Row(
            2,
            "first answer of mien predict one.jpg",
            [done.seconds for done in answers],
            "s",
            FIRST_ANSWER_SECONDS,
        ),
        Row(2, "its memory", [done.megabytes for done in answers], "MB", MEMORY_MB),
    ]


def folder(setting: Setting) -> list[Row]:
    """Item 3."""
    pictures = setting.scratch / "pictures"
    pictures.mkdir()
    for number in range(setting.pictures):
        frame().save(pictures / f"{number:04}.jpg", quality=90)
    ratios, processor, memory = [], [], []
    for number in range(setting.rounds):
        command = [sys.executable, "-m", "mien", "predict", str(pictures), "--model", str(setting.models[0])]
        one, two = (in_process(*command, "--workers", workers) for workers in ("1", "2"))
        say(f"folder, round {number + 1}: {one.seconds:.1f} s by one process, {two.seconds:.1f} s by two")
        ratios.append(one.seconds / two.seconds)
        processor.append(two.processor / one.processor)
        memory.append(one.megabytes)
    return [
        Row(3, f"{setting.pictures} pictures, two workers to one", ratios, "times", TWO_WORKERS, "at least"),
        Row(3, "processor time of two workers to that of one", processor, "times"),
        Row(3, "memory of one worker", memory, "MB", MEMORY_MB),
    ]


def video(setting: Setting) -> list[Row]:
    """Item 4."""
    film = setting.scratch / "film.mp4"
    frames = write_film(film, setting.seconds)
    watched = []
    for number in range(setting.rounds):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            watched.append(pool.submit(watch_film, film, setting.models[0]).result())
        say(f"video, round {number + 1}: {frames} frames in {watched[-1].seconds:.1f} s")
    rates = [frames / done.seconds for done in watched]
    return [
        Row(4, "frames of a video with one face", rates, "a second", FRAMES_A_SECOND, "at least"),
        Row(4, "the same", [frames / done.processor for done in watched], "a second of processor time"),
        Row(4, "its memory", [done.megabytes for done in watched], "MB", MEMORY_MB),
    ]


def install_size(setting: Setting) -> list[Row]:
    """Item 5."""
    found: set[str] = set()
    waiting = ["mien"]
    total = sum(path.stat().st_size for path in Path(mien.__file__).parent.rglob("*.*"))
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            say(f"{name} is not installed here; left out")
            continue
        # mien itself may be installed as a link to its sources, which were counted above.
        if name != "mien":
            places = [Path(str(installed.locate_file(file))) for file in installed.files or ()]
            total += sum(place.stat().st_size for place in places if place.is_file())
        needed = [entry for entry in installed.requires or () if "extra ==" not in entry]
        waiting += [re.split(r"[^\w.-]", entry)[0].lower() for entry in needed]
    return [Row(5, f"mien and {len(found) - 1} packages", [total / 1e6], "MB")]


ITEMS: dict[int, Callable[[Setting], list[Row]]] = {
    1: time_a_face,
    2: start_up,
    3: folder,
    4: video,
    5: install_size,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write all figures as JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="", help=".onnx files, separated by commas; the bundled one")
    parser.add_argument("--items", default=",".join(map(str, ITEMS)), help="which, separated by commas")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each item")
    parser.add_argument("--pictures", type=int, default=1000, help="in the folder of item 3")
    parser.add_argument("--seconds", type=float, default=10, help="of the video of item 4")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("skimage") is None:
        sys.exit("this needs a picture of scikit-image; run: pip install scikit-image pooch")
    models = tuple(Path(name).resolve() for name in options.model.split(",") if name) or (bundled_path(),)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="mien-runtime-") as scratch:
        setting = Setting(models, options.rounds, options.pictures, options.seconds, Path(scratch))
        for item in options.items.split(","):
            rows += ITEMS[int(item)](setting)
    print("| item | what | measured (range) | target | |\n|---|---|---|---|---|")
    print("\n".join(map(str, rows)))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
