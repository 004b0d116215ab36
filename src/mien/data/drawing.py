"""The drawn head: its geometry under action units and pose, and its rendering, vectorised over faces.

Lengths are in face units, about 97 mm each: the eyes are 0.64 apart on the line y = 0, x points to the
image's right, y down and z towards the viewer.  Proportions follow the adult means of Farkas,
"Anthropometry of the Head and Face", 2nd ed., 1994.  Every per-face array has N as its first axis.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Float = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Params = dict[str, Float]

ACTION_UNITS: Final[tuple[int, ...]] = (
    1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 23, 24, 25, 26, 27, 43,
)  # fmt: skip

# Lowest and highest value of each identity parameter; skin, hair and style choices follow separately.
_IDENTITY: Final[dict[str, tuple[float, float]]] = {
    "head_width": (0.68, 0.80), "chin": (1.06, 1.24), "jaw": (0.02, 0.20), "depth": (0.72, 0.92),
    "eye_apart": (0.295, 0.345), "eye_width": (0.135, 0.165), "eye_open": (0.060, 0.080),
    "eye_tilt": (-0.012, 0.022), "iris": (0.056, 0.066), "socket": (0.02, 0.07), "brow_gap": (0.185, 0.235),
    "brow_thick": (0.020, 0.042), "brow_arch": (0.01, 0.05), "brow_inner": (0.11, 0.17),
    "nose_long": (0.35, 0.43), "nose_wide": (0.125, 0.175), "nose_high": (0.17, 0.27),
    "mouth_y": (0.66, 0.74), "mouth_wide": (0.22, 0.285), "upper_lip": (0.045, 0.080),
    "lower_lip": (0.060, 0.100), "cheek": (0.01, 0.06), "age": (0.0, 1.0), "hairline": (0.56, 0.74),
    "hair_volume": (0.03, 0.14), "parting": (-0.4, 0.4), "streak": (6.0, 14.0),
}  # fmt: skip
_SKIN: Final = np.array(
    [[92, 60, 44], [141, 96, 70], [190, 140, 108], [222, 176, 148], [240, 203, 182]], np.float32
)
_HAIR: Final = np.array(
    [[24, 20, 20], [38, 28, 24], [62, 42, 30], [96, 66, 42], [150, 112, 66], [136, 128, 124], [122, 60, 34]],
    np.float32,
)
_IRIS: Final = np.array([[62, 40, 26], [84, 58, 34], [92, 110, 120], [80, 98, 72]], np.float32)
IDENTITY_DRAWS: Final[int] = len(_IDENTITY) + 14

CONDITIONS: Final[dict[str, tuple[float, float]]] = {
    "yaw": (-0.46, 0.46), "pitch": (-0.23, 0.23), "roll": (-0.19, 0.19), "zoom": (1.03, 1.27),
    "shift_x": (-0.065, 0.065), "shift_y": (-0.065, 0.065), "light_x": (-0.9, 0.9), "light_y": (-0.8, 0.25),
    "ambient": (0.30, 0.62), "exposure": (0.75, 1.2), "contrast": (0.7, 1.15), "warmth": (-0.08, 0.08),
    "blur": (0.0, 0.8), "noise": (1.0, 5.0), "gaze_x": (-0.03, 0.03), "gaze_y": (-0.012, 0.012),
    "occluded": (0.0, 1.0), "scene": (0.0, 1.0),
}  # fmt: skip
FRONTAL_CONDITIONS: Final[dict[str, tuple[float, float]]] = {
    "yaw": (-0.12, 0.12), "pitch": (-0.08, 0.06), "roll": (-0.06, 0.06), "zoom": (0.70, 0.75),
    "shift_x": (-0.02, 0.02), "shift_y": (-0.02, 0.02), "light_x": (-0.45, 0.45), "light_y": (-0.6, -0.2),
    "ambient": (0.50, 0.60), "exposure": (0.98, 1.08), "contrast": (0.95, 1.05), "warmth": (-0.03, 0.03),
    "blur": (0.0, 0.2), "noise": (0.5, 2.0), "gaze_x": (-0.01, 0.01), "gaze_y": (-0.004, 0.004),
    "occluded": (1.0, 1.0), "scene": (0.0, 1.0),
}  # fmt: skip


def identity_parameters(draws: Float) -> Params:
    """Identity parameters from uniform draws, float32 [N, IDENTITY_DRAWS] in [0, 1)."""
    params = {
        name: low + (high - low) * draws[:, i] for i, (name, (low, high)) in enumerate(_IDENTITY.items())
    }
    rest = draws[:, len(_IDENTITY) :].T
    tone = rest[0] * (len(_SKIN) - 1.001)
    step = tone.astype(np.int64)
    params["skin"] = _SKIN[step] + (tone - step)[:, None] * (_SKIN[step + 1] - _SKIN[step])
    # Fair hair and light irises go with fair skin, so that a subject stays plausible.
    params["hair"] = _HAIR[(rest[1] * np.where(tone > 2.2, len(_HAIR), 3)).astype(np.int64)]
    params["eye"] = _IRIS[(rest[2] * np.where(tone > 2.2, len(_IRIS), 2)).astype(np.int64)]
    params["cloth"] = 30.0 + 190.0 * rest[3:6].T
    male = (rest[6] < 0.5).astype(np.float32)
    params["long_hair"] = (rest[7] < np.where(male > 0, 0.08, 0.75)).astype(np.float32)
    params["bald"] = male * (rest[8] < 0.15)
    params["fringe"] = (1 - params["bald"]) * (rest[9] < 0.3)
    params["beard"] = male * np.clip((rest[10] - 0.5) * 2.4, 0.0, 1.0)
    params["moustache"] = male * np.maximum(params["beard"], rest[11] < 0.12)
    params["glasses"] = (rest[12] < 0.18).astype(np.float32)
    params["lipstick"] = (1 - male) * rest[13]
    params["brow_thick"] = params["brow_thick"] * (0.8 + 0.35 * male)
    params["jaw"] = params["jaw"] - 0.06 * male
    return {name: value.astype(np.float32) for name, value in params.items()}


def head_geometry(params: Params, sided: Float, size: int) -> Params:
    """Add to identity and view parameters where the action units move each feature.

    Args:
        params: of `identity_parameters` and a table of conditions.
        sided: float32 [N, 2, len(ACTION_UNITS)], intensity of each AU on the image's left and right half.
        size: of the image, in pixels.

    Returns:
        A new dictionary; values are [N], or [N, 2] for what differs between the halves.
    """
    au = {unit: sided[:, :, column] for column, unit in enumerate(ACTION_UNITS)}
    mean = {unit: intensity.mean(axis=1) for unit, intensity in au.items()}
    p = dict(params)
    p["jaw_drop"] = 0.13 * mean[26] + 0.17 * mean[27]
    _move_upper_face(p, au)
    _move_mouth(p, au, mean)
    p["puff"] = np.clip(0.7 * au[12] + 0.6 * au[6], 0.0, 1.2)
    p["furrow"] = mean[4]
    p["forehead"] = np.clip(0.75 * mean[1] + 0.6 * mean[2], 0.0, 1.0)
    p["root"] = mean[9]
    p["clench"] = np.clip(mean[15] * 0.9, 0.0, 1.0)
    return _place(p, size)


def _move_upper_face(p: Params, au: dict[int, Float]) -> None:
    """Set brows and lids; each is [N, 2], one value for each half of the face."""
    # Brows: inner end, middle and outer end of a curve.
    base = -p["brow_gap"][:, None] + 0.02 * au[6] + 0.03 * au[9]
    p["brow_in"] = base - 0.115 * au[1] - 0.02 * au[2] + 0.085 * au[4] + 0.02 * au[9] + 0.005
    p["brow_mid"] = base - p["brow_arch"][:, None] - 0.045 * au[1] - 0.085 * au[2] + 0.055 * au[4]
    p["brow_out"] = base + 0.035 - 0.115 * au[2] + 0.012 * au[1] + 0.02 * au[4]
    p["brow_pinch"] = 0.035 * au[4]
    # Eyes: heights of the lids above and below the line of the corners.
    lid = p["eye_open"][:, None] + 0.042 * au[5] - 0.018 * au[7] - 0.010 * au[6] - 0.012 * au[9]
    shut = 1.0 - au[43]
    p["lid_up"] = np.maximum(lid - 0.02 * au[12], 0.018) * shut
    p["lid_low"] = (
        np.maximum(0.044 + 0.006 * au[5] - 0.022 * au[7] - 0.026 * au[6] - 0.014 * au[9], 0.004) * shut
    )
    p["squint"] = np.clip(au[6] + 0.3 * au[7] + 0.5 * au[9], 0.0, 1.0)


def _move_mouth(p: Params, au: dict[int, Float], mean: dict[int, Float]) -> None:
    """Set the mouth, its corners [N, 2] and its middle [N], and the folds around it."""
    p["corner_dx"] = 0.065 * au[12] + 0.075 * au[20] - 0.02 * au[14] - 0.03 * au[24] - 0.015 * au[23]
    p["corner_dx"] = p["corner_dx"] - 0.02 * mean[27][:, None] - 0.012 * mean[26][:, None]
    p["corner_dy"] = (
        -0.115 * au[12] + 0.105 * au[15] - 0.03 * au[14] + 0.025 * au[20] + 0.4 * p["jaw_drop"][:, None]
    )
    part = 0.028 * mean[25]
    p["gap_up"] = part + 0.055 * mean[10] + 0.01 * mean[9] + 0.012 * mean[27] + 0.022 * mean[12] * mean[25]
    press = np.clip(1.0 - 0.35 * mean[23] - 0.75 * mean[24] + 0.25 * mean[25], 0.0, 1.0)
    p["gap_up"] = p["gap_up"] * press
    p["gap_low"] = (part + p["jaw_drop"] * 1.05 + 0.065 * mean[16] + 0.03 * mean[12] * mean[25]) * press
    thin = 1.0 - 0.5 * mean[23] - 0.45 * mean[24] - 0.25 * mean[12] - 0.25 * mean[20] - 0.2 * mean[27]
    thin = np.clip(thin, 0.22, 1.0)
    p["lip_up"] = p["upper_lip"] * thin * (1 - 0.25 * mean[9])
    p["lip_low"] = p["lower_lip"] * thin * (1 + 0.12 * mean[17])
    p["mouth_mid"] = p["mouth_y"] - 0.035 * mean[9] - 0.02 * mean[10] - 0.04 * mean[17] - 0.012 * mean[12]
    p["chin_boss"] = mean[17]
    p["dimple"] = np.clip(au[14], 0.0, 1.0)
    p["fold"] = np.clip(0.75 * au[12] + 0.75 * au[10] + 0.6 * au[9] + 0.2 * au[6] + 0.25 * au[14], 0.0, 1.0)
    p["wing_up"] = 0.045 * mean[9] + 0.015 * mean[10]


def _place(p: Params, size: int) -> Params:
    """Add the pose's trigonometry and the pixels per face unit and centre of the framing."""
    p["cos_yaw"], p["sin_yaw"] = np.cos(p["yaw"]), np.sin(p["yaw"])
    p["cos_pitch"], p["sin_pitch"] = np.cos(p["pitch"]), np.sin(p["pitch"])
    p["cos_roll"], p["sin_roll"] = np.cos(p["roll"]), np.sin(p["roll"])
    p["scale"] = size / 2.3 * p["zoom"]
    p["cx"], p["cy"] = np.float32(size / 2) * (1 + p["shift_x"]), np.float32(size / 2) * (1 + p["shift_y"])
    middle = np.stack([np.zeros_like(p["yaw"]), np.full_like(p["yaw"], 0.27)], axis=1)[:, None, :]
    p["origin"] = _turn(p, middle, 0.6 * p["depth"][:, None])[:, 0]
    return p


