"""Pictures of every usual kind and array, and what they become."""

import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features
from tests.pictures import chunk, encoded, smooth

from mien.errors import UnreadableImage
from mien.images import file_format, load_image, to_grey


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
