"""`mien evaluate --also`: the analyses of a model that cost more than its figures, each into a small file.

What is there already, of the same data and the same weights, is not done again. A function has no weights by
which a change of it could be seen, so its analyses always are. Sizes are those at which two cores need
minutes; what each analysis means is said in the module that computes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.card import CropTemplate
from mien.data.prepared import load_prepared
from mien.errors import InputError
from mien.evaluate.analysis_files import AnalysisName, read_analyses, write_analysis
from mien.evaluate.clusters import compare_features, embed, linear_probe, network_features, se_verdict
from mien.evaluate.explain import deletion, mean_maps, occlusion_maps
from mien.evaluate.hessian import hessian_top, hessian_trace
from mien.evaluate.landscape import LossSample, loss_landscape
from mien.evaluate.models import EvaluatedModel, Faces, match_labels
from mien.evaluate.robustness import robustness
from mien.evaluate.sharpness import ascent_sharpness, random_rise
from mien.evaluate.split import split_targets
from mien.evaluate.subject import Index, Subject, drawn, drawn_evenly
from mien.labels import canonical_name
from mien.progress import Reporter

ROBUSTNESS_IMAGES: Final = 500
LANDSCAPE_STEPS: Final = 11
LANDSCAPE_IMAGES: Final = 500
SHARPNESS_IMAGES: Final = 512
SHARPNESS_BATCH: Final = 64
"""m of m-sharpness."""
SAM_RHO: Final = 0.05
"""Foret et al. (ICLR 2021) train with it."""
ASAM_RHO: Final = 0.5
"""Kwon et al. (ICML 2021) train with it."""
RANDOM_RADIUS: Final = 0.1
RANDOM_DIRECTIONS: Final = 10
HESSIAN_IMAGES: Final = 200
HESSIAN_DRAWS: Final = 20
MAP_IMAGES: Final = 200
MAP_PATCH: Final = 12
"""Side of the covered square in pixels of a face of `MAP_SIDE`."""
MAP_STRIDE: Final = 6
MAP_SIDE: Final = 48
COMPARED_IMAGES: Final = 5000
"""Of a split, in `features`: memory and time go with the square."""
EMBEDDED_IMAGES: Final = 1500
PROBE_IMAGES: Final = 5000
"""Training images that a linear probe is fitted on."""

_NEEDS_NETWORK: Final = ("features", "sharpness", "landscape")
_OF_TRAINING: Final = ("sharpness", "landscape")
"""Analyses of the loss on training images: it is the surface that was descended."""


def check_analyses(
    model: EvaluatedModel,
    data: Path,
    wanted: Sequence[AnalysisName],
    *,
    split: str,
    target: str | None,
    images: int,
) -> None:
    """Refuse what `analyse` would refuse, before time goes into anything else.

    Args: as of `analyse`.

    Raises:
        InputError: an analysis does not fit the model or the data.
    """
    _subject(model, data, wanted, split, target, images, Reporter())


def analyse(
    model: EvaluatedModel,
    data: Path,
    folder: Path,
    wanted: Sequence[AnalysisName],
    *,
    split: str = "test",
    target: str | None = None,
    images: int = ROBUSTNESS_IMAGES,
    reporter: Reporter,
) -> None:
    """Run the wanted analyses and write each as soon as it is done, except those that are there already.

    Args:
        model: what `mien.evaluate.models.open_model` opened.
        data: a prepared folder.
        folder: of the run, or of the evaluated model.
        wanted: names in `mien.evaluate.analysis_files.ANALYSES`.
        split: whose images are analysed; sharpness and landscape take training images whatever it is.
        target: whose labels count; none takes the prepared folder's own.
        images: how many images of the split robustness takes; 0 takes all.
        reporter: where progress goes.

    Raises:
        InputError: an analysis does not fit the model or the data; nothing is analysed then.
    """
    subject = _subject(model, data, wanted, split, target, images, reporter)
    manifest_hash, weights_sha256 = subject.prepared.manifest.hash(), model.weights_sha256
    there = read_analyses(folder)
    for name in dict.fromkeys(wanted):
        of = "train" if name in _OF_TRAINING else split
        entry = there.get(f"{of}-{name}", {})
        same = (entry.get("manifest_hash"), entry.get("weights_sha256")) == (manifest_hash, weights_sha256)
        if same and weights_sha256 and _is_as_large(name, entry["values"], subject):
            reporter.say(f"{name}: there already for these weights and this data")
            continue
        reporter.say(f"{name}: begun")
        began = time.monotonic()
        values = _ANALYSES[name](subject)
        seconds = time.monotonic() - began
        write_analysis(
            folder,
            of,
            name,
            values,
            manifest_hash=manifest_hash,
            weights_sha256=weights_sha256,
            seconds=seconds,
        )
        reporter.say(f"{name}: done in {seconds:.0f} s")


def _subject(
    model: EvaluatedModel,
    data: Path,
    wanted: Sequence[AnalysisName],
    split: str,
    target: str | None,
    images: int,
    reporter: Reporter,
) -> Subject:
    if images < 0:
        raise InputError(f"robustness takes 0 (all) or more images, not {images}.")
    prepared = load_prepared(data)
    targets = split_targets(prepared, target, split, ())
    match = match_labels(model.labels, targets.classes, model=model.name)
    subject = Subject(model, prepared, targets, match, images, reporter)
    for name in wanted:
        _check(name, subject)
    return subject


def _check(name: AnalysisName, subject: Subject) -> None:
    model = subject.model
    if name in _NEEDS_NETWORK and model.network is None:
        raise InputError(
            f"{model.name}: {name} looks into the network, which only a run has; give the run's folder."
        )
    names = tuple(canonical_name(label) for label in subject.targets.classes)
    if name in _OF_TRAINING and names != model.labels:
        raise InputError(
            f"{model.name}: {name} needs the loss, so data that was prepared with the model's classes; this "
            f"data has {', '.join(subject.targets.classes)}."
        )


def _is_as_large(name: AnalysisName, values: Mapping[str, Any], subject: Subject) -> bool:
    """Whether an analysis that is there took as many images as are asked for."""
    return name != "robustness" or values.get("count") == len(drawn(len(subject.known[0]), subject.images))


def _robustness(subject: Subject) -> dict[str, Any]:
    rows, labels = subject.known
    chosen = drawn(len(rows), subject.images)
    info = subject.prepared.manifest.info
    template = CropTemplate.from_dict(info.template) if info.template else subject.model.template
    with subject.reporter.bar("robustness", None) as bar:
        before = 0

        def progress(done: int, total: int, what: str) -> None:
            nonlocal before
            bar.advance(done - before, f"{what}, {done / total:.0%}")
            before = done

        table = robustness(
            subject.log_probabilities,
            subject.faces(rows[chosen]),
            labels[chosen],
            subject.match.names,
            template=template,
            progress=progress,
        )
    return {**table.to_dict(), "template": template is not None}


def _landscape(subject: Subject) -> dict[str, Any]:
    sample = subject.training_sample(LANDSCAPE_IMAGES)
    with subject.reporter.bar("landscape", LANDSCAPE_STEPS**2, unit="points") as bar:
        return loss_landscape(subject.network, sample, steps=LANDSCAPE_STEPS, advance=bar.advance).to_dict()


def _sharpness(subject: Subject) -> dict[str, Any]:
    network, sample = subject.network, subject.training_sample(SHARPNESS_IMAGES)
    m = min(SHARPNESS_BATCH, len(sample))
    few = LossSample(sample.inputs[:HESSIAN_IMAGES], sample.targets[:HESSIAN_IMAGES])
    with subject.reporter.bar("sharpness", RANDOM_DIRECTIONS + HESSIAN_DRAWS + 3, unit="steps") as bar:
        sam = ascent_sharpness(network, sample, rho=SAM_RHO, m=m)
        bar.advance()
        asam = ascent_sharpness(network, sample, rho=ASAM_RHO, adaptive=True, m=m)
        bar.advance()
        rise = random_rise(
            network, sample, radius=RANDOM_RADIUS, directions=RANDOM_DIRECTIONS, advance=bar.advance
        )
        top = _or_none(partial(hessian_top, network, few))
        bar.advance()
        trace = _or_none(partial(hessian_trace, network, few, draws=HESSIAN_DRAWS, advance=bar.advance))
    return {
        "sam": {"rho": SAM_RHO, "m": m, **sam.to_dict()},
        "asam": {"rho": ASAM_RHO, "m": m, **asam.to_dict()},
        "random": {"radius": RANDOM_RADIUS, **rise.to_dict()},
        "hessian_top": top,
        "hessian_trace": trace,
    }


def _or_none(hessian: Callable[[], Any]) -> dict[str, Any] | None:
    """A figure of the Hessian, or None where it did not converge or there is none."""
    try:
        values: dict[str, Any] = hessian().to_dict()
    except InputError:
        return None
    return values


def _features(subject: Subject) -> dict[str, Any]:
    rows, labels = subject.known
    chosen = drawn(len(rows), COMPARED_IMAGES)
    rows, labels = rows[chosen], labels[chosen]
    names = subject.match.names
    position = subject.config.se.position
    before, after = network_features(subject.network, subject.prepared.pack, rows, subject.config)
    shown = drawn(len(rows), EMBEDDED_IMAGES)
    has_se = position != "none"
    comparison = compare_features(before, after, labels, names) if has_se else None
    return {
        "se_position": position,
        "count": len(rows),
        "comparison": None if comparison is None else comparison.to_dict(),
        "verdict": "The network has no SE block, so there is no before and after to compare."
        if comparison is None
        else se_verdict([comparison]),
        "embedding": {
            "before": _embedded(before[shown]),
            "after": _embedded(after[shown]) if has_se else None,
            "labels": labels[shown].tolist(),
            "names": list(names),
        },
        "probe": _probe(subject, before, after, labels),
    }


def _embedded(features: npt.NDArray[np.float32]) -> list[list[float]]:
    # From float64: a rounded float32 does not print as one.
    points: list[list[float]] = embed(features).astype(np.float64).round(2).tolist()
    return points


def _probe(
    subject: Subject, before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], labels: Index
) -> dict[str, float] | None:
    """Accuracy of a linear probe before and after SE; None where the data has no training images, or no
    others."""
    try:
        training = subject.training
    except InputError:
        return None
    if np.array_equal(training.pack_rows, subject.targets.pack_rows):
        return None
    positions, own = subject.match.labels(training.labels)
    chosen = drawn(len(own), PROBE_IMAGES)
    rows = training.pack_rows[positions[chosen]]
    fitted = network_features(subject.network, subject.prepared.pack, rows, subject.config)
    return {
        "before": linear_probe(fitted[0], own[chosen], before, labels),
        "after": linear_probe(fitted[1], own[chosen], after, labels),
    }


def _maps(subject: Subject) -> dict[str, Any]:
    rows, labels = subject.known
    chosen = drawn_evenly(labels, MAP_IMAGES)
    faces, classes = subject.faces(rows[chosen]), labels[chosen]
    side = min(faces.shape[1:3])
    patch, stride = (max(1, round(pixels * side / MAP_SIDE)) for pixels in (MAP_PATCH, MAP_STRIDE))
    # Deletion needs cells that divide the face.
    cell = max(size for size in range(1, stride + 1) if side % size == 0)

    def classify(part: Faces) -> npt.NDArray[np.float32]:
        shares: npt.NDArray[np.float32] = np.exp(subject.log_probabilities(part))
        return shares

    with subject.reporter.bar("maps", len(faces)) as bar:
        maps = occlusion_maps(classify, faces, classes, patch=patch, stride=stride, advance=bar.advance)
    return {
        "method": "occlusion",
        "patch": patch,
        "stride": stride,
        "count": len(faces),
        "mean_maps": mean_maps(maps, classes, subject.match.names),
        "deletion": deletion(classify, faces, classes, maps, cell=cell).to_dict(),
    }


_ANALYSES: Final[Mapping[AnalysisName, Callable[[Subject], dict[str, Any]]]] = {
    "features": _features,
    "maps": _maps,
    "robustness": _robustness,
    "sharpness": _sharpness,
    "landscape": _landscape,
}
