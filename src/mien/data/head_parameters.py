"""What varies between drawn heads: identity, and the pose, framing, light and camera they are seen under.

Lengths are in face units, about 97 mm each: the eyes are 0.64 apart on the line y = 0, x points to the
image's right, y down and z towards the viewer.  Proportions follow the adult means of Farkas,
"Anthropometry of the Head and Face", 2nd ed., 1994.  Every per-face array has N as its first axis.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
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
