"""What the API takes and answers, version 1. Fields may be added to it; none changes or goes."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mien.apps.service.errors import Code
from mien.runtime.face import Face
from mien.runtime.probabilities import NamedPrior

VERSION: Final = "v1"

Version = Literal["v1"]

_DIGITS: Final = 6
"""Of shares; places have two, as in tables."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ErrorDetail(_Answer):
    """What went wrong."""

    code: Code = Field(description="What programs go by.")
    message: str = Field(description="One sentence for people.")


class ErrorAnswer(_Answer):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class FaceAnswer(_Answer):
    """One face and the model's guess about its look."""

    box: tuple[float, float, float, float] = Field(
        description="x0, y0, x1, y1 in pixels of the upright picture; it may reach beyond the picture."
    )
    landmarks: list[tuple[float, float]] | None = Field(
        description="x, y of the eye on the left of the picture, the other eye, the nose, the left and the "
        "right corner of the mouth; null where the picture came as a cropped face."
    )
    detection_score: float | None = Field(description="How sure the detector is, 0..1, where one looked.")
    emotion: str = Field(description="The class with the largest probability.")
    confidence: float = Field(description="That probability, 0..1.")
    abstained: bool = Field(description="Whether the confidence is below the threshold: better say nothing.")
    probabilities: dict[str, float] = Field(description="Of each class of the view; they sum to 1.")
    track: int | None = Field(
        default=None, description="The face's number over the frames of a stream or video, from 1."
    )

    @classmethod
    def of(cls, face: Face, track: int | None = None) -> FaceAnswer:
        """From what the runtime answers."""
        landmarks = face.landmarks and [(round(x, 2), round(y, 2)) for x, y in face.landmarks]
        score = face.detection_score and round(face.detection_score, _DIGITS)
        # Not validated: the runtime made it, and a stream has no time to lose.
        return cls.model_construct(
            box=tuple(round(value, 2) for value in face.box),
            landmarks=landmarks,
            detection_score=score,
            emotion=face.emotion,
            confidence=round(face.confidence, _DIGITS),
            abstained=face.abstained,
            probabilities={name: round(p, _DIGITS) for name, p in face.probabilities.items()},
            track=track,
        )


class ModelName(_Answer):
    """Which model answered."""

    name: str
    sha256: str = Field(description="Of the model's file.")


class PictureAnswer(_Answer):
    """What was read in one picture."""

    index: int = Field(description="The picture's place in the request, from 0.")
    width: int | None = Field(description="Of the upright picture, in pixels; null if it could not be read.")
    height: int | None
    faces_found: int = Field(description="More than there are `faces` where the picture has too many.")
    faces: list[FaceAnswer] = Field(description="The surest detection first.")
    error: ErrorDetail | None = Field(description="Why the picture could not be read.")


class PredictAnswer(_Answer):
    """The answer about pictures."""

    version: Version = VERSION
    model: ModelName
    pictures: list[PictureAnswer] = Field(description="In the order of the request.")
    milliseconds: float = Field(description="From the end of the upload to the answer.")


class ModelDetail(ModelName):
    """What a client must know of the model."""

    labels: list[str]
    views: dict[str, list[str]] = Field(description="What `view` may be, and the classes it names.")
    size: int = Field(description="Side of the network's input, in pixels.")
    abstain_threshold: float | None
    temperature: float
    prior: dict[str, float] = Field(description="Share of each class in the training data.")


class Limits(_Answer):
    """What the service takes; more is refused."""

    picture_bytes: int
    pixels: int
    files: int
    faces: int
    frame_bytes: int
    frame_pixels: int
    in_flight: int
    video_bytes: int
    video_seconds: float
    video_frames: int
    deadline_seconds: float


class ModelAnswer(_Answer):
    """The model, its card and the service's limits."""

    version: Version = VERSION
    mien: str = Field(description="Version of mien.")
    model: ModelDetail
    card: dict[str, Any] = Field(description="All that the model's file says of itself.")
    limits: Limits


class Health(_Answer):
    """Whether the service takes work."""

    status: Literal["ok", "stopping"]


class StreamSettings(BaseModel):
    """The text that a client of a stream sends first, and whenever it wants something else."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["settings"]
    prior: NamedPrior = "training"
    view: str = Field(default="all", max_length=100)
    threshold: float | None = Field(default=None, ge=0, le=1)


class StreamReady(_Answer):
    """The answer to it."""

    type: Literal["ready"] = "ready"
    version: Version = VERSION
    in_flight: int = Field(description="Frames that may be unanswered.")
    labels: list[str] = Field(description="Of the view.")


class Milliseconds(_Answer):
    """Where the time of a frame went."""

    waited: float = Field(description="From its coming to its turn.")
    read: float = Field(description="From its turn to its answer.")


class StreamFrame(_Answer):
    """What was read in one frame."""

    type: Literal["frame"] = "frame"
    seq: int = Field(description="The frame's place among the connection's, from 0.")
    width: int
    height: int
    faces: list[FaceAnswer]
    milliseconds: Milliseconds


class StreamDropped(_Answer):
    """A frame that was not read, since newer ones had come."""

    type: Literal["dropped"] = "dropped"
    seq: int


class StreamError(_Answer):
    """A frame that could not be read; the stream goes on."""

    type: Literal["error"] = "error"
    seq: int
    error: ErrorDetail
