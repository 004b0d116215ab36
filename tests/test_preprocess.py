"""The one evaluation path, against values worked out by hand and a golden array."""

import numpy as np
import pytest
from PIL import Image

from mien.errors import InputError
from mien.preprocess import resize_faces, to_input


def ramp(channels):
    return (np.arange(2 * 4 * 4 * channels).reshape(2, 4, 4, channels) * 5 % 256).astype(np.uint8)


# ramp(1)[0] holds 5 * (4 * row + column). By hand: Pillow's triangle filter halves four pixels with the
# weights 3/7, 3/7, 1/7 and their mirror image; along a row 25/7 and 80/7 are rounded to 4 and 11, then 100/7
# and 320/7 are added down the columns and rounded again.
GOLDEN = np.array([[18, 25], [50, 57]])


def test_intensities_are_centred_and_scaled_in_float32():
    faces = np.array([0, 127, 255, 64], dtype=np.uint8).reshape(1, 2, 2, 1)
    inputs = to_input(faces, size=2, channels=1, mean=0.5, std=0.25)
    grey = faces.astype(np.float32).reshape(1, 1, 2, 2)
    expected = (grey / np.float32(255) - np.float32(0.5)) / np.float32(0.25)
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs, expected)
    assert inputs[0, 0, 0, 0] == -2
    assert inputs[0, 0, 1, 0] == 2


def test_golden_resize():
    inputs = to_input(ramp(1), size=2, channels=1, mean=0.0, std=1.0)
    np.testing.assert_array_equal(np.rint(inputs[0, 0] * 255).astype(int), GOLDEN)


def test_colours_stay_in_rgb_order():
    faces = np.zeros((1, 3, 3, 3), dtype=np.uint8)
    faces[..., 0] = 255
    inputs = to_input(faces, size=3, channels=3, mean=0.5, std=0.5)
    assert (inputs[0, 0] == 1).all()
    assert (inputs[0, 1:] == -1).all()


def test_grey_is_repeated_and_rgb_becomes_luma():
    grey = ramp(1)
    three = to_input(grey, size=4, channels=3, mean=0.5, std=0.5)
    one = to_input(grey, size=4, channels=1, mean=0.5, std=0.5)
    np.testing.assert_array_equal(three, np.repeat(one, 3, axis=1))
    rgb = ramp(3)
    luma = np.stack([np.asarray(Image.fromarray(face).convert("L")) for face in rgb])[..., None]
    np.testing.assert_array_equal(
        to_input(rgb, size=4, channels=1, mean=0.1, std=0.7),
        to_input(luma, size=4, channels=1, mean=0.1, std=0.7),
    )


@pytest.mark.parametrize(("channels", "wanted"), [(1, 1), (1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("shape", [(4, 4), (9, 9), (5, 8)])
def test_shape_and_layout(channels, wanted, shape):
    faces = np.full((3, *shape, channels), 51, dtype=np.uint8)
    inputs = to_input(faces, size=6, channels=wanted, mean=0.0, std=1.0)
    assert inputs.shape == (3, wanted, 6, 6)
    assert inputs.flags.c_contiguous
    np.testing.assert_allclose(inputs, 0.2, atol=1e-7)


def test_resizing_is_antialiased():
    stripes = np.zeros((1, 64, 64, 1), dtype=np.uint8)
    stripes[:, :, ::2] = 255
    inputs = to_input(stripes, size=16, channels=1, mean=0.0, std=1.0)
    assert np.abs(inputs - 0.5).max() < 0.05


def test_no_faces_and_unwritable_or_strided_input():
    none = np.zeros((0, 5, 5, 1), dtype=np.uint8)
    assert to_input(none, size=4, channels=3, mean=0, std=1).shape == (0, 3, 4, 4)
    faces = ramp(3)[:, ::-1, ::-1]
    faces.flags.writeable = False
    before = faces.copy()
    to_input(faces, size=8, channels=3, mean=0.5, std=0.5)
    np.testing.assert_array_equal(faces, before)


@pytest.mark.parametrize(
    "faces",
    [
        np.zeros((2, 4, 4), dtype=np.uint8),
        np.zeros((2, 4, 4, 2), dtype=np.uint8),
        np.zeros((2, 4, 4, 1), dtype=np.float32),
    ],
)
def test_other_arrays_are_refused(faces):
    with pytest.raises(InputError, match="faces must be uint8"):
        to_input(faces, size=4, channels=1, mean=0.5, std=0.5)


def test_other_channel_counts_are_refused():
    with pytest.raises(InputError, match="channels"):
        to_input(ramp(1), size=4, channels=2, mean=0.5, std=0.5)


def test_a_face_that_is_not_square_is_cut_as_in_training() -> None:
    from mien.data.pack import fit

    wide = np.random.default_rng(3).integers(0, 256, (60, 91, 3), dtype=np.uint8)
    for pixels in (wide, wide.transpose(1, 0, 2), wide[..., 0]):
        packed, _ = fit(pixels, 24, 3)
        batch = pixels[None] if pixels.ndim == 3 else pixels[None, ..., None]
        resized = resize_faces(batch, 24)[0]
        np.testing.assert_array_equal(np.broadcast_to(resized, (24, 24, 3)).transpose(2, 0, 1), packed)
