"""What all routes of one service share."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import WebSocket
from fastapi.requests import HTTPConnection
from numpy.typing import NDArray

from mien.apps.service.engine import Engine, ReadOptions
from mien.apps.service.errors import Refused, refusal_of
from mien.apps.service.metrics import Metrics
from mien.apps.service.schema import ModelName
from mien.apps.service.uploads import UploadRoom
from mien.config import ServeConfig
from mien.errors import InputError
from mien.faces.detector import Detections
from mien.files import sha256_of
from mien.runtime.classifier import Model


class Service:
    """One model and what it is offered with.

    Args:
        model: reads the faces.
        config: how much is taken.
    """

    def __init__(self, model: Model, config: ServeConfig) -> None:
        self.model, self.config = model, config
        self.metrics = Metrics()
        self.room = UploadRoom(config.upload_bytes)
        self.model_name = ModelName(name=model.card.name, sha256=sha256_of(model.path))
        self.engine = Engine(model, config, self.metrics)
        self.streams: set[WebSocket] = set()
        """Those that are open."""
        self.videos = 0
        """Videos that are being read."""

    def find(self, rgb: NDArray[np.uint8]) -> Detections:
        """The faces of a picture.

        Raises:
            Refused: the model was opened for cropped faces alone.
        """
        detector = self.model.detector
        if detector is None:
            raise Refused("invalid", "this service has no face detector; ask with faces=cropped.")
        return detector.detect(rgb)

    def read_options(self, **asked: Any) -> ReadOptions:
        """How faces are to be read, of `prior`, `view` and `threshold`.

        Raises:
            Refused: they do not fit the model.
        """
        try:
            return ReadOptions(self.model.card, **asked)
        except InputError as error:
            raise refusal_of(error) from None


async def service_of(connection: HTTPConnection) -> Service:
    """The service that a request or a stream came to."""
    service: Service = connection.app.state.service
    return service
