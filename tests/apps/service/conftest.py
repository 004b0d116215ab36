"""One server on the bundled model that the quick tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.apps.service.servers import Client, astronaut, encoded, serving

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
