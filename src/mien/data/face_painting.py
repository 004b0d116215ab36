"""What is painted on a drawn head's skin: folds, beard, mouth, nose, eyes and brows."""

import numpy as np

from mien.data.canvas import Canvas, Palette
from mien.data.head_parameters import Float
from mien.data.head_surface import HeadSurface, bump, soft


def bare_skin(palette: Palette, head: HeadSurface, gleam: Float) -> Float:
    """The bare head, [B, C, H, W]: skin with blotches, warmer cheeks and a sheen where it faces the light."""
    p, x, y = head.p, head.x, head.y
    blotch = np.sin(5.1 * x + 3.0 * p["parting"]) * np.sin(4.3 * y + 9.0 * p["streak"])
    tone = 1.0 + 0.03 * blotch + 0.16 * gleam
    cheeks = bump(head.xm - 0.40, 0.18) * bump(y - 0.36, 0.16)
    blush = cheeks + 0.7 * bump(x, 0.13) * bump(y - 0.36, 0.1)
    skin = palette.skin * tone[:, None]
    face: Float = skin * (1.0 - 0.09 * blush[:, None] * palette.colour((0, 150, 150)) / 150.0)
    return face


def paint_face(canvas: Canvas, head: HeadSurface) -> None:
    """Paint every feature onto the canvas of `bare_skin`."""
    _wrinkles(canvas, head)
    _beard(canvas, head)
    _lips(canvas, head)
    _inner_mouth(canvas, head)
    _mouth_corners(canvas, head)
    _nose(canvas, head)
    _eyes(canvas, head)
    _brows(canvas, head)


def _wrinkles(canvas: Canvas, head: HeadSurface) -> None:
    """Folds and furrows that the action units cut into the skin, deeper with age."""
    dark = _frown_lines(head) + _nasolabial_folds(head) + _crows_feet(head) + _marionette_lines(head)
    canvas.darken(np.clip(dark + _chin_crease(head), 0.0, 0.75))


def _frown_lines(head: HeadSurface) -> Float:
    """Rows across the forehead, furrows between the brows and ripples at the root of the nose."""
    p, x, y, xm = head.p, head.x, head.y, head.xm
    deep = 0.7 + 0.45 * p["age"]
    inner, middle = head.side("brow_in"), head.side("brow_mid")
    rows = 0.5 + 0.5 * np.cos((y - middle) * (2.0 * np.pi / 0.105) + 2.2 * x * x)
    brow_space = soft(middle - 0.05 - y, 0.06) * soft(y + 0.6, 0.08) * soft(0.5 - xm, 0.2)
    dark: Float = rows * rows * brow_space * (0.35 * p["forehead"] + 0.06 * p["age"]) * deep
    between = soft(y - inner + 0.10, 0.08), soft(inner + 0.15 - y, 0.08)
    furrow = head.line(xm - 0.055 - 0.06 * (y - inner), 0.024) * between[0] * between[1]
    dark += furrow * (0.42 * p["furrow"] + 0.05 * p["age"]) * deep
    root = 0.5 + 0.5 * np.cos((y + 0.03 - 0.5 * xm) * (2.0 * np.pi / 0.085))
    dark += root * root * soft(0.125 - xm, 0.07) * bump(y - 0.03, 0.10) * 0.5 * p["root"]
    return dark


def _nasolabial_folds(head: HeadSurface) -> Float:
    """Folds from the wings of the nose to beside the corners of the mouth."""
    p, xm = head.p, head.xm
    top, bottom = p["nose_long"] - 0.03 - p["wing_up"], p["mouth_mid"] + head.side("corner_dy") + 0.05
    along = np.clip((head.y - top) / (bottom - top), -0.2, 1.2)
    bulge = (0.16 + 0.12 * head.side("puff")) * along * (1.0 - along)
    fold_x = p["nose_wide"] + 0.03 + (head.mouth_half + 0.06 - p["nose_wide"]) * along + bulge
    window = soft(along, 0.15) * soft(1.0 - along, 0.3)
    soft_side = np.where(xm > fold_x, np.float32(0.03), np.float32(0.055))
    fold = bump(xm - fold_x, np.maximum(soft_side, 0.55 * head.px))
    dark: Float = fold * window * (0.07 + 0.07 * p["age"] + 0.34 * head.side("fold"))
    return dark


def _crows_feet(head: HeadSurface) -> Float:
    """Rays from the outer corners of squinting eyes."""
    p, xm = head.p, head.xm
    ray = (head.y - 0.01) / np.maximum(xm - p["eye_apart"] - 0.04, 0.03)
    feet = (0.5 + 0.5 * np.cos(ray * 9.0)) ** 2 * bump(xm - p["eye_apart"] - 0.24, 0.06) * bump(ray, 0.9)
    dark: Float = feet * 0.4 * head.side("squint") * (0.7 + 0.45 * p["age"])
    return dark


