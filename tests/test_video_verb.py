"""`mien video` from its options to its table."""

import numpy as np
import polars as pl
import pytest
from tests.runtime.conftest import make_card, write_model
from tests.runtime.film import film

from mien.cli.video import video, video_parser
from mien.errors import InputError


@pytest.fixture
def options(tmp_path):
    path = film(tmp_path / "grey.mp4", 20, paint=lambda _: np.full((96, 160, 3), 90, np.uint8), sound="aac")
    model = write_model(tmp_path / "model.onnx", make_card())
    given = [str(path), "--out", str(tmp_path / "out"), "--model", str(model)]
    return lambda *more: video_parser().parse_args([*given, *more])


def test_a_video_without_faces(options, tmp_path, capsys):
    video(options("--every", "2", "--csv", "--annotate", "webm", "--window", "0.4"))
    told = " ".join(capsys.readouterr().out.split())
    assert "10 frames of 0.6 s, 100.0% without a face" in told
    assert "not joined into people" in told
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"annotated.webm", "summary.json", "timeline.csv", "timeline.parquet", "timeline.png"}
    assert pl.read_parquet(tmp_path / "out/timeline.parquet")["frame"].to_list() == list(range(0, 20, 2))


def test_an_embedder_must_be_there(options, tmp_path):
    with pytest.raises(InputError, match=r"no\.onnx"):
        video(options("--embedder", str(tmp_path / "no.onnx")))
