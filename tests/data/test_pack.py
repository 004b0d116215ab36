import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mien.data import pack
from mien.errors import InputError, UnreadableImage


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_a_pack_is_a_plain_npy_that_numpy_maps(tmp_path, raw):
    faces = np.stack([raw.picture(i)[None] for i in range(5)])
    path = tmp_path / "pack.npy"
    assert pack.write_pack(path, faces, size=48, channels=1) == 5
    opened = pack.open_pack(path)
    assert isinstance(opened, np.memmap)
    assert not opened.flags.writeable
    np.testing.assert_array_equal(opened, faces)
    np.testing.assert_array_equal(np.load(path), faces)


@given(st.integers(0, 3), st.sampled_from([1, 3]))
def test_the_header_fits_any_count(tmp_path_factory, count, channels):
    path = tmp_path_factory.mktemp("pack") / "pack.npy"
    pack.write_pack(
        path, (np.zeros((channels, 8, 8), dtype=np.uint8) for _ in range(count)), size=8, channels=channels
    )
    assert np.load(path).shape == (count, channels, 8, 8)
    assert path.stat().st_size == 128 + count * channels * 64


def test_a_face_of_another_shape_is_refused(tmp_path):
    with (
        pack.PackWriter(tmp_path / "p.npy", size=8, channels=1) as writer,
        pytest.raises(ValueError, match="cannot hold"),
    ):
        writer.append(np.zeros((3, 8, 8), dtype=np.uint8))


def test_what_is_no_pack_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        pack.open_pack(tmp_path / "none.npy")
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(InputError, match="is not a pack"):
        pack.open_pack(tmp_path / "text.npy")
    np.save(tmp_path / "float.npy", np.zeros((1, 1, 8, 8)))
    with pytest.raises(InputError, match="float64"):
        pack.open_pack(tmp_path / "float.npy")
    whole = tmp_path / "cut.npy"
    pack.write_pack(whole, np.zeros((4, 1, 8, 8), dtype=np.uint8), size=8, channels=1)
    whole.write_bytes(whole.read_bytes()[:-10])
    with pytest.raises(InputError, match="is not a pack"):
        pack.open_pack(whole)


def test_one_picture_saved_as_grey_and_as_rgb_has_one_hash(raw):
    grey = raw.picture(1)
    as_grey = pack.decode(encoded(Image.fromarray(grey)))
    as_rgb = pack.decode(encoded(Image.fromarray(grey).convert("RGB")))
    assert as_rgb.shape == (48, 48)
    assert pack.pixel_hash(as_grey) == pack.pixel_hash(as_rgb) == pack.pixel_hash(pack.decode(grey))


def test_the_hash_knows_shape_and_every_pixel(raw):
    pixels = raw.picture(1)
    changed = pixels.copy()
    changed[3, 4] ^= 1
    hashes = {
        pack.pixel_hash(p) for p in (pixels, changed, pixels.reshape(24, 96), raw.picture(1, channels=3))
    }
    assert len(hashes) == 4


def test_damaged_bytes_are_unreadable(raw):
    whole = encoded(Image.fromarray(raw.picture(1)))
    for data, reason in {b"": "empty file", b"no picture": "not a picture", whole[:60]: "damaged"}.items():
        with pytest.raises(UnreadableImage) as caught:
            pack.decode(data)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("pixels", "size", "reason"),
    [
        (np.zeros((48, 48), np.uint8), (48, 48), "black"),
        (np.full((48, 48), 3, np.uint8), (48, 48), "black"),
        (np.full((48, 48, 3), 90, np.uint8), None, "one colour"),
        (np.full((1, 1), 90, np.uint8), None, "one colour"),
        (np.eye(50, dtype=np.uint8) * 99, (48, 48), "wrong size"),
        (np.eye(50, dtype=np.uint8) * 99, None, None),
        (np.eye(48, dtype=np.uint8) * 48, (48, 48), None),
    ],
)
def test_defects(pixels, size, reason):
    assert pack.defect(pixels, size) == reason


def test_a_fitting_face_is_not_touched(raw):
    pixels = raw.picture(2)
    face, transform = pack.fit(pixels, 48, 1)
    np.testing.assert_array_equal(face[0], pixels)
    assert transform == (1, 0, 0, 0, 1, 0)


def test_grey_is_bt601_and_colour_order_is_rgb():
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 255
    assert np.unique(pack.fit(red, 10, 1)[0]).tolist() == [76]
    face, _ = pack.fit(red, 10, 3)
    assert face.shape == (3, 10, 10)
    assert face[0].min() == 255
    assert face[1:].max() == 0


def test_the_central_square_is_resized_and_the_transform_says_how():
    pixels = np.zeros((40, 60), np.uint8)
    pixels[:, :30] = 255
    face, transform = pack.fit(pixels, 20, 1)
    assert face.shape == (1, 20, 20)
    assert face[0, :, :9].min() == 255
    assert face[0, :, 11:].max() == 0
    a, b, c, d, e, f = transform
    assert (a * 30 + b * 20 + c, d * 30 + e * 20 + f) == (10, 10)
    assert (a * 10 + c, a * 50 + c) == (0, 20)
