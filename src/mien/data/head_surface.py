"""What each pixel sees of a drawn head: a point of its surface, the edges of its lips, the light on it.

Maps are float32 [B, H, W] for a chunk of B heads.
"""

import numpy as np

from mien.data.head_geometry import profile
from mien.data.head_parameters import Float, Params


def soft(distance: Float, width: Float | float) -> Float:
    """Coverage 0..1 of a pixel `distance` inside an edge that is `width` wide."""
    coverage: Float = np.clip(distance / width + np.float32(0.5), 0.0, 1.0)
    return coverage


def bump(distance: Float, width: Float | float) -> Float:
    """Gaussian exp(-(distance / width)^2)."""
    ratio = distance / width
    return np.exp(-ratio * ratio)


class HeadSurface:
    """The heads of one chunk as their pixels see them; all lengths are in face units.

    Attributes:
        p: the parameters that are one number a head, [B, 1, 1].
        px: side of a pixel, [B, 1, 1].
        u, v: the pixel's own place, in the plane of the picture with the head's roll undone.
        x, y: the place on the face that the pixel sees; `xm` is |x|.
        inside: the head's coverage of the pixel, 0..1.
        mouth_half: half the mouth's width.
        s: place along the mouth, -1 at its left corner and 1 at its right one.
        q: 1 - s^2, and 0 beyond the corners.
        up_out, up_in, low_in, low_out: heights of the lips' edges at `s`, from the top down.
    """

    def __init__(self, params: Params, size: int) -> None:
        self.p = {name: value[:, None, None] for name, value in params.items() if value.ndim == 1}
        self._pairs = {
            name: value[:, :, None, None] for name, value in params.items() if value.shape[1:] == (2,)
        }
        self.px = 1.0 / self.p["scale"]
        self._trace(size)
        self._curve_lips()

    def side(self, name: str) -> Float:
        """A parameter of the two halves of the face, handed over across the midline."""
        pair = self._pairs[name]
        return pair[:, 0] + (pair[:, 1] - pair[:, 0]) * self._right

    def line(self, distance: Float, width: float) -> Float:
        """A crease, kept from vanishing where it is thinner than a pixel."""
        return bump(distance, np.maximum(np.float32(width), 0.55 * self.px))

    def _trace(self, size: int) -> None:
        """Find the point of the face that each pixel sees, by intersecting its ray with the head."""
        p, grid, origin = self.p, np.arange(size, dtype=np.float32) + 0.5, self._pairs["origin"]
        dx, dy = grid[None, None, :] - p["cx"], grid[None, :, None] - p["cy"]
        u = self.u = (p["cos_roll"] * dx + p["sin_roll"] * dy) * self.px + origin[:, 0]
        v = self.v = (p["cos_roll"] * dy - p["sin_roll"] * dx) * self.px + origin[:, 1]
        sin, cos, tan_pitch = p["sin_yaw"], p["cos_yaw"], p["sin_pitch"] / p["cos_pitch"]
        # The profile depends on y, and under a pitch y on the depth that is sought.
        deep = np.float32(0.5) * p["depth"]
        for _ in range(3):
            y = v / p["cos_pitch"] + tan_pitch * deep
            rest, width = profile(p, y)
            flat = 1.0 / (width * width)
            thick = 1.0 / (p["depth"] * p["depth"])
            a = sin * sin * flat + cos * cos * thick
            b = sin * cos * u * (thick - flat)
            found = b * b - a * (u * u * (cos * cos * flat + sin * sin * thick) - rest)
            # Past the silhouette the slope goes on, or the last pixels of the head would face the viewer.
            deep = (np.sign(found) * np.sqrt(np.abs(found)) - b) / a
        self.inside = soft(found / a * 0.38, self.px)
        self.x = x0 = cos * u - sin * deep
        self.y = y0 = v / p["cos_pitch"] + tan_pitch * deep
        # The nose stands off the head, so under a turned pose it hides what lies behind it.
        for _ in range(3):
            self._lift = self._nose_lift()
            self.x = x0 - sin / cos * self._lift
            self.y = y0 + tan_pitch * self._lift
        self._deep = (deep + p["sin_pitch"] * v) / p["cos_pitch"]
        self.xm = np.abs(self.x)
        self._right = soft(self.x, 0.2)

    def _nose_lift(self) -> Float:
        p, x, y = self.p, self.x, self.y
        along = np.clip((y + 0.12) / (p["nose_long"] + 0.12), 0.0, 1.0)
        under = np.clip(1.0 - np.maximum(y - p["nose_long"], 0.0) / 0.12, 0.0, 1.0)
        width = 0.085 + (0.62 * p["nose_wide"] - 0.03) * along * along
        ridge = p["nose_high"] * along * (0.45 + 0.55 * along) * under * under * (3.0 - 2.0 * under)
        lift: Float = ridge * bump(x, width)
        return lift

    def _curve_lips(self) -> None:
        p = self.p
        self.mouth_half = p["mouth_wide"] + self.side("corner_dx")
        self.s = self.x / self.mouth_half
        self.q = np.maximum(1.0 - self.s * self.s, 0.0)
        round_q = self.q * (1.45 - 0.45 * self.q)
        middle = p["mouth_mid"] + self.side("corner_dy") * np.minimum(self.s * self.s, 1.4)
        self.up_in = middle - p["gap_up"] * round_q
        self.low_in = middle + p["gap_low"] * round_q
        self.up_out = self.up_in - p["lip_up"] * round_q + 0.016 * bump(self.s, 0.16)
        self.low_out = self.low_in + p["lip_low"] * round_q

    def light(self) -> tuple[Float, Float]:
        """Brightness, and gleam 0..1, under one distant light, from the slope of the head with its relief."""
        p = self.p
        height = self._deep + self._relief() * (p["cos_yaw"] * p["cos_pitch"])
        slope_y, slope_x = np.gradient(height, axis=(1, 2))
        slope_x, slope_y = slope_x * p["scale"], slope_y * p["scale"]
        length = np.sqrt(p["light_x"] ** 2 + p["light_y"] ** 2 + 0.8)
        facing = (0.894 - slope_x * p["light_x"] - slope_y * p["light_y"]) / length
        facing = np.maximum(facing / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y), 0.0)
        return p["ambient"] + (1.08 - p["ambient"]) * facing, facing**12

    def _relief(self) -> Float:
        """How far nose, sockets, cheeks, lips and chin stand off the smooth head."""
        p, x, y, xm = self.p, self.x, self.y, self.xm
        wing = bump(xm - p["nose_wide"] * 0.78, 0.055) * bump(y - p["nose_long"] - 0.03 + p["wing_up"], 0.06)
        socket = bump(xm - p["eye_apart"] + 0.05, 0.2) * bump(y + 0.03, 0.12)
        ball = bump(xm - p["eye_apart"], 0.13) * bump(y, 0.08)
        puff = self.side("puff")
        apple = bump(xm - 0.42, 0.16) * bump(y - 0.36 + 0.07 * puff, 0.15)
        upper_lip = bump(y - (self.up_out + self.up_in) * 0.5, 0.05)
        lips = upper_lip + bump(y - (self.low_out + self.low_in) * 0.5, 0.06)
        muzzle = bump(x, 0.32) * bump(y - p["mouth_mid"], 0.26)
        chin = bump(x, 0.17) * bump(y - p["chin"] + 0.2 - p["jaw_drop"], 0.11)
        ridge = bump(xm - 0.3, 0.26) * bump(y - self.side("brow_mid"), 0.09)
        groove = bump(y - self.low_out - 0.05, 0.045) * bump(x, 0.2)
        relief: Float = self._lift + 0.05 * wing - (p["socket"] + 0.02) * socket + 0.03 * ball + 0.03 * muzzle
        relief += (p["cheek"] + 0.07 * puff) * apple + 0.022 * lips * self.q + 0.015 * ridge
        relief += (0.05 + 0.03 * p["chin_boss"]) * chin - 0.025 * groove
        return relief
