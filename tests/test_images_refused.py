"""Pictures that are refused, each with its reason, and Pillow's warnings, which stay inside."""

import contextlib
import io
import os
import struct
import threading
import tracemalloc
import typing
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.pictures import chunk, encoded, flipped, place_of, png_head, smooth

from mien.errors import UnreadableImage, UnreadableReason
from mien.images import file_format, load_image


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_too_many_pixels_are_refused_before_decoding(rgb):
    content = encoded(Image.fromarray(rgb))
    assert load_image(content, max_pixels=35).shape == (5, 7, 3)
    # The data after the header is cut off, so that decoding it would give another message.
    with pytest.raises(UnreadableImage, match=r"7x5 pixels, more than the limit of 34\."):
        load_image(content[:60], max_pixels=34)
    for source in (rgb, Image.fromarray(rgb)):
        with pytest.raises(UnreadableImage, match="limit"):
            load_image(source, max_pixels=34)


@pytest.mark.parametrize("side", [9_000, 9_500, 12_000, 20_000, 2_000_000])
def test_a_bomb_is_refused_before_its_pixels_are_read(side):
    # So many zeros pack into few bytes; the checksum is wrong, and would be told of if it were read.
    content = png_head(side, side) + flipped(chunk(b"IDAT", zlib.compress(bytes(3_000_000))), -1)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImage, match="pixels") as caught:
            load_image(content)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "too large"


@pytest.mark.parametrize("before", [True, False])
def test_text_that_unpacks_to_very_much_is_refused(rgb, before):
    content = encoded(Image.fromarray(rgb))
    text = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(20_000_000)))
    start, end = place_of(content, b"IDAT")
    place = start if before else end
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImage) as caught:
            load_image(content[:place] + text + content[place:])
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize("cut", [0, 1, 8, 40, 80, 120])
def test_truncated_files_are_refused_in_one_sentence(rgb, cut):
    big = Image.fromarray(np.tile(rgb, (9, 9, 1)))
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"):
        with pytest.raises(UnreadableImage) as caught:
            load_image(encoded(big, kind)[:cut])
        message = str(caught.value)
        assert message.startswith("the bytes: ")
        assert "\n" not in message
        assert message.endswith(".")


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_cut_off_anywhere_is_refused(options):
    content = encoded(Image.fromarray(smooth()), "JPEG", **options)
    for cut in range(1, len(content)):
        with pytest.raises(UnreadableImage) as caught:
            load_image(content[:cut])
        assert caught.value.reason in ("damaged", "not a picture")
        assert caught.value.reason == "damaged" or cut < 3


def test_a_png_cut_off_anywhere_is_refused(rgb):
    content = encoded(Image.fromarray(rgb))
    for cut in range(8, len(content)):
        with pytest.raises(UnreadableImage) as caught:
            load_image(content[:cut])
        assert caught.value.reason == "damaged"


def test_a_png_with_a_wrong_checksum_is_refused(rgb):
    # Stored without compression, a wrong pixel spoils nothing else.
    content = encoded(Image.fromarray(rgb), compress_level=0)
    header, pixels = place_of(content, b"IHDR"), place_of(content, b"IDAT")
    for place in (header[1] - 1, pixels[0] + 40, pixels[1] - 1):
        with pytest.raises(UnreadableImage) as caught:
            load_image(flipped(content, place))
        assert caught.value.reason == "damaged"


def test_a_wrong_checksum_of_a_comment_does_not_matter(rgb):
    content = encoded(Image.fromarray(rgb))
    end = place_of(content, b"IDAT")[1]
    comment = flipped(chunk(b"tEXt", b"Comment\0hello"), -1)
    np.testing.assert_array_equal(load_image(content[:end] + comment + content[end:]), rgb)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_what_follows_the_picture_does_not_matter(kind):
    content = encoded(Image.fromarray(smooth()), kind)
    after = b"\0garbage\xff\xd8" * 50
    np.testing.assert_array_equal(load_image(content + after), load_image(content))


def test_an_unread_pil_image_is_refused_as_a_file_is(rgb):
    content = encoded(Image.fromarray(np.tile(rgb, (9, 9, 1))))
    with Image.open(io.BytesIO(content[:200])) as image, pytest.raises(UnreadableImage, match="PIL image"):
        load_image(image)


def test_flipped_bytes_never_escape_as_another_error(rgb):
    rng = np.random.default_rng(1)
    big = Image.fromarray(np.tile(rgb, (6, 6, 1)))
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        whole = np.frombuffer(encoded(big, kind), dtype=np.uint8)
        for _ in range(60):
            broken = whole.copy()
            broken[rng.integers(0, min(len(broken), 300), size=4)] = rng.integers(0, 256, 4)
            with contextlib.suppress(UnreadableImage):
                assert load_image(broken.tobytes()).ndim == 3