def _marionette_lines(head: HeadSurface) -> Float:
    """Lines from the corners of the mouth down."""
    p, y = head.p, head.y
    bottom = p["mouth_mid"] + head.side("corner_dy") + 0.05
    line = head.line(head.xm - head.mouth_half - 0.02 - 0.2 * (y - bottom), 0.025)
    dark: Float = line * bump(y - bottom - 0.07, 0.07) * 0.4 * p["clench"]
    return dark


def _chin_crease(head: HeadSurface) -> Float:
    """The crease between lower lip and chin."""
    crease = head.line(head.y - head.low_out - 0.06 - 0.6 * head.x * head.x, 0.024)
    dark: Float = crease * soft(0.2 - head.xm, 0.1) * (0.12 + 0.4 * head.p["chin_boss"])
    return dark


def _beard(canvas: Canvas, head: HeadSurface) -> None:
    p, x, y, xm = head.p, head.x, head.y, head.xm
    rough = 0.86 + 0.07 * np.sin(53.0 * x + 31.0 * y + 2.0 * np.sin(23.0 * y))
    rough += 0.07 * np.sin(61.0 * y - 37.0 * xm)
    inward = np.maximum(y - p["mouth_mid"] - 0.17, (xm - 0.43) + 0.2 * (y - 0.5))
    jaw = soft(inward, 0.10) * soft(y - 0.3, 0.2)
    lip = soft(0.05 - np.abs(y - head.up_out + 0.05 - 0.1 * xm), 0.04) * soft(head.mouth_half - xm, 0.06)
    canvas.paint(canvas.palette.hair * 1.05, jaw * rough * p["beard"] * 0.8)
    canvas.paint(canvas.palette.hair, lip * rough * p["moustache"] * 0.8)


def _lips(canvas: Canvas, head: HeadSurface) -> None:
    p, y = head.p, head.y
    rose = np.array([[168.0, 74.0, 76.0]], np.float32)
    tint = (0.42 + 0.4 * p["lipstick"])[:, :, 0]
    lips = canvas.palette.skin_rgb * np.array([[0.86, 0.64, 0.64]], np.float32)
    colour = canvas.palette.colour(lips + tint * (rose - lips))
    upper = y < (head.up_in + head.low_in) * 0.5
    # The upper lip faces down, away from most light; the lower one catches a highlight.
    glow: Float = np.where(upper, np.float32(0.80), np.float32(0.92))
    glow = glow + 0.16 * bump(y - head.low_in - 0.45 * p["lip_low"], 0.025) * head.q
    outline = soft(np.minimum(y - head.up_out, head.low_out - y), head.px) * _between_corners(head)
    canvas.paint(colour * glow[:, None], outline)


def _inner_mouth(canvas: Canvas, head: HeadSurface) -> None:
    """The opening between the lips, with tongue and teeth."""
    p, y, palette = head.p, head.y, canvas.palette
    gap = np.minimum(y - head.up_in, head.low_in - y) + 0.008
    opening = soft(gap, np.maximum(head.px, 0.02)) * _between_corners(head)
    canvas.paint(palette.colour((44, 16, 18)), opening * 0.92)
    tongue: Float = bump(head.s, 0.6) * bump(y - head.low_in + 0.02, 0.07) * soft(p["gap_low"] - 0.09, 0.06)
    canvas.paint(palette.colour((150, 74, 76)), opening * tongue * 0.8)
    above = np.minimum(y - head.up_in - 0.004, p["mouth_mid"] + 0.042 - 0.02 * head.s * head.s - y)
    below = np.minimum(head.low_in - y - 0.004, y - (p["mouth_mid"] + p["jaw_drop"]) - 0.022)
    teeth = soft(np.maximum(above, below), head.px) * opening * soft(0.93 - np.abs(head.s), 0.12)
    canvas.paint(palette.white(232, 226, 212), teeth * 0.92)


def _mouth_corners(canvas: Canvas, head: HeadSurface) -> None:
    beyond, below = head.xm - head.mouth_half, head.y - (head.p["mouth_mid"] + head.side("corner_dy"))
    pit = bump(beyond - 0.012, 0.028) * bump(below, 0.035)
    dent = head.line(beyond - 0.045 + 4.0 * below**2, 0.022) * bump(below, 0.085)
    canvas.darken(np.clip(0.28 * pit + (0.5 * pit + 0.55 * dent) * head.side("dimple"), 0.0, 0.75))


def _between_corners(head: HeadSurface) -> Float:
    return soft((1.0 - np.abs(head.s)) * head.mouth_half, head.px)


