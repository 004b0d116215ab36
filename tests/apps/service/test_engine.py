"""The engine answers as the model does, holds its limits, and gives back what it took."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from skimage import data
from tests.apps.service.servers import run

from mien.apps.service.engine import Engine, ReadOptions
from mien.apps.service.errors import Refused
from mien.apps.service.metrics import Metrics
from mien.config import ServeConfig
from mien.errors import InputError, UnreadableImage
from mien.runtime.classifier import Model, load


@pytest.fixture(scope="module")
def model() -> Model:
    return load()


@pytest.fixture
def engine(model: Model) -> Iterator[Engine]:
    made = Engine(model, ServeConfig(workers=2, queue=4, deadline=5), Metrics())
    yield made
    made.close()


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def test_concurrent_pictures_are_read_as_the_model_reads_each(engine, model, jpeg):
    turned = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(turned, "PNG")
    pictures = [jpeg, turned.getvalue()] * 4
    reading = ReadOptions(model.card, prior="uniform", view="7")

    async def ask():
        return await asyncio.gather(
            *(engine.read(one, reading, find=model.detector.detect) for one in pictures)
        )

    for picture, got in zip(pictures, run(ask()), strict=True):
        wanted = model.read(picture, prior="uniform", view="7")
        assert (got.width, got.height, got.faces_found) == (512, 512, len(wanted))
        for face, other in zip(got.faces, wanted, strict=True):
            assert face.box == other.box
            assert face.landmarks == other.landmarks
            assert list(face.probabilities) == list(other.probabilities)
            np.testing.assert_allclose(
                list(face.probabilities.values()), list(other.probabilities.values()), atol=1e-6
            )


def test_a_cropped_face_of_any_size_is_the_whole_picture(engine, model, jpeg):
    face = Image.open(io.BytesIO(jpeg)).crop((170, 50, 280, 170))
    buffer = io.BytesIO()
    face.save(buffer, "PNG")
    got = run(engine.read(buffer.getvalue(), ReadOptions(model.card)))
    wanted = model.classify(np.asarray(face)[None])[0]
    assert got.faces[0].box == (0, 0, 110, 120)
    assert got.faces[0].landmarks is None
    assert got.faces[0].detection_score is None
    np.testing.assert_allclose(list(got.faces[0].probabilities.values()), wanted, atol=1e-6)


def test_a_threshold_of_its_own_decides_what_is_abstained_on(engine, model, jpeg):
    def abstained(threshold: float | None) -> bool:
        reading = ReadOptions(model.card, threshold=threshold)
        return run(engine.read(jpeg, reading, find=model.detector.detect)).faces[0].abstained

    assert (abstained(0.0), abstained(1.0)) == (False, True)
    read = model.read(jpeg)[0]
    assert abstained(None) == (read.confidence < model.card.abstain_threshold)


def test_of_too_many_faces_the_surest_are_read_and_all_are_counted(model):
    engine = Engine(model, ServeConfig(workers=1, faces=3), Metrics())
    face = data.astronaut()[0:230, 130:320]
    picture = np.tile(face, (2, 3, 1))
    found = model.detector.detect(picture)
    assert len(found) > 3
    got = run(engine.read(picture, ReadOptions(model.card), find=model.detector.detect))
    assert got.faces_found == len(found)
    assert [one.detection_score for one in got.faces] == pytest.approx(found.scores[:3])
    engine.close()


def test_what_does_not_fit_is_refused_before_any_picture(model):
    with pytest.raises(InputError, match="view"):
        ReadOptions(model.card, view="nine")
    with pytest.raises(InputError, match="prior"):
        ReadOptions(model.card, prior="odd")


def test_a_picture_with_too_many_pixels_and_a_broken_one_are_refused(engine, model, jpeg):
    with pytest.raises(UnreadableImage, match="pixels"):
        run(engine.read(jpeg, ReadOptions(model.card), max_pixels=1000))
    with pytest.raises(UnreadableImage):
        run(engine.read(jpeg[:3000], ReadOptions(model.card)))


def test_a_full_queue_refuses_and_has_room_again(engine):
    with engine.admitted(3):
        engine.check_room(1)
        with pytest.raises(Refused, match="4 that there is room for") as refused, engine.admitted(2):
            pass
        assert (refused.value.code, refused.value.retry_after) == ("busy", 1)
    with engine.admitted(4):
        pass


def test_an_engine_that_stops_takes_nothing_more(engine):
    engine.stopping = True
    with pytest.raises(Refused) as refused, engine.admitted():
        pass
    assert refused.value.code == "stopping"


def test_what_is_not_read_in_time_is_refused_and_costs_the_others_nothing(model, jpeg):
    engine = Engine(model, ServeConfig(workers=1, deadline=1.5), Metrics())
    go, calls = threading.Event(), []

    def slow(rgb):
        calls.append(1)
        go.wait(10)
        return model.detector.detect(rgb)

    async def ask():
        first = asyncio.create_task(engine.read(jpeg, ReadOptions(model.card), find=slow))
        second = asyncio.create_task(engine.read(jpeg, ReadOptions(model.card), find=slow))
        results = await asyncio.gather(first, second, return_exceptions=True)
        go.set()
        return results, await engine.read(jpeg, ReadOptions(model.card), find=model.detector.detect)

    late, read = run(ask())
    assert [error.code for error in late] == ["late", "late"]
    assert late[0].retry_after >= 1
    assert len(read.faces) == 1
    # The second was given up while it waited for the one thread, and never began.
    assert len(calls) == 1
    engine.close()


def test_closing_ends_the_threads(model, jpeg):
    before = threading.active_count()
    engine = Engine(model, ServeConfig(workers=2), Metrics())
    run(engine.read(jpeg, ReadOptions(model.card), find=model.detector.detect))
    assert threading.active_count() > before
    engine.close()
    assert threading.active_count() == before
