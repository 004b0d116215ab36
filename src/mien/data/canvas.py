"""What drawn heads are painted with and on: colours [B or 1, C, 1, 1] and pictures [B, C, H, W]."""

import numpy as np

from mien.data.head_parameters import Float, Params


class Palette:
    """The colours of B people: RGB where C is 3, luma (ITU-R BT.601) where it is 1."""

    def __init__(self, params: Params, channels: int) -> None:
        self.channels = channels
        self.skin_rgb = params["skin"]
        self.skin, self.hair = self.colour(params["skin"]), self.colour(params["hair"])
        self.eye, self.cloth = self.colour(params["eye"]), self.colour(params["cloth"])
        # Cameras expose for the face, which evens out most of the difference between skins.
        luma = self.skin_rgb @ np.array([0.299, 0.587, 0.114], np.float32)
        self.metering: Float = ((165.0 / luma) ** 0.55)[:, None, None, None]

    def colour(self, rgb: Float | tuple[int, int, int]) -> Float:
        """The colour of RGB [B, 3], one a person, or of one RGB triple."""
        colour = np.atleast_2d(np.asarray(rgb, dtype=np.float32))
        if self.channels == 1:
            colour = colour @ np.array([[0.299], [0.587], [0.114]], np.float32)
        return colour[:, :, None, None]

    def white(self, red: int, green: int, blue: int) -> Float:
        """The colour of eyes and teeth, held back where the metering would make them glare."""
        return self.colour((red, green, blue)) / self.metering**0.7


class Canvas:
    """Pictures while they are painted, each layer where its map alpha, [B, H, W] in 0..1, lets it."""

    def __init__(self, palette: Palette, picture: Float) -> None:
        self.palette, self.picture = palette, picture

    def paint(self, colour: Float, alpha: Float) -> None:
        self.picture += alpha[:, None] * (colour - self.picture)

    def darken(self, alpha: Float) -> None:
        self.picture *= (1.0 - alpha)[:, None]


class Scene(Canvas):
    """The whole picture; `clear`, [B, H, W], is how much of its background still shows."""

    def __init__(self, palette: Palette, background: Float) -> None:
        super().__init__(palette, background)
        self.clear: Float = np.ones_like(background[:, 0])

    def cover(self, colour: Float, alpha: Float) -> None:
        """Paint a part of the person in front of the background."""
        self.clear *= 1.0 - alpha
        self.paint(colour, alpha)
