"""`POST /v1/predict` answers as `Model.read` does, and refuses what is no picture, too large or too late."""

from __future__ import annotations

import io
import struct
import threading
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.apps.service.servers import astronaut, check_error, encoded, serving

from mien.config import ServeConfig

URL = "/v1/predict"


def check_faces(answered, faces):
    assert len(answered) == len(faces)
    for got, face in zip(answered, faces, strict=True):
        np.testing.assert_allclose(got["box"], face.box, atol=0.006)
        np.testing.assert_allclose(got["landmarks"], face.landmarks, atol=0.006)
        assert got["detection_score"] == pytest.approx(face.detection_score, abs=1e-6)
        assert got["emotion"] == face.emotion
        assert got["confidence"] == pytest.approx(face.confidence, abs=2e-6)
        assert got["abstained"] is face.abstained
        assert list(got["probabilities"]) == list(face.probabilities)
        np.testing.assert_allclose(
            list(got["probabilities"].values()), list(face.probabilities.values()), atol=2e-6
        )


@pytest.mark.parametrize(
    "options", [{}, {"prior": "uniform"}, {"view": "7"}, {"prior": "uniform", "view": "7"}]
)
def test_one_picture_is_read_as_the_model_reads_it(shared_server, bundled, face_jpeg, options):
    answer = shared_server.post(URL, content=face_jpeg, params=options)
    assert answer.status_code == 200
    body = answer.json()
    assert body["version"] == "v1"
    assert body["model"]["name"] == bundled.card.name
    (picture,) = body["pictures"]
    wanted = bundled.read(face_jpeg, **options)
    assert (picture["width"], picture["height"], picture["index"]) == (512, 512, 0)
    assert picture["faces_found"] == len(wanted) > 0
    assert picture["error"] is None
    check_faces(picture["faces"], wanted)


def test_several_pictures_keep_their_order_and_one_that_is_none_has_its_error(
    shared_server, bundled, face_jpeg
):
    mirrored = encoded(astronaut()[:, ::-1], "PNG")
    files = [("files", one) for one in (face_jpeg, b"no picture", mirrored, b"")]
    pictures = shared_server.post(URL, files=files).json()["pictures"]
    assert [one["index"] for one in pictures] == [0, 1, 2, 3]
    check_faces(pictures[0]["faces"], bundled.read(face_jpeg))
    check_faces(pictures[2]["faces"], bundled.read(mirrored))
    assert pictures[1]["error"]["code"] == "unsupported_media_type"
    assert pictures[3]["error"]["code"] == "invalid"
    assert pictures[1]["width"] is None
    assert pictures[1]["faces"] == []


def test_if_no_picture_can_be_read_the_answer_is_the_first_ones_error(shared_server):
    files = [("files", b"no picture"), ("files", b"")]
    check_error(shared_server.post(URL, files=files), 415, "unsupported_media_type")


def test_a_turned_picture_is_answered_about_as_it_is_seen(shared_server, bundled):
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(astronaut()[:400]).transpose(Image.Transpose.ROTATE_90)
    turned = encoded(wide, exif=exif, quality=95)
    (picture,) = shared_server.post(URL, content=turned).json()["pictures"]
    assert (picture["width"], picture["height"]) == (512, 400)
    assert picture["faces"]
    check_faces(picture["faces"], bundled.read(turned))


def test_a_cropped_face_is_the_whole_picture(shared_server, bundled):
    crop = astronaut()[50:170, 170:280]
    (picture,) = shared_server.post(URL, content=encoded(crop, "PNG"), params={"faces": "cropped"}).json()[
        "pictures"
    ]
    (face,) = picture["faces"]
    assert face["box"] == [0, 0, 110, 120]
    assert face["landmarks"] is None
    assert face["detection_score"] is None
    np.testing.assert_allclose(
        list(face["probabilities"].values()), bundled.classify(crop[None])[0], atol=2e-6
    )


@pytest.mark.parametrize(("threshold", "abstained"), [(0, False), (1, True)])
def test_the_threshold_decides_what_is_abstained_on(shared_server, face_jpeg, threshold, abstained):
    answer = shared_server.post(URL, content=face_jpeg, params={"threshold": threshold})
    assert answer.json()["pictures"][0]["faces"][0]["abstained"] is abstained


def test_a_picture_without_a_face_has_none(shared_server):
    grey = encoded(np.full((80, 90, 3), 127, np.uint8), "PNG")
    (picture,) = shared_server.post(URL, content=grey).json()["pictures"]
    assert (picture["faces_found"], picture["faces"], picture["error"]) == (0, [], None)


@pytest.mark.parametrize(
    "params",
    [
        {"prior": "even"},
        {"view": "9"},
        {"view": "x" * 101},
        {"threshold": "1.1"},
        {"threshold": "nan"},
        {"threshold": "much"},
        {"faces": "some"},
    ],
    ids=str,
)
def test_a_parameter_that_does_not_fit_is_named(shared_server, face_jpeg, params):
    message = check_error(shared_server.post(URL, content=face_jpeg, params=params), 422, "invalid")
    assert next(iter(params)) in message


def bomb_png() -> bytes:
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def bomb_gif() -> bytes:
    made = bytearray(encoded(Image.new("P", (4, 4)), "GIF"))
    made[6:10] = struct.pack("<HH", 50_000, 50_000)
    return bytes(made)


def bomb_tiff() -> bytes:
    entries = [(256, 4, 50_000), (257, 4, 50_000), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 4, 50_000), (279, 4, 100)]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + directory + bytes(104)


def bomb_webp() -> bytes:
    made = bytearray(encoded(Image.new("RGBA", (4, 4)), "WEBP", lossless=True, exif=b"Exif\0\0MM\0*"))
    place = made.index(b"VP8X") + 12
    made[place : place + 6] = (16_383).to_bytes(3, "little") * 2
    return bytes(made)


