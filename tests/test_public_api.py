"""The names a user may rely on, and that asking for the package costs next to nothing."""

import subprocess
import sys

import pytest

import mien

EXPORTED = [
    "EMOTIONS",
    "CropTemplate",
    "Detections",
    "Detector",
    "Face",
    "InputError",
    "MTCNNDetector",
    "MienError",
    "MissingExtra",
    "Model",
    "ModelCard",
    "PredictedFile",
    "UnreadableImage",
    "UnreadableVideo",
    "VideoSettings",
    "__version__",
    "load",
    "load_image",
    "predict_paths",
    "read_video",
    "watch",
]


def test_exported_names():
    assert mien.__all__ == EXPORTED
    for name in EXPORTED:
        assert getattr(mien, name) is not None
    assert set(EXPORTED) <= set(dir(mien))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        mien.lode  # noqa: B018


def test_star_import_works():
    names: dict[str, object] = {}
    exec("from mien import *", names)
    assert names["load"] is mien.load


def fresh(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_mien_imports_nothing_else():
    code = "import sys, mien; print([name for name in sys.modules if name.startswith('mien')])"
    assert fresh(code).strip() == "['mien']"
    heavy = "{'numpy', 'PIL', 'onnxruntime', 'torch', 'rich', 'jsonargparse'}"
    assert fresh(f"import sys, mien; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"


def test_the_card_needs_no_numpy():
    assert fresh("import sys, mien; mien.ModelCard; print('numpy' in sys.modules)").strip() == "False"


def test_loading_a_model_needs_no_torch():
    code = (
        "import sys, mien; mien.load, mien.predict_paths, mien.MTCNNDetector; "
        "print(sorted({'torch', 'timm', 'polars', 'matplotlib', 'sklearn', 'cv2'} & set(sys.modules)))"
    )
    assert fresh(code).strip() == "[]"


def test_import_is_quick():
    # The best of several, so that a busy machine does not fail it.
    code = "import time; start = time.perf_counter(); import mien; print(time.perf_counter() - start)"
    assert min(float(fresh(code)) for _ in range(3)) < 0.2