def _turn(p: Params, xy: Float, z: Float) -> Float:
    """Points of the head, [N, K, 2] and [N, K], turned by yaw and pitch and seen from the front."""
    x, y = xy[..., 0], xy[..., 1]
    sin_yaw, cos_yaw = p["sin_yaw"][:, None], p["cos_yaw"][:, None]
    sin_pitch, cos_pitch = p["sin_pitch"][:, None], p["cos_pitch"][:, None]
    deep = cos_yaw * z - sin_yaw * x
    return np.stack([cos_yaw * x + sin_yaw * z, cos_pitch * y - sin_pitch * deep], axis=-1).astype(np.float32)


def _pixels(p: Params, xy: Float, lift: Float | float = 0.0) -> Float:
    """Pixel positions, float32 [N, K, 2], of face points [N, K, 2] lifted off the head's surface."""
    one = {name: p[name][:, None] for name in ("head_width", "chin", "jaw", "depth", "jaw_drop")}
    rest, width = _profile(one, xy[..., 1])
    z = one["depth"] * np.sqrt(np.maximum(rest - (xy[..., 0] / width) ** 2, 0.0)) + lift
    seen = (_turn(p, xy, z.astype(np.float32)) - p["origin"][:, None, :]) * p["scale"][:, None, None]
    cos, sin = p["cos_roll"][:, None], p["sin_roll"][:, None]
    x = p["cx"][:, None] + cos * seen[..., 0] - sin * seen[..., 1]
    y = p["cy"][:, None] + sin * seen[..., 0] + cos * seen[..., 1]
    return np.stack([x, y], axis=-1).astype(np.float32)


