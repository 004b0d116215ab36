"""The loss around the trained weights: the paper's Fig. 4 and its claim C9, and numbers of sharpness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, Final

from mien.errors import InputError
from mien.evaluate.sharpness import Estimate, difference
from mien.report.comparisons import question_of
from mien.report.document import Block, Gallery, Section, Table, Text
from mien.report.geometry_figures import cut_drawing, surface_drawings
from mien.report.tables import Column, analyses_of
from mien.report.wording import DASH, joined, seed_notes

_PAIRED: Final = {
    "sam": "SAM's sharpness",
    "asam": "ASAM's sharpness",
    "random": "the rise in random directions",
}
"""Estimates that keep their repetitions, by which two models are compared."""


def landscape_section(columns: Sequence[Column]) -> Section | None:
    """Surfaces at one scale, a cut through all of them, and whether SAM's is flatter; None without any.

    Of a column with several seeds it is the first that was measured.
    """
    measured = analyses_of(columns, "landscape", "train")
    if not measured:
        return None
    blocks: list[Block] = [Text(_surface_sentence(measured, pair)) for pair in _pairs(columns, measured)]
    blocks += seed_notes(columns, "landscape", "The surface is", split="train")
    surfaces = surface_drawings(measured)
    caption = (
        "Mean loss (nats) along two random directions through the trained weights, all at one scale; at "
        "a distance of 1 each filter has moved by its own length"
    )
    blocks += [_rises_table(measured), Gallery((*surfaces, cut_drawing(measured)), caption)]
    return Section("Loss landscape (Fig. 4)", tuple(blocks))


def sharpness_section(columns: Sequence[Column]) -> Section | None:
    """How fast the loss rises around each model's weights, and differences by SAM; None without any.

    Of a column with several seeds it is the first that was measured.
    """
    measured = analyses_of(columns, "sharpness", "train")
    if not measured:
        return None
    blocks: list[Block] = [Text(_sharpness_sentence(measured, pair)) for pair in _pairs(columns, measured)]
    blocks += seed_notes(columns, "sharpness", "The figures are", split="train")
    return Section("Sharpness", (*blocks, _sharpness_table(measured)))


def _pairs(columns: Sequence[Column], measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names of measured models that differ in nothing but SAM, the one without it first."""
    return [
        (without.name, with_sam.name)
        for without, with_sam in permutations(columns, 2)
        if without.name in measured and with_sam.name in measured and question_of(without, with_sam) == "SAM"
    ]


def _surface_sentence(measured: Mapping[str, Mapping[str, Any]], pair: tuple[str, str]) -> str:
    without, with_sam = (measured[name]["rises"] for name in pair)
    known = [ring for ring in without if without[ring] is not None and with_sam.get(ring) is not None]
    if not known:
        return f"The surfaces of {pair[0]} and {pair[1]} have no finite rise in common."
    told = joined(
        [f"{with_sam[ring]:.2f} instead of {without[ring]:.2f} at distance {ring}" for ring in known]
    )
    lower = [with_sam[ring] < without[ring] for ring in known]
    verdict = (
        "flatter at every distance, as the paper says"
        if all(lower)
        else "flatter at some distances and not at others"
        if any(lower)
        else "not flatter at any distance, against what the paper says"
    )
    return (
        f"The surface of {pair[1]} is {verdict}: the loss rises by {told} nats. One surface a model, so this "
        "is of these two models."
    )


def _rises_table(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    rings = list(dict.fromkeys(ring for values in measured.values() for ring in values["rises"]))
    rows = []
    for name, values in measured.items():
        middle = len(values["alphas"]) // 2
        rises = (values["rises"].get(ring) for ring in rings)
        rows.append(
            (
                name,
                f"{values['count']:,}",
                f"{values['loss'][middle][middle]:.3f}",
                f"{values['standard_error']:.3f}",
                *(DASH if rise is None else f"{rise:.2f}" for rise in rises),
                str(values["local_minima"]),
            )
        )
    return Table(
        "The surface in numbers: loss at the trained weights and mean rise at a distance, nats",
        (
            "model",
            "images",
            "loss",
            "standard error",
            *(f"rise at {ring}" for ring in rings),
            "local minima",
        ),
        tuple(rows),
        notes=(
            "Training images, without augmentation. Directions are normalised filter by filter (Li et al., "
            "NeurIPS 2018), the same random numbers for every model. One local minimum is a single bowl.",
        ),
    )


def _sharpness_sentence(measured: Mapping[str, Mapping[str, Any]], pair: tuple[str, str]) -> str:
    told, signs = [], set()
    for kind, words in _PAIRED.items():
        without, with_sam = (_estimate(measured[name][kind]) for name in pair)
        try:
            change = difference(without, with_sam)
        except InputError:
            continue
        low, high = change["interval"]
        signs.add(1 if low > 0 else -1 if high < 0 else 0)
        told.append(
            f"{words} by {change['difference']:+.3f} ({low:+.3f} to {high:+.3f})".replace("-", "\u2212")
        )
    if not told:
        return f"{pair[0]} and {pair[1]} were not measured alike, so their sharpness is not compared."
    verdict = {frozenset({-1}): "flatter", frozenset({1}): "sharper"}.get(
        frozenset(signs), "neither clearly flatter nor clearly sharper"
    )
    return (
        f"{pair[1]} lies {verdict} than {pair[0]}: {joined(told)}, in nats, with 95 % intervals over the "
        "same batches and directions."
    )


def _estimate(values: Mapping[str, Any]) -> Estimate:
    return Estimate(values["value"], values["standard_error"], tuple(values["values"]))


def _sharpness_table(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    first = next(iter(measured.values()))
    heads = (
        f"SAM's, rho {first['sam']['rho']:g}",
        f"ASAM's, rho {first['asam']['rho']:g}",
        f"random, {first['random']['radius']:g}",
        "largest eigenvalue",
        "trace of the Hessian",
    )
    rows = tuple(
        (
            name,
            *(_with_error(values[kind], 3) for kind in _PAIRED),
            _with_error(values["hessian_top"], 1),
            _with_error(values["hessian_trace"], 0),
        )
        for name, values in measured.items()
    )
    return Table(
        "Rise of the training loss around the weights (nats), and curvature, with standard errors",
        ("model", *heads),
        rows,
        notes=(
            "SAM's sharpness: the rise after one ascent step of length rho (Foret et al., ICLR 2021, "
            f"equation 2), a mean over batches of {first['sam']['m']}; ASAM's scales the step by the weights "
            "(Kwon et al., ICML 2021). Random: the mean rise at that relative distance in random directions. "
            "A dash stands where the Hessian's figure did not converge.",
        ),
    )


def _with_error(values: Mapping[str, Any] | None, digits: int) -> str:
    if values is None:
        return DASH
    error = values["standard_error"]
    told = f"{values['value']:,.{digits}f}"
    return told if error is None else f"{told} ({error:,.{digits}f})"
