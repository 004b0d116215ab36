"""Prepared folders made by hand, and what a data card's page holds."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from mien.data.manifest import Manifest, ManifestInfo
from mien.data.manifest_columns import schema_for
from mien.data.pack import write_pack
from mien.data.summary import TWIN_COLUMNS

CLASSES = ("joy", "rage")


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def row(number: int, label: str | None, split: str = "train", **values: Any) -> dict[str, Any]:
    kept = {
        "pack_row": number,
        "sha256": f"{number:064x}",
        "crop": "came_cropped",
        "split": split,
        "copies": 1 if split == "train" else None,
    }
    known = {"id": f"a/{number}", "set": "a", "source_file": "a.csv", "labels.own": label}
    return {**known, **({"kept": True, **kept} if "drop_reason" not in values else {"kept": False}), **values}


def manifest_of(rows: Sequence[dict[str, Any]], classes: Sequence[str] = CLASSES, **info: Any) -> Manifest:
    schema = schema_for({"own": ()})
    frame = pl.DataFrame(
        {name: pl.Series([one.get(name) for one in rows], dtype=kind) for name, kind in schema.items()}
    )
    values: dict[str, Any] = {
        "labels": tuple(classes),
        "annotations": {"own": ()},
        "target": "own",
        "size": 48,
        "channels": 1,
        "pack_file": "faces.npy",
        "twins_file": "twins.parquet",
        "pack_count": max((one["pack_row"] + 1 for one in rows if one["kept"]), default=0),
        "pack_sha256": "0" * 64,
        "twins": {"near": True, "correlation": 0.98, "shift": 2, "mirror": True},
    }
    return Manifest(frame, ManifestInfo(**{**values, **info}))


def twins_of(*pairs: dict[str, Any]) -> pl.DataFrame:
    base = {"exact": True, "correlation": 1.0, "mirrored": False, "shift_x": 0, "shift_y": 0}
    kinds = {"exact": pl.Boolean, "mirrored": pl.Boolean, "correlation": pl.Float32}
    kinds |= {"shift_x": pl.Int8, "shift_y": pl.Int8}
    return pl.DataFrame(
        {
            name: pl.Series([{**base, **pair}.get(name) for pair in pairs], dtype=kinds.get(name, pl.String))
            for name in TWIN_COLUMNS
        }
    )


LEAK = {"id_a": "a/0", "id_b": "a/2", "split_a": "train", "split_b": "test"}


def prepared(folder: Path, manifest: Manifest, twins: pl.DataFrame | None = None) -> Path:
    """A prepared folder in which face number n has the grey level n, modulo 256."""
    info = manifest.info
    shape = (info.channels, info.size, info.size)
    faces = (np.full(shape, number % 256, dtype=np.uint8) for number in range(info.pack_count))
    folder.mkdir(parents=True)
    write_pack(folder / info.pack_file, faces, size=info.size, channels=info.channels)
    manifest.write(folder / "manifest.parquet")
    if twins is not None:
        twins.write_parquet(folder / "twins.parquet")
    return folder


def some(**info: Any) -> Manifest:
    """Three classes' worth of rows over two sets, with two reasons to drop."""
    rows = [row(0, "joy", copies=3, twin_group="a/0"), row(1, "rage", set="b", copies=2)]
    rows += [row(2, "joy", "test", twin_group="a/0")]
    rows += [row(3, "rage", "validation", set="b"), row(4, None)]
    rows += [
        row(10 + i, "joy", drop_reason="twin of a test image", drop_detail=f'of "a/2", no {i}\nagain')
        for i in range(25)
    ]
    rows += [row(50, "rage", set="b", drop_reason="black", source_row=7)]
    return manifest_of(rows, **info)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("\u00a0", " ")


def sheets_in(page: Path) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """The sample sheets' pixels, uint8 [H, W, 2 or 4]."""
    images = Page(page.read_text(encoding="utf-8")).named("img")
    pngs = [base64.b64decode((image["src"] or "").removeprefix("data:image/png;base64,")) for image in images]
    return [np.asarray(Image.open(io.BytesIO(png))) for png in pngs]


def levels_of(sheet: np.ndarray[Any, np.dtype[np.uint8]], step: int = 50) -> list[int]:
    """Grey level in the middle of each face of a sheet."""
    middles = sheet[step // 2 - 1 :: step, step // 2 - 1 :: step].reshape(-1, sheet.shape[2])
    return [int(pixel[0]) for pixel in middles if pixel[-1]]