def _profile(p: Params, y: Float) -> tuple[Float, Float]:
    """What is left of 1 for (x / width)^2 + (z / depth)^2 at height y on the head, and that width."""
    above = np.minimum(y, 0.0) / 1.08
    below = np.maximum(y, 0.0) / (p["chin"] + p["jaw_drop"])
    rest: Float = 1.0 - above * above * np.abs(above) ** 0.5 - below * below * below
    return rest, p["head_width"] * (1.0 - p["jaw"] * below * below)


def landmarks(p: Params) -> Float:
    """Pixel positions, float32 [N, 5, 2]: left eye, right eye, nose tip, left and right mouth corner."""
    zero = np.zeros_like(p["yaw"])
    x = np.stack([-p["eye_apart"], p["eye_apart"], zero, *_corner_x(p).T], axis=1)
    y = np.stack([zero, zero, p["nose_long"], *_corner_y(p).T], axis=1)
    lift = np.stack([zero, zero, p["nose_high"], zero, zero], axis=1)
    return _pixels(p, np.stack([x, y], axis=-1).astype(np.float32), lift)


def _corner_x(p: Params) -> Float:
    return (p["mouth_wide"][:, None] + p["corner_dx"]) * np.array([-1.0, 1.0], np.float32)


def _corner_y(p: Params) -> Float:
    return p["mouth_mid"][:, None] + p["corner_dy"]


def face_boxes(p: Params, size: int) -> Float:
    """Boxes, float32 [N, 4], around the face from above the brows to the chin, clipped to the image."""
    angle = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False, dtype=np.float32)
    top, bottom = -0.45, p["chin"][:, None] + p["jaw_drop"][:, None] * 0.98
    y = (top + bottom) / 2 - (bottom - top) / 2 * np.cos(angle)
    x = p["head_width"][:, None] * 0.94 * np.sin(angle)
    outline = _pixels(p, np.stack([x, y], axis=-1).astype(np.float32))
    corners: Float = np.concatenate([outline.min(axis=1), outline.max(axis=1)], axis=1)
    return np.clip(corners, 0.0, size)


