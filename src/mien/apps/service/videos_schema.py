"""The lines of the answer about a video, version 1. Fields may be added to it; none changes or goes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mien.apps.service.schema import VERSION, ErrorDetail, FaceAnswer, ModelName, Version


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True)


class VideoStart(_Line):
    """The first line: what the file says about itself."""

    type: Literal["start"] = "start"
    version: Version = VERSION
    model: ModelName
    width: int = Field(description="Of the upright pictures, in pixels; boxes are in these.")
    height: int
    fps: float | None = Field(description="Frames a second, on average, where the file says so.")
    seconds: float | None = Field(description="How long it lasts, where the file says so.")
    frames: int | None = Field(description="About how many it has, where the file says so.")


class VideoFrame(_Line):
    """What was read in one frame that was looked at."""

    type: Literal["frame"] = "frame"
    index: int = Field(description="Place among all frames of the file, from 0.")
    time: float = Field(description="Seconds since the first frame.")
    faces: list[FaceAnswer] = Field(
        description="By the number of their tracks. `landmarks` is null, and so is `detection_score` where "
        "a face was followed and not searched for."
    )


class VideoProgress(_Line):
    """How far the work is; at least once a second while the client takes what it is sent."""

    type: Literal["progress"] = "progress"
    done: float = Field(description="0..1; it never falls.")
    time: float = Field(description="Seconds since the first frame, of the last frame that was decoded.")


class ShareAnswer(_Line):
    """A share of frames and its 95 % block-bootstrap interval over time."""

    value: float = Field(description="0..1.")
    low: float | None = Field(description="Null in a video too short to tell.")
    high: float | None


class TrackAnswer(_Line):
    """One face over the whole video."""

    track: int
    first: float = Field(description="Seconds at which it was first seen.")
    last: float
    frames: int = Field(description="In which it was seen.")
    shares: dict[str, ShareAnswer] = Field(description="Of these frames, by their most likely emotion.")


class VideoSummaryAnswer(_Line):
    """What the video came to; each frame is taken as its line has it, not smoothed."""

    without_face: ShareAnswer
    tracks: list[TrackAnswer] = Field(
        description="Those seen longest first. A face that leaves and comes back counts as another track."
    )
    damaged: int = Field(description="Packets of the file that could not be decoded and were left out.")


class VideoEnd(_Line):
    """The last line."""

    type: Literal["end"] = "end"
    frames: int = Field(description="That were looked at.")
    tracks: int
    seconds: float = Field(description="From the first frame to the last that was looked at.")
    summary: VideoSummaryAnswer


class VideoError(_Line):
    """The last line in place of the end, where the work failed under way."""

    type: Literal["error"] = "error"
    error: ErrorDetail


VideoLine = Annotated[
    VideoStart | VideoFrame | VideoProgress | VideoEnd | VideoError, Field(discriminator="type")
]
"""One line."""
