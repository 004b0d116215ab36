"""A trained model in use: an ONNX file that carries its card, on onnxruntime and numpy (section 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError, UnreadableImage
from mien.faces.align import crop_face
from mien.faces.boxes import Boxes, faces_in_boxes
from mien.faces.detector import MIN_FACE, Detections, Detector
from mien.faces.named import DETECTORS, DetectorName, detector_named
from mien.images import ImageSource, load_image
from mien.preprocess import to_input
from mien.runtime.face import Face, face_of, faces_of
from mien.runtime.model_file import (
    INPUT_NAME,
    MAX_BYTES,
    OUTPUT_NAME,
    bundled_path,
    card_of,
    check_network,
    model_file,
    open_session,
)
from mien.runtime.probabilities import Prior, probabilities
from mien.runtime.reading import Reading

_BATCH = 64


class Classifier:
    """Cropped faces in, logits or probabilities out.

    Args:
        path: an ONNX file written by `mien export`.
        threads: processor threads of onnxruntime.
        max_bytes: a larger file is refused.
        sha256: what the file's SHA-256 must be, in hexadecimal; none asks for nothing.

    Raises:
        InputError: no such file, too large, another SHA-256, not an ONNX file, without a card or with one
            this mien cannot read, or a network whose input or output is not what its card says.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        max_bytes: int = MAX_BYTES,
        sha256: str | None = None,
    ) -> None:
        self.path = Path(path)
        if threads < 1:
            raise InputError(f"threads must be 1 or more, not {threads}.")
        self._session = open_session(self.path, threads, max_bytes, sha256=sha256)
        self.card = card_of(self._session, self.path)
        check_network(self._session, self.card, self.path)

    def logits(self, faces: NDArray[np.uint8], *, batch: int = _BATCH) -> NDArray[np.float32]:
        """The network's raw answer, before temperature.

        Args:
            faces: uint8 [N,H,W,C], C = 1 (grey) or 3 (RGB), cropped; resized to the card's size where it
                differs.
            batch: faces that go through the network at once.

        Returns:
            float32 [N,K] in the order of the card's labels.

        Raises:
            InputError: `faces` has another dtype or shape, or `batch` is below 1.
        """
        if batch < 1:
            raise InputError(f"batch must be 1 or more, not {batch}.")
        parts = [
            self.run(self.inputs(faces[start : start + batch]))
            for start in range(0, max(1, len(faces)), batch)
        ]
        return np.concatenate(parts)

    def inputs(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Cropped faces as the network takes them, float32 [N,C,S,S] of the card's size and channels; the
        argument and what is raised are those of `logits`."""
        card = self.card
        return to_input(faces, size=card.size, channels=card.channels, mean=card.mean, std=card.std)

    def run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """One run of the network, safe to call from several threads: what `inputs` gave, to float32
        [N,K]."""
        if not len(inputs):
            return np.zeros((0, len(self.card.labels)), dtype=np.float32)
        logits: NDArray[np.float32] = self._session.run([OUTPUT_NAME], {INPUT_NAME: inputs})[0]
        return logits

    def classify(
        self,
        crops: NDArray[np.uint8],
        *,
        prior: Prior = "training",
        view: str | Sequence[str] = "all",
        batch: int = _BATCH,
    ) -> NDArray[np.float32]:
        """Calibrated probabilities of cropped faces.

        Args:
            crops: uint8 [N,H,W,C], C = 1 (grey) or 3 (RGB).
            prior: how often each class is expected; see `probabilities`.
            view: the classes that are allowed, such as ``"7"``.
            batch: faces that go through the network at once.

        Returns:
            float32 [N,K] in the order of the card's labels; masked classes are 0, every row sums to 1.

        Raises:
            InputError: the faces, the prior or the view cannot be used.
        """
        return probabilities(self.logits(crops, batch=batch), self.card, prior=prior, view=view)


class Model(Classifier):
    """Whole pictures in, faces with their emotions out.

    Args:
        path: an ONNX file written by `mien export`.
        detector: ``"mtcnn"``, ``"centerface"`` (once `mien detector get centerface` has fetched it), any
            `Detector`, or ``"none"`` or None for pictures that are crops already. A named one is made on
            first use.
        min_face: side of the smallest face that a named detector looks for, in pixels.
        threads: processor threads of onnxruntime.
        sha256: see `Classifier`.

    Raises:
        InputError: as `Classifier`, or an unknown detector.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        detector: Detector | DetectorName | None = "mtcnn",
        min_face: float = MIN_FACE,
        threads: int = 1,
        sha256: str | None = None,
    ) -> None:
        if isinstance(detector, str) and detector not in DETECTORS:
            raise InputError(
                f"detector must be one of {', '.join(DETECTORS)} or a Detector, not {detector!r}."
            )
        super().__init__(path, threads=threads, sha256=sha256)
        self._detector = detector
        self.min_face = min_face
        """Side of the smallest face that a named detector looks for, in pixels."""
        self.threads = threads
        """Processor threads of onnxruntime."""
        self.detector_name = detector if isinstance(detector, str) else "none" if detector is None else None
        """What the detector was named by; None for a user's own object."""

    @property
    def detector(self) -> Detector | None:
        """The face detector, made on first use; None where pictures are crops already."""
        if self._detector is None or self._detector == "none":
            return None
        if isinstance(self._detector, str):
            self._detector = detector_named(self._detector, threads=self.threads, min_face=self.min_face)
        return self._detector

    def read(
        self,
        picture: ImageSource,
        *,
        boxes: Boxes | None = None,
        prior: Prior = "training",
        view: str | Sequence[str] = "all",
    ) -> Reading:
        """The faces of a picture, the surest detection first; none where no face is found.

        Args:
            picture: a path, the bytes of an image file, a PIL image, or uint8 RGB [H,W,3] or grey [H,W].
            boxes: where its faces are, [N,4], x0, y0, x1, y1 in pixels of the upright picture; the answers
                keep their order. None detects.
            prior: how often each class is expected: ``"training"``, ``"moderate"``, ``"uniform"``, or a share
                for each class.
            view: ``"all"``, ``"7"``, a view of the card, or the names to keep.

        Raises:
            UnreadableImage: the picture cannot be decoded, or is too large.
            InputError: the boxes, the prior or the view cannot be used.
        """
        rgb = load_image(picture)
        detector = self.detector
        if boxes is not None:
            found = faces_in_boxes(rgb, boxes, detector)
            return Reading(self.describe(rgb, found, prior=prior, view=view), rgb)
        if detector is None:
            row = self.classify(rgb[None], prior=prior, view=view)[0]
            whole = (0, 0, rgb.shape[1], rgb.shape[0])
            return Reading([face_of(self.card, row, view, box=whole)], rgb)
        return Reading(self.describe(rgb, detector.detect(rgb), prior=prior, view=view), rgb)

    def read_many(
        self,
        pictures: Iterable[ImageSource],
        *,
        prior: Prior = "training",
        view: str | Sequence[str] = "all",
        batch: int = _BATCH,
    ) -> Iterator[Reading]:
        """What `read` gives of each picture, in their order, with faces of several pictures classified at
        once.

        Args:
            pictures: what `read` takes; they are taken as they are needed, and at most `batch` are held.
            prior: as in `read`.
            view: as in `read`.
            batch: faces that go through the network at once.

        Raises:
            UnreadableImage: a picture cannot be decoded; what came before it has been given.
            InputError: the prior, the view or the batch cannot be used.
        """
        if batch < 1:
            raise InputError(f"batch must be 1 or more, not {batch}.")
        detector = self.detector
        if detector is None:
            yield from (self.read(picture, prior=prior, view=view) for picture in pictures)
            return
        waiting: list[tuple[NDArray[np.uint8], Detections]] = []
        faces = 0
        unread: UnreadableImage | None = None
        for picture in pictures:
            try:
                rgb = load_image(picture)
            except UnreadableImage as error:
                unread = error
                break
            found = detector.detect(rgb)
            waiting.append((rgb, found))
            faces += len(found)
            if faces >= batch or len(waiting) >= batch:
                yield from self._read_together(waiting, prior, view, batch)
                waiting, faces = [], 0
        yield from self._read_together(waiting, prior, view, batch)
        if unread is not None:
            raise unread

    def _read_together(
        self,
        waiting: Sequence[tuple[NDArray[np.uint8], Detections]],
        prior: Prior,
        view: str | Sequence[str],
        batch: int,
    ) -> Iterator[Reading]:
        crops = [self.crops(rgb, found) for rgb, found in waiting]
        if not crops:
            return
        shares = self.classify(np.concatenate(crops), prior=prior, view=view, batch=batch)
        start = 0
        for (rgb, found), part in zip(waiting, crops, strict=True):
            rows = shares[start : start + len(part)]
            start += len(part)
            yield Reading(faces_of(self.card, found, rows, view), rgb)

    def describe(
        self,
        rgb: NDArray[np.uint8],
        found: Detections,
        *,
        prior: Prior = "training",
        view: str | Sequence[str] = "all",
    ) -> list[Face]:
        """The emotions of faces that were found already, in the order of `found`.

        Args:
            rgb: uint8 RGB [H,W,3].
            found: where its faces are.
            prior: as in `read`.
            view: as in `read`.

        Raises:
            InputError: the prior or the view cannot be used.
        """
        shares = self.classify(self.crops(rgb, found), prior=prior, view=view)
        return faces_of(self.card, found, shares, view)

    def crops(self, rgb: NDArray[np.uint8], found: Detections) -> NDArray[np.uint8]:
        """The faces of uint8 RGB [H,W,3], cut out as `describe` does, uint8 [n,S,S,3]."""
        card = self.card
        crops = np.zeros((len(found), card.size, card.size, 3), dtype=np.uint8)
        for i, crop in enumerate(crops):
            crop[...], _ = crop_face(
                rgb, landmarks=found.landmarks[i], box=found.boxes[i], template=card.template, size=card.size
            )
        return crops


def load(
    path: str | Path | None = None,
    *,
    detector: Detector | DetectorName | None = "mtcnn",
    min_face: float = MIN_FACE,
    threads: int = 1,
    sha256: str | None = None,
) -> Model:
    """Open a trained model.

    Args:
        path: an ONNX file written by `mien export`, or a run's folder that holds ``model.onnx``; none takes
            the model that comes with mien.
        detector: ``"mtcnn"``, ``"centerface"``, any `Detector`, or ``"none"`` or None for pictures that are
            crops already.
        min_face: side of the smallest face that a named detector looks for, in pixels.
        threads: processor threads of onnxruntime.
        sha256: what the file's SHA-256 must be, in hexadecimal; none asks for nothing.

    Raises:
        InputError: there is no such model, or it cannot be used; the message says why.
    """
    return Model(
        bundled_path() if path is None else model_file(Path(path)),
        detector=detector,
        min_face=min_face,
        threads=threads,
        sha256=sha256,
    )
