"""Where the action units and the pose put each feature of a drawn head, in face units and in pixels."""

import numpy as np

from mien.data.head_parameters import ACTION_UNITS, Float, Params


def shape_heads(params: Params, sided: Float, size: int) -> Params:
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
    p["clench"] = mean[15] * 0.9
    _place(p, size)
    return p


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
    low = 0.044 + 0.006 * au[5] - 0.022 * au[7] - 0.026 * au[6] - 0.014 * au[9]
    p["lid_low"] = np.maximum(low, 0.004) * shut
    p["squint"] = np.clip(au[6] + 0.3 * au[7] + 0.5 * au[9], 0.0, 1.0)


def _move_mouth(p: Params, au: dict[int, Float], mean: dict[int, Float]) -> None:
    """Set the mouth, its corners [N, 2] and its middle [N], and the folds around it."""
    p["corner_dx"] = 0.065 * au[12] + 0.075 * au[20] - 0.02 * au[14] - 0.03 * au[24] - 0.015 * au[23]
    p["corner_dx"] = p["corner_dx"] - 0.02 * mean[27][:, None] - 0.012 * mean[26][:, None]
    p["corner_dy"] = -0.115 * au[12] + 0.105 * au[15] - 0.03 * au[14] + 0.025 * au[20]
    p["corner_dy"] = p["corner_dy"] + 0.4 * p["jaw_drop"][:, None]
    part = 0.028 * mean[25]
    press = np.clip(1.0 - 0.35 * mean[23] - 0.75 * mean[24] + 0.25 * mean[25], 0.0, 1.0)
    raised = part + 0.055 * mean[10] + 0.01 * mean[9] + 0.012 * mean[27] + 0.022 * mean[12] * mean[25]
    p["gap_up"] = raised * press
    p["gap_low"] = (part + p["jaw_drop"] * 1.05 + 0.065 * mean[16] + 0.03 * mean[12] * mean[25]) * press
    thin = 1.0 - 0.5 * mean[23] - 0.45 * mean[24] - 0.25 * mean[12] - 0.25 * mean[20] - 0.2 * mean[27]
    thin = np.clip(thin, 0.22, 1.0)
    p["lip_up"] = p["upper_lip"] * thin * (1 - 0.25 * mean[9])
    p["lip_low"] = p["lower_lip"] * thin * (1 + 0.12 * mean[17])
    p["mouth_mid"] = p["mouth_y"] - 0.035 * mean[9] - 0.02 * mean[10] - 0.04 * mean[17] - 0.012 * mean[12]
    p["chin_boss"] = mean[17]
    p["dimple"] = au[14]
    p["fold"] = np.clip(0.75 * au[12] + 0.75 * au[10] + 0.6 * au[9] + 0.2 * au[6] + 0.25 * au[14], 0.0, 1.0)
    p["wing_up"] = 0.045 * mean[9] + 0.015 * mean[10]


def _place(p: Params, size: int) -> None:
    """Add the pose's trigonometry and the pixels per face unit and centre of the framing."""
    p["cos_yaw"], p["sin_yaw"] = np.cos(p["yaw"]), np.sin(p["yaw"])
    p["cos_pitch"], p["sin_pitch"] = np.cos(p["pitch"]), np.sin(p["pitch"])
    p["cos_roll"], p["sin_roll"] = np.cos(p["roll"]), np.sin(p["roll"])
    p["scale"] = size / 2.3 * p["zoom"]
    p["cx"], p["cy"] = np.float32(size / 2) * (1 + p["shift_x"]), np.float32(size / 2) * (1 + p["shift_y"])
    middle = np.stack([np.zeros_like(p["yaw"]), np.full_like(p["yaw"], 0.27)], axis=1)[:, None, :]
    p["origin"] = _turn(p, middle, 0.6 * p["depth"][:, None])[:, 0]


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
    rest, width = profile(one, xy[..., 1])
    z = one["depth"] * np.sqrt(np.maximum(rest - (xy[..., 0] / width) ** 2, 0.0)) + lift
    seen = (_turn(p, xy, z.astype(np.float32)) - p["origin"][:, None, :]) * p["scale"][:, None, None]
    cos, sin = p["cos_roll"][:, None], p["sin_roll"][:, None]
    x = p["cx"][:, None] + cos * seen[..., 0] - sin * seen[..., 1]
    y = p["cy"][:, None] + sin * seen[..., 0] + cos * seen[..., 1]
    return np.stack([x, y], axis=-1).astype(np.float32)


def profile(p: Params, y: Float) -> tuple[Float, Float]:
    """What is left of 1 for (x / width)^2 + (z / depth)^2 at height y on the head, and that width."""
    above = np.minimum(y, 0.0) / 1.08
    below = np.maximum(y, 0.0) / (p["chin"] + p["jaw_drop"])
    rest: Float = 1.0 - above * above * np.abs(above) ** 0.5 - below * below * below
    return rest, p["head_width"] * (1.0 - p["jaw"] * below * below)


def landmarks(p: Params) -> Float:
    """Pixel positions, float32 [N, 5, 2]: left eye, right eye, nose tip, left and right mouth corner."""
    zero = np.zeros_like(p["yaw"])
    corner_x = (p["mouth_wide"][:, None] + p["corner_dx"]) * np.array([-1.0, 1.0], np.float32)
    corner_y = p["mouth_mid"][:, None] + p["corner_dy"]
    x = np.stack([-p["eye_apart"], p["eye_apart"], zero, *corner_x.T], axis=1)
    y = np.stack([zero, zero, p["nose_long"], *corner_y.T], axis=1)
    lift = np.stack([zero, zero, p["nose_high"], zero, zero], axis=1)
    return _pixels(p, np.stack([x, y], axis=-1).astype(np.float32), lift)


def face_boxes(p: Params, size: int) -> Float:
    """Boxes, float32 [N, 4], around the face from above the brows to the chin, clipped to the image."""
    angle = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False, dtype=np.float32)
    top, bottom = -0.45, p["chin"][:, None] + p["jaw_drop"][:, None] * 0.98
    y = (top + bottom) / 2 - (bottom - top) / 2 * np.cos(angle)
    x = p["head_width"][:, None] * 0.94 * np.sin(angle)
    outline = _pixels(p, np.stack([x, y], axis=-1).astype(np.float32))
    corners: Float = np.concatenate([outline.min(axis=1), outline.max(axis=1)], axis=1)
    return np.clip(corners, 0.0, size)
