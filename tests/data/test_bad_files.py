"""What people's folders hold: every file is read rightly or listed with its reason; none stops the run."""

import struct
import zlib

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mien.config import AuditConfig, PrepareConfig
from mien.data.prepare import prepare
from mien.data.prepared import load_prepared

CONFIG = PrepareConfig(template_sample=0, jobs=1, audit=AuditConfig(near=False))


def _huge_png(path, side=20_000):
    """A PNG of one grey level, 20,000 pixels a side and 400 kB."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = zlib.compress(bytes(side + 1) * side, 9)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def read(tmp_path_factory, raw):
    """A folder of odd files beside plain ones, prepared: rows by file name, and the faces."""
    root = tmp_path_factory.mktemp("bad") / "照片 of mine"
    face = Image.fromarray(raw.picture(1, 64, 64, 3))
    happy = root / "happy"
    for i in range(12):
        raw.save(happy / f"plain {i}.png", raw.picture(100 + i, 64, 64, 3))
        raw.save(root / "sad" / f"{i}.png", raw.picture(200 + i, 64, 64, 3))
    face.save(happy / "rgb.png")
    face.save(happy / "笑顔 と 空白.png")
    face.save(happy / "whole.jpg", quality=95)
    whole = (happy / "whole.jpg").read_bytes()
    (happy / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (happy / "garbled.jpg").write_bytes(whole[:20] + bytes(200) + whole[220:])
    (happy / "empty.jpg").write_bytes(b"")
    (happy / "text.jpg").write_text("this is a letter, not a picture\n" * 40)
    (happy / "link.jpg").symlink_to(happy / "gone.jpg")
    grey = np.asarray(face.convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(happy / "deep.png")
    face.convert("CMYK").save(happy / "cmyk.jpg", quality=95)
    face.quantize(64).save(happy / "palette.png")
    layered = face.copy()
    layered.putalpha(Image.fromarray(np.full((64, 64), 255, np.uint8)))
    layered.save(happy / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    face.transpose(Image.Transpose.ROTATE_90).save(happy / "turned.png", exif=exif)
    Image.fromarray(np.full((1, 1, 3), 90, np.uint8)).save(happy / "dot.png")
    _huge_png(happy / "huge.png")
    out = tmp_path_factory.mktemp("prepared") / "out"
    manifest = prepare({"mine": root}, out, CONFIG)
    rows = {row["source_file"].rpartition("/")[2]: row for row in manifest.frame.iter_rows(named=True)}
    return rows, load_prepared(out).pack, manifest


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cut.jpg", "damaged"),
        ("garbled.jpg", "damaged"),
        ("empty.jpg", "empty file"),
        ("text.jpg", "not a picture"),
        ("link.jpg", "missing file"),
        ("dot.png", "one colour"),
        ("huge.png", "too large"),
    ],
)
def test_what_cannot_be_read_is_listed_with_its_reason(read, name, reason):
    row = read[0][name]
    assert (row["kept"], row["drop_reason"], row["pack_row"]) == (False, reason, None)
    assert row["labels.mine"] == "happiness"
    if reason not in ("one colour", "missing file"):
        assert f"happy/{name}" in row["drop_detail"]
    assert "/tmp" not in (row["drop_detail"] or "")


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("笑顔 と 空白.png", 0),
        ("alpha.png", 0),
        ("turned.png", 0),
        ("whole.jpg", 12),
        ("palette.png", 40),
        ("cmyk.jpg", 30),
        ("deep.png", 2),
    ],
)
def test_every_kind_of_picture_is_read_rightly(read, name, tolerance):
    rows, pack, _ = read
    assert rows[name]["kept"], rows[name]
    expected = pack[rows["rgb.png"]["pack_row"]].astype(int)
    assert np.abs(pack[rows[name]["pack_row"]].astype(int) - expected).max() <= tolerance


def test_every_file_has_a_row_and_formats_are_told(read):
    rows, _, manifest = read
    assert len(rows) == len(manifest) == 24 + 15
    assert {rows[name]["format"] for name in ("rgb.png", "whole.jpg")} == {"PNG", "JPEG"}
    assert (rows["turned.png"]["height"], rows["turned.png"]["width"]) == (64, 64)
    assert rows["deep.png"]["channels"] == 1
    kept = manifest.frame.filter("kept")
    assert kept.select(pl.col("brightness").is_between(1, 254).all()).item()