def texture(width: int, height: int, rng: np.random.Generator) -> Float:
    """A background of soft, muted colour patches and grain, float32 [height, width, 3] in 0..255."""
    frame: Float = np.full((height, width, 3), 118.0, dtype=np.float32)
    tint = rng.uniform(0.7, 1.3, size=(3, 3)).astype(np.float32)
    for layer, (cells, weight) in enumerate(((3, 34.0), (8, 13.0), (32, 4.0))):
        coarse = Image.fromarray(rng.standard_normal((cells, cells + cells // 3)).astype(np.float32))
        patches = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))[:, :, None]
        frame += patches * (weight * tint[layer])
    frame += rng.standard_normal((height, width, 1), dtype=np.float32) * 3.0
    return frame.clip(0.0, 255.0)


def blend(image: Pixels, matte: Pixels, region: Float) -> Float:
    """What a frame's region shows, float32 [size, size, 3], once a drawn person is let into it.

    The person fades out towards the image's edges, where the image cuts shoulders and hair off.
    """
    place = (np.arange(len(image), dtype=np.float32) + 0.5) / len(image)
    across = np.clip(np.minimum(place, 1.0 - place) / 0.08, 0.0, 1.0)
    down = np.clip(np.minimum(place / 0.05, (1.0 - place) / 0.10), 0.0, 1.0)
    ramp = down[:, None] * across[None, :]
    alpha = ramp * ramp * (3.0 - 2.0 * ramp) * (matte.astype(np.float32) / 255.0)
    mixed: Float = region + alpha[:, :, None] * (image.astype(np.float32) - region)
    return mixed


def render(p: Params, size: int, channels: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Images, uint8 [N, size, size, channels], and mattes, uint8 [N, size, size], of `head_geometry`."""
    count = len(p["yaw"])
    images = np.empty((count, size, size, channels), dtype=np.uint8)
    mattes = np.empty((count, size, size), dtype=np.uint8)
    # Chunks that fit the processor's cache draw several times faster than large ones.
    step = max(1, 40000 // (size * size))
    for start in range(0, count, step):
        chunk = {name: value[start : start + step] for name, value in p.items()}
        canvas = _Canvas(chunk, size, channels, rng)
        images[start : start + step] = canvas.image()
        mattes[start : start + step] = np.rint(255.0 * (1.0 - canvas.clear))
    return images, mattes


def _soft(distance: Float, width: Float | float) -> Float:
    """Coverage 0..1 of a pixel `distance` inside an edge that is `width` wide."""
    coverage: Float = np.clip(distance / width + np.float32(0.5), 0.0, 1.0)
    return coverage


def _bump(distance: Float, width: Float | float) -> Float:
    """Gaussian exp(-(distance / width)^2)."""
    ratio = distance / width
    return np.exp(-ratio * ratio)


class _Canvas:
    """A chunk of B faces while it is being drawn; maps are [B, H, W], the picture [B, C, H, W]."""

    def __init__(self, p: Params, size: int, channels: int, rng: np.random.Generator) -> None:
        self.rng, self.size, self.channels = rng, size, channels
        self.p = {name: value[:, None, None] for name, value in p.items() if value.ndim == 1}
        self.pairs = {name: value[:, :, None, None] for name, value in p.items() if value.shape[1:] == (2,)}
        self.colours = {name: value for name, value in p.items() if value.shape[1:] == (3,)}
        self.px = 1.0 / self.p["scale"]
        self.picture: Float
        # How much of the background shows through what has been painted in front of it.
        self.clear: Float = np.ones((len(self.px), size, size), dtype=np.float32)
        self._trace(p["origin"][:, :, None, None])

    def image(self) -> Pixels:
        self._background()
        self._body()
        shade = self._shade()
        scene, self.picture = self.picture, self._skin()
        self._wrinkles()
        self._beard()
        self._mouth()
        self._nose()
        self._eyes()
        self._brows()
        self._hair()
        self.picture *= shade[:, None]
        self._glasses()
        self.clear *= 1.0 - self.inside
        self.picture = scene + self.inside[:, None] * (self.picture - scene)
        self._occluder()
        return self._expose()

    def _colour(self, rgb: Float | tuple[int, int, int]) -> Float:
        """[B or 1, C, 1, 1] of RGB [B, 3] or one RGB triple, as luma (ITU-R BT.601) for grey pictures."""
        colour = np.atleast_2d(np.asarray(rgb, dtype=np.float32))
        if self.channels == 1:
            colour = colour @ np.array([[0.299], [0.587], [0.114]], np.float32)
        return colour[:, :, None, None]

    def _paint(self, colour: Float, alpha: Float) -> None:
        self.picture += alpha[:, None] * (colour - self.picture)

    def _cover(self, colour: Float, alpha: Float) -> None:
        """Paint a part of the person in front of the background."""
        self.clear *= 1.0 - alpha
        self._paint(colour, alpha)

    def _darken(self, alpha: Float) -> None:
        self.picture *= (1.0 - alpha)[:, None]

    def _side(self, name: str) -> Float:
        """A parameter of the two halves of the face, handed over across the midline."""
        pair = self.pairs[name]
        return pair[:, 0] + (pair[:, 1] - pair[:, 0]) * self.right

    def _trace(self, origin: Float) -> None:
        """Find the point of the face that each pixel sees, by intersecting its ray with the head."""
        p, grid = self.p, np.arange(self.size, dtype=np.float32) + 0.5
        dx, dy = grid[None, None, :] - p["cx"], grid[None, :, None] - p["cy"]
        u = self.u = (p["cos_roll"] * dx + p["sin_roll"] * dy) * self.px + origin[:, 0]
        v = self.v = (p["cos_roll"] * dy - p["sin_roll"] * dx) * self.px + origin[:, 1]
        sin, cos, tan_pitch = p["sin_yaw"], p["cos_yaw"], p["sin_pitch"] / p["cos_pitch"]
        deep = np.float32(0.5) * p["depth"]
        for _ in range(3):
            y = v / p["cos_pitch"] + tan_pitch * deep
            rest, width = _profile(p, y)
            flat = 1.0 / (width * width)
            thick = 1.0 / (p["depth"] * p["depth"])
            a = sin * sin * flat + cos * cos * thick
            b = sin * cos * u * (thick - flat)
            found = b * b - a * (u * u * (cos * cos * flat + sin * sin * thick) - rest)
            # Past the silhouette the slope goes on, or the last pixels of the head would face the viewer.
            deep = (np.sign(found) * np.sqrt(np.abs(found)) - b) / a
        self.inside = _soft(found / a * 0.38, self.px)
        self.x = x0 = cos * u - sin * deep
        self.y = y0 = v / p["cos_pitch"] + tan_pitch * deep
        # The nose stands off the head, so under a turned pose it hides what lies behind it.
        for _ in range(3):
            lift = self._nose_lift()
            self.x = x0 - sin / cos * lift
            self.y = y0 + tan_pitch * lift
        self.lift = lift
        self.deep = (deep + p["sin_pitch"] * v) / p["cos_pitch"]
        self.xm = np.abs(self.x)
        self.right = _soft(self.x, 0.2)

    def _nose_lift(self) -> Float:
        p, x, y = self.p, self.x, self.y
        along = np.clip((y + 0.12) / (p["nose_long"] + 0.12), 0.0, 1.0)
        under = np.clip(1.0 - np.maximum(y - p["nose_long"], 0.0) / 0.12, 0.0, 1.0)
        width = 0.085 + (0.62 * p["nose_wide"] - 0.03) * along * along
        ridge = p["nose_high"] * along * (0.45 + 0.55 * along) * under * under * (3.0 - 2.0 * under)
        lift: Float = ridge * _bump(x, width)
        return lift

    def _mouth_curves(self) -> None:
        """Edges of the lips as heights over s, -1 at the left corner and 1 at the right one."""
        p = self.p
        self.half = p["mouth_wide"] + self._side("corner_dx")
        self.s = self.x / self.half
        self.q = np.maximum(1.0 - self.s * self.s, 0.0)
        round_q = self.q * (1.45 - 0.45 * self.q)
        middle = p["mouth_mid"] + self._side("corner_dy") * np.minimum(self.s * self.s, 1.4)
        self.up_in = middle - p["gap_up"] * round_q
        self.low_in = middle + p["gap_low"] * round_q
        self.up_out = self.up_in - p["lip_up"] * round_q + 0.016 * _bump(self.s, 0.16)
        self.low_out = self.low_in + p["lip_low"] * round_q

    def _shade(self) -> Float:
        """Brightness under one distant light, from the slope of the head with its relief."""
        self._mouth_curves()
        p, x, y, xm = self.p, self.x, self.y, self.xm
        wing = _bump(xm - p["nose_wide"] * 0.78, 0.055) * _bump(
            y - p["nose_long"] - 0.03 + p["wing_up"], 0.06
        )
        socket = _bump(xm - p["eye_apart"] + 0.05, 0.2) * _bump(y + 0.03, 0.12)
        ball = _bump(xm - p["eye_apart"], 0.13) * _bump(y, 0.08)
        puff = self._side("puff")
        apple = _bump(xm - 0.42, 0.16) * _bump(y - 0.36 + 0.07 * puff, 0.15)
        lips = _bump(y - (self.up_out + self.up_in) * 0.5, 0.05) + _bump(
            y - (self.low_out + self.low_in) * 0.5, 0.06
        )
        muzzle = _bump(x, 0.32) * _bump(y - p["mouth_mid"], 0.26)
        chin = _bump(x, 0.17) * _bump(y - p["chin"] + 0.2 - p["jaw_drop"], 0.11)
        ridge = _bump(xm - 0.3, 0.26) * _bump(y - self._side("brow_mid"), 0.09)
        groove = _bump(y - self.low_out - 0.05, 0.045) * _bump(x, 0.2)
        relief = self.lift + 0.05 * wing - (p["socket"] + 0.02) * socket + 0.03 * ball + 0.03 * muzzle
        relief += (p["cheek"] + 0.07 * puff) * apple + 0.022 * lips * self.q + 0.015 * ridge
        relief += (0.05 + 0.03 * p["chin_boss"]) * chin - 0.025 * groove
        height = self.deep + relief * (p["cos_yaw"] * p["cos_pitch"])
        slope_y, slope_x = np.gradient(height, axis=(1, 2))
        slope_x, slope_y = slope_x * p["scale"], slope_y * p["scale"]
        length = np.sqrt(p["light_x"] ** 2 + p["light_y"] ** 2 + 0.8)
        facing = (0.894 - slope_x * p["light_x"] - slope_y * p["light_y"]) / length
        facing = np.maximum(facing / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y), 0.0)
        self.gleam = facing**12
        shade: Float = p["ambient"] + (1.08 - p["ambient"]) * facing
        return shade

    def _background(self) -> None:
        """Soft colour patches behind the head."""
        count, cells = len(self.px), 5
        grid = self.rng.uniform(30.0, 220.0, size=(count, 1, 1, 1))
        grid = grid + self.rng.normal(0.0, 16.0, size=(count, self.channels, 1, 1))
        grid = grid + self.rng.normal(0.0, 26.0, size=(count, 1, cells, cells))
        grid = grid + self.rng.normal(0.0, 9.0, size=(count, self.channels, cells, cells))
        place = np.linspace(0.0, cells - 1.0, self.size)
        hat = np.maximum(1.0 - np.abs(place[:, None] - np.arange(cells)), 0.0).astype(np.float32)
        self.picture = np.clip(hat @ grid.astype(np.float32) @ hat.T, 5.0, 250.0) / self._metering()

    def _body(self) -> None:
        """Hair behind the head, neck, shoulders and ears, none of which the face's pose moves much."""
        p, u, v = self.p, self.u, self.v
        skin, hair = self._colour(self.colours["skin"]), self._colour(self.colours["hair"])
        volume, shift = p["hair_volume"], -0.2 * p["sin_yaw"]
        across = (u - shift) / (p["head_width"] + 0.04 + volume)
        above = (v + 0.08 - 0.1 * p["sin_pitch"]) / (1.05 + volume)
        cap = _soft((1.0 - np.sqrt(across * across + above * above)) * 0.8, self.px) * _soft(0.15 - v, 0.3)
        fall = (
            _soft((1.0 + 0.08 * np.clip(v, 0.0, 1.0) - np.abs(across)) * 0.7, self.px * 1.5)
            * _soft(v + 0.1, 0.2)
            * _soft(1.35 - v, 0.3)
        )
        mane = np.maximum(cap, fall * p["long_hair"]) * (1.0 - p["bald"])
        strand = 1.0 + self._strands(u - shift, v)
        self._cover(hair * (0.75 * strand)[:, None], mane)
        round_neck = np.maximum(1.0 - ((u - shift) / 0.5) ** 2, 0.05)
        neck = _soft(0.46 - np.abs(u - shift), self.px) * _soft(v - 0.6, 0.2)
        under_chin = 0.52 + 0.34 * _soft(v - p["chin"] - 0.22, 0.4)
        self._cover(skin * (under_chin * (0.55 + 0.45 * round_neck))[:, None], neck)
        off = np.abs(u - shift)
        collar = _soft(v - 1.36 - 0.42 * np.maximum(off - 0.42, 0.0) - 0.16 * _bump(off, 0.36), self.px)
        self._cover(self._colour(self.colours["cloth"]) * 0.85 / self._metering(), collar)
        for sign in (-1.0, 1.0):
            centre = p["cos_yaw"] * p["head_width"] * sign * 1.0 - 0.12 * p["sin_yaw"]
            d = np.sqrt(((u - centre) / 0.1) ** 2 + ((v - 0.12 - 0.1 * p["sin_pitch"]) / 0.2) ** 2)
            ear = _soft((1.0 - d) * 0.12, self.px) * (1.0 - p["long_hair"])
            self._cover(skin * (0.62 + 0.2 * d.clip(0.0, 1.0))[:, None], ear)

    def _skin(self) -> Float:
        """The bare head: skin with blotches, warmer cheeks and a sheen where it faces the light."""
        p, x, y = self.p, self.x, self.y
        blotch = np.sin(5.1 * x + 3.0 * p["parting"]) * np.sin(4.3 * y + 9.0 * p["streak"])
        tone = 1.0 + 0.03 * blotch + 0.16 * self.gleam
        blush = _bump(self.xm - 0.40, 0.18) * _bump(y - 0.36, 0.16) + 0.7 * _bump(x, 0.13) * _bump(
            y - 0.36, 0.1
        )
        skin = self._colour(self.colours["skin"]) * tone[:, None]
        face: Float = skin * (1.0 - 0.09 * blush[:, None] * self._colour((0, 150, 150)) / 150.0)
        return face

    def _line(self, distance: Float, width: float) -> Float:
        """A crease, kept from vanishing where it is thinner than a pixel."""
        return _bump(distance, np.maximum(np.float32(width), 0.55 * self.px))

    def _wrinkles(self) -> None:
        """Folds and furrows that the action units cut into the skin, deeper with age."""
        p, x, y, xm = self.p, self.x, self.y, self.xm
        deep = 0.7 + 0.45 * p["age"]
        inner, middle = self._side("brow_in"), self._side("brow_mid")
        rows = 0.5 + 0.5 * np.cos((y - middle) * (2.0 * np.pi / 0.105) + 2.2 * x * x)
        brow_space = _soft(middle - 0.05 - y, 0.06) * _soft(y + 0.6, 0.08) * _soft(0.5 - xm, 0.2)
        dark = rows * rows * brow_space * (0.35 * p["forehead"] + 0.06 * p["age"]) * deep
        furrow = (
            self._line(xm - 0.055 - 0.06 * (y - inner), 0.024)
            * _soft(y - inner + 0.10, 0.08)
            * _soft(inner + 0.15 - y, 0.08)
        )
        dark += furrow * (0.42 * p["furrow"] + 0.05 * p["age"]) * deep
        root = 0.5 + 0.5 * np.cos((y + 0.03 - 0.5 * xm) * (2.0 * np.pi / 0.085))
        dark += root * root * _soft(0.125 - xm, 0.07) * _bump(y - 0.03, 0.10) * 0.5 * p["root"]
        top, bottom = p["nose_long"] - 0.03 - p["wing_up"], p["mouth_mid"] + self._side("corner_dy") + 0.05
        along = np.clip((y - top) / (bottom - top), -0.2, 1.2)
        bulge = (0.16 + 0.12 * self._side("puff")) * along * (1.0 - along)
        fold_x = p["nose_wide"] + 0.03 + (self.half + 0.06 - p["nose_wide"]) * along + bulge
        window = _soft(along, 0.15) * _soft(1.0 - along, 0.3)
        fold = self._side("fold")
        soft_side = np.where(xm > fold_x, np.float32(0.03), np.float32(0.055))
        dark += (
            _bump(xm - fold_x, np.maximum(soft_side, 0.55 * self.px))
            * window
            * (0.07 + 0.07 * p["age"] + 0.34 * fold)
        )
        squint = self._side("squint")
        ray = (y - 0.01) / np.maximum(xm - p["eye_apart"] - 0.04, 0.03)
        feet = (
            (0.5 + 0.5 * np.cos(ray * 9.0)) ** 2 * _bump(xm - p["eye_apart"] - 0.24, 0.06) * _bump(ray, 0.9)
        )
        dark += feet * 0.4 * squint * deep
        marionette = self._line(xm - self.half - 0.02 - 0.2 * (y - bottom), 0.025)
        dark += marionette * _bump(y - bottom - 0.07, 0.07) * 0.4 * p["clench"]
        boss = self._line(y - self.low_out - 0.06 - 0.6 * x * x, 0.024) * _soft(0.2 - xm, 0.1)
        dark += boss * (0.12 + 0.4 * p["chin_boss"])
        self._darken(np.clip(dark, 0.0, 0.75))

    def _beard(self) -> None:
        p, x, y, xm = self.p, self.x, self.y, self.xm
        rough = (
            0.86
            + 0.07 * np.sin(53.0 * x + 31.0 * y + 2.0 * np.sin(23.0 * y))
            + 0.07 * np.sin(61.0 * y - 37.0 * xm)
        )
        jaw = _soft(np.maximum(y - p["mouth_mid"] - 0.17, (xm - 0.43) + 0.2 * (y - 0.5)), 0.10) * _soft(
            y - 0.3, 0.2
        )
        lip = _soft(0.05 - np.abs(y - self.up_out + 0.05 - 0.1 * xm), 0.04) * _soft(self.half - xm, 0.06)
        self._paint(self._colour(self.colours["hair"]) * 1.05, jaw * rough * p["beard"] * 0.8)
        self._paint(self._colour(self.colours["hair"]), lip * rough * p["moustache"] * 0.8)

    def _mouth(self) -> None:
        p, y = self.p, self.y
        ends = _soft((1.0 - np.abs(self.s)) * self.half, self.px)
        skin = self.colours["skin"]
        rose = np.array([[168.0, 74.0, 76.0]], np.float32)
        tint = (0.42 + 0.4 * p["lipstick"])[:, :, 0]
        lips = skin * np.array([[0.86, 0.64, 0.64]], np.float32)
        lips = self._colour(lips + tint * (rose - lips))
        upper = y < (self.up_in + self.low_in) * 0.5
        outline = _soft(np.minimum(y - self.up_out, self.low_out - y), self.px) * ends
        # The upper lip faces down, away from most light; the lower one catches a highlight.
        glow: Float = np.where(upper, np.float32(0.80), np.float32(0.92))
        glow = glow + 0.16 * _bump(y - self.low_in - 0.45 * p["lip_low"], 0.025) * self.q
        self._paint(lips * glow[:, None], outline)
        opening = _soft(np.minimum(y - self.up_in, self.low_in - y) + 0.008, np.maximum(self.px, 0.02)) * ends
        dropped = p["mouth_mid"] + p["jaw_drop"]
        self._paint(self._colour((44, 16, 18)), opening * 0.92)
        tongue: Float = (
            _bump(self.s, 0.6) * _bump(y - self.low_in + 0.02, 0.07) * _soft(p["gap_low"] - 0.09, 0.06)
        )
        self._paint(self._colour((150, 74, 76)), opening * tongue * 0.8)
        above = np.minimum(y - self.up_in - 0.004, p["mouth_mid"] + 0.042 - 0.02 * self.s * self.s - y)
        below = np.minimum(self.low_in - y - 0.004, y - dropped - 0.022)
        side = _soft(0.93 - np.abs(self.s), 0.12)
        teeth = _soft(np.maximum(above, below), self.px) * opening * side
        self._paint(self._colour((232, 226, 212)) / self._metering() ** 0.7, teeth * 0.92)
        corner_y = p["mouth_mid"] + self._side("corner_dy")
        pit = _bump(self.xm - self.half - 0.012, 0.028) * _bump(y - corner_y, 0.035)
        dent = self._line(self.xm - self.half - 0.045 + 4.0 * (y - corner_y) ** 2, 0.022) * _bump(
            y - corner_y, 0.085
        )
        self._darken(np.clip(0.28 * pit + (0.5 * pit + 0.55 * dent) * self._side("dimple"), 0.0, 0.75))

    def _nose(self) -> None:
        p, x, y, xm = self.p, self.x, self.y, self.xm
        base = p["nose_long"] + 0.075 - 0.5 * p["wing_up"]
        hole = 1.0 - ((xm - 0.42 * p["nose_wide"]) / 0.042) ** 2 - ((y - base + 0.1 * xm) / 0.024) ** 2
        self._darken(0.62 * _soft(hole * 0.02, np.maximum(0.6 * self.px, 0.012)))
        edge = self._line(xm - p["nose_wide"] * 1.02, 0.016) * _bump(y - base + 0.045, 0.05)
        under = _bump(x, p["nose_wide"] * 0.95) * _bump(y - base - 0.035, 0.035)
        self._darken(0.32 * edge + 0.22 * under)
        self._darken(0.08 * self._line(x, 0.03) * _soft(y - base - 0.06, 0.04) * _soft(self.up_out - y, 0.04))

    def _eyes(self) -> None:
        p, y = self.p, self.y
        u = (self.xm - p["eye_apart"]) / p["eye_width"]
        q = np.maximum(1.0 - u * u, 0.0)
        arc = q * (1.4 - 0.4 * q)
        line = -p["eye_tilt"] * u
        up = line - self._side("lid_up") * arc
        low = line + self._side("lid_low") * arc
        ends = _soft((1.0 - np.abs(u)) * p["eye_width"], self.px)
        near = _soft((1.12 - np.abs(u)) * p["eye_width"], 0.05)
        hollow = _bump(u + 0.2, 1.3) * (_bump(y + 0.10, 0.07) * 0.16 + _bump(y - 0.10, 0.05) * 0.10)
        self._darken(hollow)
        opening = _soft(np.minimum(y - up, low - y), self.px) * ends
        lid_shadow = 1.0 - 0.38 * _bump(y - up, 0.030)
        white = self._colour((236, 230, 226)) / self._metering() ** 0.7
        self._paint(white * lid_shadow[:, None], opening)
        gaze = p["gaze_x"] * np.where(self.x > 0, np.float32(1), np.float32(-1))
        dx, dy = self.xm - p["eye_apart"] - gaze, y + 0.012 - p["gaze_y"]
        distance = np.sqrt(dx * dx + dy * dy)
        disc = opening * _soft(p["iris"] - distance, self.px)
        limbus = 0.62 + 0.38 * _soft(p["iris"] * 0.82 - distance, 0.02)
        self._paint(self._colour(self.colours["eye"]) * (limbus * lid_shadow)[:, None], disc)
        self._paint(self._colour((10, 8, 8)), opening * _soft(p["iris"] * 0.45 - distance, self.px))
        spark = np.sqrt((dx - 0.022 * np.sign(self.x)) ** 2 + (dy + 0.020) ** 2)
        self._paint(self._colour((250, 250, 250)), opening * _soft(0.013 - spark, self.px) * 0.8)
        lash = _soft(0.013 - np.abs(y - up + 0.005), np.maximum(self.px, 0.012)) * near
        self._darken(0.78 * lash)
        squint = self._side("squint")
        rim = self._line(y - low - 0.008, 0.010) * near
        bag = self._line(y - low - 0.055 + 0.02 * squint, 0.022) * near
        crease = self._line(y - up + 0.042, 0.012) * near
        self._darken(
            np.clip((0.22 + 0.25 * squint) * rim + (0.10 + 0.28 * squint) * bag + 0.28 * crease, 0.0, 0.7)
        )

    def _brows(self) -> None:
        p = self.p
        start = p["brow_inner"] - self._side("brow_pinch")
        t = np.clip((self.xm - start) / (p["eye_apart"] + 0.2 - start), -0.25, 1.25)
        height = self._side("brow_in") * (t - 0.6) * (t - 1.0) / 0.6
        height -= self._side("brow_mid") * t * (t - 1.0) / 0.24
        height += self._side("brow_out") * t * (t - 0.6) / 0.4
        thick = p["brow_thick"] * (1.05 - 0.5 * t)
        alpha = (
            _soft(thick - np.abs(self.y - height), np.maximum(self.px, 0.025))
            * _soft(t, 0.16)
            * _soft(1.0 - t, 0.2)
        )
        hair = 0.86 + 0.14 * np.sin(60.0 * self.xm + 40.0 * self.y)
        self._paint(self._colour(self.colours["hair"]) * 0.85, alpha * hair * 0.88)

    def _hair(self) -> None:
        p, x, y, xm = self.p, self.x, self.y, self.xm
        side = (xm / (p["head_width"] * (0.93 - 0.05 * p["long_hair"]))) ** 8
        side = side + p["long_hair"] * (side * side - side)
        fringe = p["fringe"] * (p["hairline"] - 0.33 - 0.03 * np.sin(17.0 * x + p["streak"]))
        edge = (
            -p["hairline"]
            + fringe
            + 0.10 * x * p["parting"]
            + 0.45 * xm * xm
            + side * (0.55 + 0.9 * p["long_hair"])
        )
        edge = np.minimum(edge, 0.12 + 2.0 * p["long_hair"])
        cover = _soft(edge - y, np.maximum(self.px, 0.035)) * (1.0 - p["bald"])
        strand = 0.95 + self._strands(x - 0.4 * p["parting"], y) + 0.35 * _bump(y + 0.78 - 0.2 * x, 0.12)
        self._paint(self._colour(self.colours["hair"]) * strand[:, None], cover)

    def _strands(self, x: Float, y: Float) -> Float:
        """Relative brightness of hair, falling from a parting."""
        sweep = x * (1.0 + 0.25 * y) * self.p["streak"]
        waves: Float = 0.07 * np.sin(6.0 * sweep + 1.5 * np.sin(3.0 * y))
        waves += 0.05 * np.sin(17.0 * sweep + 2.0 * y)
        return waves

    def _glasses(self) -> None:
        p = self.p
        dx, dy = self.xm - p["eye_apart"] - 0.01, self.y - 0.03
        ring = np.sqrt((dx / 0.225) ** 2 + (dy / 0.185) ** 2)
        frame = _soft(0.016 - np.abs(ring - 1.0) * 0.2, self.px)
        bar = _soft(0.014 - np.abs(self.y + 0.03), self.px) * np.maximum(
            _soft(0.12 - self.xm, 0.04), _soft(self.xm - p["eye_apart"] - 0.22, 0.04)
        )
        self._paint(self._colour(self.colours["cloth"]) * 0.22, np.maximum(frame, bar) * p["glasses"] * 0.92)

    def _occluder(self) -> None:
        """A hand that reaches over the edge of the face in one picture of eight."""
        p = self.p
        angle = p["scene"] * 2.0 * np.pi
        cos, sin = np.cos(angle), np.sin(angle)
        out = self.u * cos + (self.v - 0.27) * sin - 0.50 - 0.28 * sin * sin
        across = (self.v - 0.27) * cos - self.u * sin
        finger = across / 0.13 - np.rint(across / 0.13)
        reach = out - 0.9 * finger * finger * 0.13 - 0.06 * np.abs(np.rint(across / 0.13))
        hand = _soft(np.minimum(reach, 0.24 - np.abs(across)), self.px) * (p["occluded"] < 0.125)
        tone = 0.95 - 1.1 * finger * finger * _soft(0.4 - out, 0.3)
        self._cover(self._colour(self.colours["skin"]) * tone[:, None], hand)

    def _metering(self) -> Float:
        """Cameras expose for the face, which evens out most of the difference between skins."""
        luma = self.colours["skin"] @ np.array([0.299, 0.587, 0.114], np.float32)
        return ((165.0 / luma) ** 0.55)[:, None, None, None]

    def _expose(self) -> Pixels:
        """The camera: blur, exposure, contrast, white balance, noise and rounding."""
        p, picture = self.p, self.picture
        for axis in (2, 3):
            spread = np.roll(picture, 1, axis) + np.roll(picture, -1, axis) - 2.0 * picture
            picture += 0.25 * p["blur"][:, None] * spread
        picture *= p["exposure"][:, None] * self._metering()
        picture += (picture - 112.0) * (p["contrast"][:, None] - 1.0)
        if self.channels == 3:
            balance = np.array([1.0, 0.0, -1.0], np.float32)[None, :, None, None]
            picture *= 1.0 + p["warmth"][:, None] * balance
        picture += self.rng.standard_normal(picture.shape, dtype=np.float32) * p["noise"][:, None]
        return np.rint(np.clip(picture, 0.0, 255.0)).astype(np.uint8).transpose(0, 2, 3, 1)
