"""Pictures of every usual kind, and the ones that are refused."""

import contextlib
import io
import os
import pickle
import struct
import threading
import tracemalloc
import typing
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, features

from mien.errors import UnreadableImage, UnreadableReason
from mien.images import file_format, load_image, to_grey


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, content):
    """One chunk of a PNG: length, name, content, checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_head(width, height):
    """A PNG of RGB pixels up to where the pixels would begin."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def place_of(content, kind):
    """Where a PNG's chunk begins and ends."""
    name = content.index(kind)
    return name - 4, name + 8 + struct.unpack(">I", content[name - 4 : name])[0]


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def smooth(height=64, width=96):
    """A picture that JPEG keeps well."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 2, y * 3, x + y]).astype(np.uint8)


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_all_sources_give_the_same_pixels(rgb, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(rgb)))
    for source in (path, str(path), path.read_bytes(), Image.fromarray(rgb), rgb):
        loaded = load_image(source)
        assert loaded.dtype == np.uint8
        assert loaded.flags.c_contiguous
        np.testing.assert_array_equal(loaded, rgb)


# Pillow has AVIF since 11.3, and not in every build.
AVIF = "AVIF" if "avif" in features.get_supported() else "PNG"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", AVIF])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation, kind):
    scene = smooth()
    # What a camera stores for a scene under each orientation, written out by hand from the EXIF standard.
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene, 1),
        7: scene[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(scene, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = load_image(encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif))
    assert upright.shape == scene.shape
    assert np.abs(upright.astype(int) - scene).mean() < (4 if kind in ("JPEG", "WEBP", "AVIF") else 1e-9)


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_impossible_orientation_is_ignored(rgb, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load_image(encoded(Image.fromarray(rgb), exif=exif)), rgb)


def test_broken_exif_is_ignored(rgb):
    content = encoded(Image.fromarray(rgb), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    np.testing.assert_array_equal(load_image(content), rgb)


def test_grey_and_16_bit_and_1_bit():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    expected = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(load_image(grey), expected)
    np.testing.assert_array_equal(load_image(grey[..., None]), expected)
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 17)
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(load_image(encoded(deep, kind)), expected)
    assert set(np.unique(load_image(encoded(Image.fromarray(grey > 100))))) == {0, 255}


def test_deep_colour_is_its_high_byte(rgb):
    deep = (rgb.astype(np.uint16) * 256 + 200).astype(">u2")
    lines = b"".join(b"\0" + line.tobytes() for line in deep)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(load_image(content), rgb)


def test_palette_keeps_its_colours(rgb):
    palette = Image.fromarray(rgb // 128 * 255).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(load_image(encoded(palette)), rgb // 128 * 255)


def test_a_palette_with_an_opacity_for_each_colour_is_laid_on_white():
    palette = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    palette.putpalette([200, 0, 0, 0, 100, 0, 9, 9, 9])
    loaded = load_image(encoded(palette, transparency=bytes([255, 128, 0])))
    np.testing.assert_allclose(loaded[0], [(200, 0, 0), (127, 177, 127), (255, 255, 255)], atol=1)


def test_transparency_is_laid_on_white(rgb):
    alpha = np.zeros(rgb.shape[:2], dtype=np.uint8)
    alpha[:, :3] = 255
    rgba = np.dstack([rgb, alpha])
    for source in (rgba, encoded(Image.fromarray(rgba))):
        loaded = load_image(source)
        np.testing.assert_array_equal(loaded[:, :3], rgb[:, :3])
        assert (loaded[:, 3:] == 255).all()
    keyed = encoded(Image.fromarray(np.zeros((2, 2), dtype=np.uint8)), transparency=0)
    assert (load_image(keyed) == 255).all()


def test_cmyk_comes_as_rgb():
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for kind in ("TIFF", "JPEG"):
        red = load_image(encoded(cmyk, kind))[0, 0]
        assert red[0] > 200
        assert max(red[1:]) < 60


def test_cmyk_jpeg_is_inverted_only_where_adobes_marker_says_so():
    content = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    np.testing.assert_allclose(load_image(content)[4, 4], (255, 0, 0), atol=3)
    marker = content.index(b"\xff\xee")
    (length,) = struct.unpack(">H", content[marker + 2 : marker + 4])
    # The stored samples, 255, 0, 0 and 255, now are ink as they stand: black covers all.
    plain = content[:marker] + content[marker + 2 + length :]
    np.testing.assert_allclose(load_image(plain)[4, 4], (0, 0, 0), atol=3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(kind):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    content = encoded(first, kind, save_all=True, append_images=[second])
    np.testing.assert_allclose(load_image(content)[0, 0], (255, 0, 0), atol=4)


def test_one_pixel_is_a_picture():
    np.testing.assert_array_equal(load_image(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))), [[[1, 2, 3]]])


@pytest.mark.parametrize("name", ["脸 一.png", "a face (1).JPG.png", "ünï.png", "-x.png", "100%.png"])
def test_any_name_will_do(rgb, tmp_path, name):
    (tmp_path / name).write_bytes(encoded(Image.fromarray(rgb)))
    np.testing.assert_array_equal(load_image(tmp_path / name), rgb)


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


def test_the_format_is_told_by_the_content(tmp_path):
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"):
        path = tmp_path / "a.jpg"
        path.write_bytes(encoded(Image.fromarray(smooth()), kind))
        assert file_format(path) == file_format(path.read_bytes()) == kind
    with pytest.raises(UnreadableImage, match="not a picture"):
        file_format(b"text")


def test_the_reason_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(UnreadableImage("a.jpg: the file is empty.", "empty file")))
    assert (str(error), error.reason) == ("a.jpg: the file is empty.", "empty file")


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


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((4, 4, 2), dtype=np.uint8),
        np.zeros((1, 4, 4, 3), dtype=np.uint8),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(UnreadableImage, match="array must be") as caught:
        load_image(array)
    assert caught.value.reason == "unsupported pixels"


def test_floating_point_and_32_bit_pictures_are_refused():
    with pytest.raises(UnreadableImage, match="floating-point"):
        load_image(encoded(Image.fromarray(np.zeros((2, 2), dtype=np.float32)), "TIFF"))
    with pytest.raises(UnreadableImage, match="32 bits"):
        load_image(encoded(Image.fromarray(np.full((2, 2), 70000, dtype=np.int32)), "TIFF"))


def test_other_objects_are_refused():
    with pytest.raises(UnreadableImage, match="int"):
        load_image(3)


def test_grey_equals_pillow_for_many_colours():
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    colours[0] = np.repeat(np.arange(512, dtype=np.uint8)[:, None], 3, axis=1)
    np.testing.assert_array_equal(to_grey(colours), np.asarray(Image.fromarray(colours).convert("L")))