def _nose(canvas: Canvas, head: HeadSurface) -> None:
    p, x, y, xm = head.p, head.x, head.y, head.xm
    base = p["nose_long"] + 0.075 - 0.5 * p["wing_up"]
    hole = 1.0 - ((xm - 0.42 * p["nose_wide"]) / 0.042) ** 2 - ((y - base + 0.1 * xm) / 0.024) ** 2
    canvas.darken(0.62 * soft(hole * 0.02, np.maximum(0.6 * head.px, 0.012)))
    edge = head.line(xm - p["nose_wide"] * 1.02, 0.016) * bump(y - base + 0.045, 0.05)
    under = bump(x, p["nose_wide"] * 0.95) * bump(y - base - 0.035, 0.035)
    canvas.darken(0.32 * edge + 0.22 * under)
    canvas.darken(0.08 * head.line(x, 0.03) * soft(y - base - 0.06, 0.04) * soft(head.up_out - y, 0.04))


def _eyes(canvas: Canvas, head: HeadSurface) -> None:
    p, y = head.p, head.y
    u = (head.xm - p["eye_apart"]) / p["eye_width"]
    q = np.maximum(1.0 - u * u, 0.0)
    arc = q * (1.4 - 0.4 * q)
    line = -p["eye_tilt"] * u
    up = line - head.side("lid_up") * arc
    low = line + head.side("lid_low") * arc
    hollow = bump(u + 0.2, 1.3) * (bump(y + 0.10, 0.07) * 0.16 + bump(y - 0.10, 0.05) * 0.10)
    canvas.darken(hollow)
    ends = soft((1.0 - np.abs(u)) * p["eye_width"], head.px)
    _eyeballs(canvas, head, soft(np.minimum(y - up, low - y), head.px) * ends, y - up)
    near = soft((1.12 - np.abs(u)) * p["eye_width"], 0.05)
    lash = soft(0.013 - np.abs(y - up + 0.005), np.maximum(head.px, 0.012)) * near
    canvas.darken(0.78 * lash)
    squint = head.side("squint")
    rim = head.line(y - low - 0.008, 0.010) * near
    bag = head.line(y - low - 0.055 + 0.02 * squint, 0.022) * near
    crease = head.line(y - up + 0.042, 0.012) * near
    lines = (0.22 + 0.25 * squint) * rim + (0.10 + 0.28 * squint) * bag + 0.28 * crease
    canvas.darken(np.clip(lines, 0.0, 0.7))


def _eyeballs(canvas: Canvas, head: HeadSurface, opening: Float, below_lid: Float) -> None:
    """White, iris, pupil and a spark of light in the opening of the lids."""
    p, palette = head.p, canvas.palette
    lid_shadow = 1.0 - 0.38 * bump(below_lid, 0.030)
    canvas.paint(palette.white(236, 230, 226) * lid_shadow[:, None], opening)
    gaze = p["gaze_x"] * np.where(head.x > 0, np.float32(1), np.float32(-1))
    dx, dy = head.xm - p["eye_apart"] - gaze, head.y + 0.012 - p["gaze_y"]
    distance = np.sqrt(dx * dx + dy * dy)
    limbus = 0.62 + 0.38 * soft(p["iris"] * 0.82 - distance, 0.02)
    disc = opening * soft(p["iris"] - distance, head.px)
    canvas.paint(palette.eye * (limbus * lid_shadow)[:, None], disc)
    canvas.paint(palette.colour((10, 8, 8)), opening * soft(p["iris"] * 0.45 - distance, head.px))
    spark = np.sqrt((dx - 0.022 * np.sign(head.x)) ** 2 + (dy + 0.020) ** 2)
    canvas.paint(palette.colour((250, 250, 250)), opening * soft(0.013 - spark, head.px) * 0.8)


def _brows(canvas: Canvas, head: HeadSurface) -> None:
    p = head.p
    start = p["brow_inner"] - head.side("brow_pinch")
    t = np.clip((head.xm - start) / (p["eye_apart"] + 0.2 - start), -0.25, 1.25)
    # The parabola through the brow's inner end, middle and outer end, at t = 0, 0.6 and 1.
    height = head.side("brow_in") * (t - 0.6) * (t - 1.0) / 0.6
    height -= head.side("brow_mid") * t * (t - 1.0) / 0.24
    height += head.side("brow_out") * t * (t - 0.6) / 0.4
    thick = p["brow_thick"] * (1.05 - 0.5 * t)
    stroke = soft(thick - np.abs(head.y - height), np.maximum(head.px, 0.025))
    alpha = stroke * soft(t, 0.16) * soft(1.0 - t, 0.2)
    hair = 0.86 + 0.14 * np.sin(60.0 * head.xm + 40.0 * head.y)
    canvas.paint(canvas.palette.hair * 0.85, alpha * hair * 0.88)