def test_every_bad_file_has_its_reason(rgb, tmp_path):
    good = encoded(Image.fromarray(rgb))
    for name, content in {
        "empty.jpg": b"",
        "text.jpg": b"not a picture",
        "short.jpg": b"x",
        "page.png": b"<!DOCTYPE html><html></html>",
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "cut.png": good[:50],
        "photo.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "deep.tif": encoded(Image.fromarray(np.zeros((2, 2), dtype=np.float32)), "TIFF"),
        "huge.png": png_head(20_000, 20_000) + chunk(b"IDAT", b""),
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    expected = {
        "empty.jpg": ("empty file", "empty"),
        "text.jpg": ("not a picture", "not a picture of a known kind"),
        "short.jpg": ("not a picture", "not a picture of a known kind"),
        "page.png": ("not a picture", "not a picture of a known kind"),
        "postscript.jpg": ("not a picture", "not a picture of a known kind"),
        "cut.png": ("damaged", "cut off"),
        "photo.heic": ("unsupported format", "HEIC"),
        "deep.tif": ("unsupported pixels", "floating-point"),
        "huge.png": ("too large", "too many pixels"),
        "folder.jpg": ("not a picture", "folder"),
        "pipe.jpg": ("not a picture", "pipe"),
        "link.jpg": ("missing file", "link leads to no file"),
        "circle.jpg": ("missing file", "link leads to no file"),
        "missing.jpg": ("missing file", "no such file"),
        "text.jpg/a.png": ("missing file", "no such file"),
        "x" * 300: ("missing file", "no such file"),
        "a\0b": ("missing file", "no such file"),
    }
    known = typing.get_args(UnreadableReason)
    for name, (reason, words) in expected.items():
        with pytest.raises(UnreadableImage, match=words) as caught:
            load_image(tmp_path / name)
        assert caught.value.reason == reason
        assert reason in known
        message = str(caught.value)
        assert message.startswith(str(tmp_path / name))
        assert message.count("\n") == 0
        assert message.endswith(".")


@pytest.mark.parametrize("when", ["stat", "open"])
def test_a_file_that_may_not_be_read_says_so(rgb, tmp_path, monkeypatch, when):
    # Whoever runs the tests as root may read everything.
    def refuse(*_args, **_options):
        raise PermissionError

    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(rgb)))
    monkeypatch.setattr(type(path), when, refuse)
    with pytest.raises(UnreadableImage, match="not allowed") as caught:
        load_image(path)
    assert caught.value.reason == "no permission"


def odd_tiff():
    """A TIFF with a tag that lies beyond the file's end: Pillow warns and decodes it."""
    content = bytearray(encoded(Image.fromarray(smooth(8, 8)), "TIFF", software="x" * 50))
    (directory,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[directory : directory + 2])
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        if struct.unpack("<H", content[entry : entry + 2]) == (305,):
            content[entry + 8 : entry + 12] = struct.pack("<I", 10**6)
    return bytes(content)


def test_pillows_warnings_stay_inside(monkeypatch):
    import mien.images as module

    with (
        pytest.warns(UserWarning, match=r"Truncated|larger than file|EXIF"),
        Image.open(io.BytesIO(odd_tiff())) as image,
    ):
        image.load()
    decode = module._decode

    def decode_with_a_warning(image, name):
        warnings.warn("of another", UserWarning, stacklevel=1)
        return decode(image, name)

    monkeypatch.setattr(module, "_decode", decode_with_a_warning)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(load_image(odd_tiff()), smooth(8, 8))
        assert file_format(odd_tiff()) == "TIFF"
        with pytest.raises(UnreadableImage):
            load_image(png_head(10_000, 10_000) + chunk(b"IDAT", b""))
    assert [str(warning.message) for warning in caught] == ["of another"]


def test_threads_leave_the_filters_of_warnings_as_they_were(monkeypatch):
    import mien.images as module

    before = list(warnings.filters)
    inside = {name: threading.Event() for name in ("first", "second")}
    first_out = threading.Event()
    decode = module._decode

    def slow(image, name):
        own = threading.current_thread().name
        inside[own].set()
        # Whoever comes first leaves first.
        (inside["second"] if own == "first" else first_out).wait(20)
        return decode(image, name)

    monkeypatch.setattr(module, "_decode", slow)
    content = odd_tiff()
    results = []

    def read():
        results.append(load_image(content))
        first_out.set()

    threads = [threading.Thread(target=read, name=name) for name in inside]
    for thread in threads:
        thread.start()
        assert inside[thread.name].wait(20)
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert list(warnings.filters) == before
