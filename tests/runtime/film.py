"""Videos drawn for tests: two coloured squares, and a detector and an embedder that take them for faces."""

import av
import numpy as np

from mien.faces.detector import Detections

RED, BLUE = (220, 30, 30), (30, 30, 220)
WIDTH, HEIGHT, SIDE, RATE = 160, 96, 24, 30


class Squares:
    """Finds red and blue squares, each of which it takes for a face."""

    def __init__(self):
        self.searches = 0

    def detect(self, rgb):
        self.searches += 1
        found = []
        for channel, other in ((0, 2), (2, 0)):
            mask = (rgb[..., channel] > 150) & (rgb[..., other] < 90)
            if mask.sum() > SIDE * SIDE / 3:
                y, x = np.nonzero(mask)
                found.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        boxes = np.array(found, dtype=np.float32).reshape(-1, 4)
        corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], dtype=np.float32)
        return Detections(boxes, np.full(len(boxes), 0.9, np.float32), corner + size * places)


class Colours:
    """Tells people apart by how red and how blue they are."""

    def embed(self, crops):
        return crops.reshape(len(crops), -1, 3).mean(1).astype(np.float32) - 60


def centres(time):
    """Red goes to the right and back, blue the other way, above it; blue is away from 2 s to 4 s."""
    swing = np.sin(2 * np.pi * time / 4)
    places = {RED: (80 + 55 * swing, 54), BLUE: (80 - 55 * swing, 44)}
    return {colour: place for colour, place in places.items() if not (colour == BLUE and 2 <= time < 4)}


def film(path, frames, *, paint, size=(WIDTH, HEIGHT), sound=None, rotation=None, rate=RATE):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"crf": "10", "g": "20"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        voice = None if sound is None else file.add_stream(sound, rate=48_000)
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(paint(number / rate), format="rgb24")
            file.mux(stream.encode(picture))
            if voice is not None:
                wave = (8000 * np.sin(np.arange(1600 * 2) / 20)).astype(np.int16)[None]
                heard = av.AudioFrame.from_ndarray(wave, format="s16", layout="stereo")
                heard.rate = 48_000
                file.mux(voice.encode(heard))
        file.mux(stream.encode(None))
        if voice is not None:
            file.mux(voice.encode(None))
    return path


def squares(time):
    picture = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    for colour, (x, y) in centres(time).items():
        left, top = round(x - SIDE / 2), round(y - SIDE / 2)
        picture[top : top + SIDE, left : left + SIDE] = colour
    return picture
