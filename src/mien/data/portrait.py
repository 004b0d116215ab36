"""The picture of a drawn person: background, body, face, hair, glasses, a hand in the way, the camera."""

import numpy as np
import numpy.typing as npt

from mien.data.canvas import Canvas, Palette, Scene
from mien.data.face_painting import bare_skin, paint_face
from mien.data.head_parameters import Float, Params
from mien.data.head_surface import HeadSurface, bump, soft

Pixels = npt.NDArray[np.uint8]


def render(params: Params, size: int, channels: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Images, uint8 [N, size, size, channels], and mattes, uint8 [N, size, size], of `shape_heads`."""
    count = len(params["yaw"])
    images = np.empty((count, size, size, channels), dtype=np.uint8)
    mattes = np.empty((count, size, size), dtype=np.uint8)
    # Chunks that fit the processor's cache draw several times faster than large ones.
    step = max(1, 40000 // (size * size))
    for start in range(0, count, step):
        chunk = {name: value[start : start + step] for name, value in params.items()}
        head, palette = HeadSurface(chunk, size), Palette(chunk, channels)
        scene = Scene(palette, _background(palette, size, rng))
        _paint_person(scene, head)
        images[start : start + step] = _photograph(scene, head.p, rng)
        mattes[start : start + step] = np.rint(255.0 * (1.0 - scene.clear))
    return images, mattes


def _background(palette: Palette, size: int, rng: np.random.Generator) -> Float:
    """Soft colour patches behind the head."""
    count, channels, cells = len(palette.skin), palette.channels, 5
    grid = rng.uniform(30.0, 220.0, size=(count, 1, 1, 1))
    grid = grid + rng.normal(0.0, 16.0, size=(count, channels, 1, 1))
    grid = grid + rng.normal(0.0, 26.0, size=(count, 1, cells, cells))
    grid = grid + rng.normal(0.0, 9.0, size=(count, channels, cells, cells))
    place = np.linspace(0.0, cells - 1.0, size)
    hat = np.maximum(1.0 - np.abs(place[:, None] - np.arange(cells)), 0.0).astype(np.float32)
    patches: Float = np.clip(hat @ grid.astype(np.float32) @ hat.T, 5.0, 250.0)
    return patches / palette.metering


def _paint_person(scene: Scene, head: HeadSurface) -> None:
    _body(scene, head)
    brightness, gleam = head.light()
    face = Canvas(scene.palette, bare_skin(scene.palette, head, gleam))
    paint_face(face, head)
    _front_hair(face, head)
    face.picture *= brightness[:, None]
    _glasses(face, head)
    scene.cover(face.picture, head.inside)
    _hand(scene, head)


def _body(scene: Scene, head: HeadSurface) -> None:
    """Hair behind the head, neck, shoulders and ears, none of which the face's pose moves much."""
    p, u, v, palette = head.p, head.u, head.v, scene.palette
    volume, shift = p["hair_volume"], -0.2 * p["sin_yaw"]
    off = np.abs(u - shift)
    across = (u - shift) / (p["head_width"] + 0.04 + volume)
    above = (v + 0.08 - 0.1 * p["sin_pitch"]) / (1.05 + volume)
    cap = soft((1.0 - np.sqrt(across * across + above * above)) * 0.8, head.px) * soft(0.15 - v, 0.3)
    fall = soft((1.0 + 0.08 * np.clip(v, 0.0, 1.0) - np.abs(across)) * 0.7, head.px * 1.5)
    fall = fall * soft(v + 0.1, 0.2) * soft(1.35 - v, 0.3)
    mane = np.maximum(cap, fall * p["long_hair"]) * (1.0 - p["bald"])
    strand = 1.0 + _strands(p, u - shift, v)
    scene.cover(palette.hair * (0.75 * strand)[:, None], mane)
    round_neck = np.maximum(1.0 - ((u - shift) / 0.5) ** 2, 0.05)
    neck = soft(0.46 - off, head.px) * soft(v - 0.6, 0.2)
    under_chin = 0.52 + 0.34 * soft(v - p["chin"] - 0.22, 0.4)
    scene.cover(palette.skin * (under_chin * (0.55 + 0.45 * round_neck))[:, None], neck)
    collar = soft(v - 1.36 - 0.42 * np.maximum(off - 0.42, 0.0) - 0.16 * bump(off, 0.36), head.px)
    scene.cover(palette.cloth * 0.85 / palette.metering, collar)
    for sign in (-1.0, 1.0):
        centre = p["cos_yaw"] * p["head_width"] * sign - 0.12 * p["sin_yaw"]
        d = np.sqrt(((u - centre) / 0.1) ** 2 + ((v - 0.12 - 0.1 * p["sin_pitch"]) / 0.2) ** 2)
        ear = soft((1.0 - d) * 0.12, head.px) * (1.0 - p["long_hair"])
        scene.cover(palette.skin * (0.62 + 0.2 * d.clip(0.0, 1.0))[:, None], ear)


def _front_hair(face: Canvas, head: HeadSurface) -> None:
    p, x, y, xm = head.p, head.x, head.y, head.xm
    side = (xm / (p["head_width"] * (0.93 - 0.05 * p["long_hair"]))) ** 8
    side = side + p["long_hair"] * (side * side - side)
    fringe = p["fringe"] * (p["hairline"] - 0.33 - 0.03 * np.sin(17.0 * x + p["streak"]))
    edge = -p["hairline"] + fringe + 0.10 * x * p["parting"] + 0.45 * xm * xm
    edge = np.minimum(edge + side * (0.55 + 0.9 * p["long_hair"]), 0.12 + 2.0 * p["long_hair"])
    cover = soft(edge - y, np.maximum(head.px, 0.035)) * (1.0 - p["bald"])
    strand = 0.95 + _strands(p, x - 0.4 * p["parting"], y) + 0.35 * bump(y + 0.78 - 0.2 * x, 0.12)
    face.paint(face.palette.hair * strand[:, None], cover)


def _strands(p: Params, x: Float, y: Float) -> Float:
    """Relative brightness of hair, falling from a parting."""
    sweep = x * (1.0 + 0.25 * y) * p["streak"]
    waves: Float = 0.07 * np.sin(6.0 * sweep + 1.5 * np.sin(3.0 * y))
    waves += 0.05 * np.sin(17.0 * sweep + 2.0 * y)
    return waves


def _glasses(face: Canvas, head: HeadSurface) -> None:
    p, xm, y = head.p, head.xm, head.y
    dx, dy = xm - p["eye_apart"] - 0.01, y - 0.03
    ring = np.sqrt((dx / 0.225) ** 2 + (dy / 0.185) ** 2)
    frame = soft(0.016 - np.abs(ring - 1.0) * 0.2, head.px)
    reach = np.maximum(soft(0.12 - xm, 0.04), soft(xm - p["eye_apart"] - 0.22, 0.04))
    bar = soft(0.014 - np.abs(y + 0.03), head.px) * reach
    face.paint(face.palette.cloth * 0.22, np.maximum(frame, bar) * p["glasses"] * 0.92)


def _hand(scene: Scene, head: HeadSurface) -> None:
    """A hand that reaches over the edge of the face in one picture of eight."""
    p, u, v = head.p, head.u, head.v - 0.27
    angle = p["scene"] * 2.0 * np.pi
    cos, sin = np.cos(angle), np.sin(angle)
    out = u * cos + v * sin - 0.50 - 0.28 * sin * sin
    across = v * cos - u * sin
    number = np.rint(across / 0.13)
    finger = across / 0.13 - number
    reach = out - 0.9 * finger * finger * 0.13 - 0.06 * np.abs(number)
    hand = soft(np.minimum(reach, 0.24 - np.abs(across)), head.px) * (p["occluded"] < 0.125)
    tone = 0.95 - 1.1 * finger * finger * soft(0.4 - out, 0.3)
    scene.cover(scene.palette.skin * tone[:, None], hand)


def _photograph(scene: Scene, p: Params, rng: np.random.Generator) -> Pixels:
    """Images, uint8 [B, H, W, C], after the camera's blur, exposure, contrast, white balance and noise."""
    picture, palette = scene.picture, scene.palette
    for axis in (2, 3):
        spread = np.roll(picture, 1, axis) + np.roll(picture, -1, axis) - 2.0 * picture
        picture += 0.25 * p["blur"][:, None] * spread
    picture *= p["exposure"][:, None] * palette.metering
    picture += (picture - 112.0) * (p["contrast"][:, None] - 1.0)
    if palette.channels == 3:
        balance = np.array([1.0, 0.0, -1.0], np.float32)[None, :, None, None]
        picture *= 1.0 + p["warmth"][:, None] * balance
    picture += rng.standard_normal(picture.shape, dtype=np.float32) * p["noise"][:, None]
    return np.rint(np.clip(picture, 0.0, 255.0)).astype(np.uint8).transpose(0, 2, 3, 1)
