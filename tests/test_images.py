"""Pictures of every usual kind, and the ones that are refused."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from mien.errors import UnreadableImage
from mien.images import load_image, to_grey


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(rgb, orientation):
    # What a camera stores for a scene under each orientation, written out by hand from the EXIF standard.
    stored = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb, 1),
        7: rgb[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(rgb, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(load_image(content), rgb)


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


def test_palette_keeps_its_colours(rgb):
    palette = Image.fromarray(rgb // 128 * 255).convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(load_image(encoded(palette)), rgb // 128 * 255)


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
    red = load_image(encoded(cmyk, "TIFF"))[0, 0]
    assert red[0] > 200
    assert max(red[1:]) < 60
    assert load_image(encoded(cmyk, "JPEG")).shape == (8, 8, 3)


def test_an_animation_gives_its_first_frame(rgb):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    content = encoded(first, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(load_image(content)[0, 0], (255, 0, 0))


def test_too_many_pixels_are_refused_before_decoding(rgb):
    content = encoded(Image.fromarray(rgb))
    assert load_image(content, max_pixels=35).shape == (5, 7, 3)
    # The data after the header is cut off, so that decoding it would give another message.
    with pytest.raises(UnreadableImage, match=r"7x5 pixels, more than the limit of 34\."):
        load_image(content[:60], max_pixels=34)
    for source in (rgb, Image.fromarray(rgb)):
        with pytest.raises(UnreadableImage, match="limit"):
            load_image(source, max_pixels=34)


def test_a_bomb_is_refused_by_default():
    header = encoded(Image.new("1", (20000, 20000)))
    with pytest.raises(UnreadableImage, match="pixels"):
        load_image(header)


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


def test_paths_that_are_no_pictures(tmp_path):
    with pytest.raises(UnreadableImage, match="no such file"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(UnreadableImage, match="folder"):
        load_image(tmp_path)
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(UnreadableImage, match="not a picture of a known kind"):
        load_image(tmp_path / "a.png")


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
    with pytest.raises(UnreadableImage, match="array must be"):
        load_image(array)


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