@pytest.mark.parametrize("bomb", [bomb_png, bomb_gif, bomb_tiff], ids=lambda one: one.__name__)
@pytest.mark.parametrize("faces", ["detect", "cropped"])
def test_a_small_file_that_claims_many_pixels_is_refused_before_it_is_decoded(shared_server, bomb, faces):
    content = bomb()
    assert len(content) < 5000
    began = time.perf_counter()
    answer = shared_server.post(URL, content=content, params={"faces": faces})
    check_error(answer, 413, "too_large")
    assert time.perf_counter() - began < 2


def test_a_webp_that_claims_many_pixels_is_refused(shared_server):
    answer = shared_server.post(URL, content=bomb_webp())
    assert answer.status_code in (413, 422)
    assert answer.json()["error"]["code"] in ("too_large", "invalid")


def test_the_limit_of_pixels_is_the_configs(bundled, face_jpeg):
    with serving(bundled, ServeConfig(workers=1, pixels=512 * 512 - 1)) as client:
        check_error(client.post(URL, content=face_jpeg), 413, "too_large")
        small = encoded(astronaut()[:511], quality=90)
        assert client.post(URL, content=small).status_code == 200


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "a")
    return buffer.getvalue()


NO_PICTURES = {
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
    "zip": zipped(),
    "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(100),
    "icon": b"\0\0\x01\0\x01\0\x10\x10" + bytes(100),
    "text": b"a",
}


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES.keys())
def test_what_is_no_picture_is_refused_whatever_it_is_called(shared_server, content):
    answer = shared_server.post(URL, content=content, headers={"Content-Type": "image/png"})
    check_error(answer, 415, "unsupported_media_type")
    answer = shared_server.post(URL, files=[("files", ("face.jpg", content, "image/jpeg"))])
    check_error(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_picture_that_is_cut_off_is_refused(shared_server, kind, share):
    whole = encoded(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8), kind)
    answer = shared_server.post(URL, content=whole[: int(len(whole) * share)])
    check_error(answer, 422, "invalid")


def test_of_many_faces_the_surest_are_read_and_all_are_counted(bundled):
    face = Image.fromarray(astronaut()[20:220, 130:310]).resize((60, 66))
    sheet = Image.new("RGB", (35 * 60, 30 * 66))
    for row in range(30):
        for column in range(35):
            sheet.paste(face, (column * 60, row * 66))
    content = encoded(sheet, quality=85)
    found = bundled.detector.detect(np.asarray(Image.open(io.BytesIO(content))))
    assert len(found) > 1000
    with serving(bundled, ServeConfig(workers=1, faces=20, deadline=60)) as client:
        (picture,) = client.post(URL, content=content, timeout=60).json()["pictures"]
        assert picture["faces_found"] == len(found)
        assert [one["detection_score"] for one in picture["faces"]] == pytest.approx(
            sorted(map(float, found.scores), reverse=True)[:20], abs=1e-5
        )


class _Held:
    """Looks for faces once it is let."""

    def __init__(self, detector):
        self._detector, self.began, self.go = detector, threading.Semaphore(0), threading.Event()

    def detect(self, rgb):
        self.began.release()
        assert self.go.wait(20)
        return self._detector.detect(rgb)


def held(model):
    from mien.runtime.classifier import load

    return load(detector=_Held(model.detector))


def post_in_thread(client, answers, content):
    thread = threading.Thread(target=lambda: answers.append(client.post(URL, content=content)))
    thread.start()
    return thread


def test_with_a_full_queue_more_is_refused_and_later_taken_again(bundled, face_jpeg):
    model, answers = held(bundled), []
    with serving(model, ServeConfig(workers=1, queue=2, deadline=20)) as client:
        threads = [post_in_thread(client, answers, face_jpeg) for _ in range(2)]
        try:
            assert model.detector.began.acquire(timeout=10)
            while client.service.engine._admitted < 2:
                time.sleep(0.01)
            check_error(client.post(URL, content=face_jpeg), 429, "busy")
            # Refused by the number of its pictures too, after the upload.
            check_error(client.post(URL, files=[("files", face_jpeg)] * 3), 429, "busy")
        finally:
            model.detector.go.set()
            for thread in threads:
                thread.join()
        assert [one.status_code for one in answers] == [200, 200]
        check_error(client.post(URL, files=[("files", face_jpeg)] * 3), 429, "busy")
        assert client.post(URL, content=face_jpeg).status_code == 200
        client.idle()


def test_after_the_deadline_the_answer_is_late(bundled, face_jpeg):
    model = held(bundled)
    with serving(model, ServeConfig(workers=1, deadline=0.2)) as client:
        began = time.perf_counter()
        check_error(client.post(URL, content=face_jpeg), 503, "late")
        assert time.perf_counter() - began < 5
        model.detector.go.set()
        client.idle()


def test_while_it_stops_new_work_is_refused(bundled, face_jpeg):
    with serving(bundled) as client:
        client.service.engine.stopping = True
        check_error(client.post(URL, content=face_jpeg), 503, "stopping")
        health = client.get("/healthz")
        assert (health.status_code, health.json()) == (503, {"status": "stopping"})


def test_without_a_detector_pictures_are_asked_for_cropped(bundled, face_jpeg):
    with serving(bundled) as client:
        client.service.model = replace_detector(bundled)
        assert "cropped" in check_error(client.post(URL, content=face_jpeg), 422, "invalid")
        assert client.post(URL, content=face_jpeg, params={"faces": "cropped"}).status_code == 200


def replace_detector(model):
    class Blind:
        card, path, detector = model.card, model.path, None

    return Blind()
