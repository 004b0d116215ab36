"""Detectors by name."""

import numpy as np
import pytest

from mien.errors import InputError
from mien.faces import centerface
from mien.faces.mtcnn import MTCNNDetector
from mien.faces.named import DETECTORS, detector_named


def test_names_give_detectors(monkeypatch):
    monkeypatch.setattr(centerface, "asset_path", lambda name: name)
    monkeypatch.setattr(centerface, "open_network", lambda path, threads: (path, threads))
    found = {name: detector_named(name, threads=2, min_face=40) for name in DETECTORS}
    assert found["none"] is None
    assert isinstance(found["mtcnn"], MTCNNDetector)
    assert isinstance(found["centerface"], centerface.CenterFaceDetector)
    assert found["mtcnn"].min_face == found["centerface"].min_face == 40
    assert found["centerface"]._network == ("centerface", 2)
    assert len(found["mtcnn"].detect(np.zeros((50, 50, 3), np.uint8))) == 0


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="there are mtcnn, centerface, none"):
        detector_named("yolo")
