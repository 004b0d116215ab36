"""What the tests of the page share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def filmed(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser whose camera shows the astronaut."""
    from tests.apps.page_checks import another, camera_arguments, write_camera

    camera = write_camera(tmp_path_factory.mktemp("camera") / "face.y4m")
    launched = another(browser, *camera_arguments(camera))
    yield launched
    launched.close()
