"""Servers on the bundled model that the quick tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.apps.service.servers import Client, astronaut, encoded, serving
from tests.apps.service.upload_requests import SMALL

from mien.apps.service import run
from mien.runtime.classifier import Model, load


@pytest.fixture(scope="session")
def bundled() -> Model:
    return load()


@pytest.fixture(scope="session")
def shared_server(bundled) -> Iterator[Client]:
    with serving(bundled) as client:
        yield client


@pytest.fixture(scope="session")
def face_jpeg() -> bytes:
    return encoded(astronaut(), quality=90)


@pytest.fixture(scope="module")
def small_server(bundled) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_REST_SECONDS", 1)
        with serving(bundled, SMALL) as client:
            yield client


@pytest.fixture
def small(small_server: Client) -> Iterator[Client]:
    """A server that takes little; after each test it must have nothing left to do, and go on."""
    yield small_server
    small_server.idle()
    assert small_server.get("/healthz").status_code == 200


@pytest.fixture(scope="module")
def tiny_png() -> bytes:
    return encoded(np.full((8, 8, 3), 127, np.uint8), "PNG")
