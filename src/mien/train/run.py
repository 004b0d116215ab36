"""One training run from a config and a prepared folder to a run's folder that says all that its result
depends on.

A run's folder: config.json (resolved), run.json (class names, target, manifest hash, versions, processor, git
commit), history.jsonl, last.safetensors (to resume), best.safetensors (what validation chose), card.json,
evaluation/.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mien import __version__
from mien.card import RESEARCH_USE_LICENCE, CropTemplate, ModelCard
from mien.config import ModelConfig, RunConfig, to_dict
from mien.data.dataset import TrainingBatches
from mien.data.prepared import Prepared, load_prepared
from mien.data.targets import Targets
from mien.errors import InputError
from mien.evaluate.calibration import fit_temperature
from mien.evaluate.predict import BATCH, predict_logits
from mien.evaluate.run import evaluate_saved
from mien.evaluate.split import read_logits, score_split, split_predictions, split_targets
from mien.files import path_from, sha256_of, write_json, write_text
from mien.models.build import build_model, parameter_count
from mien.models.saved import CARD, CONFIG, RUN, SavedRun, read_run
from mien.models.weights import weights_path
from mien.progress import Reporter
from mien.train.checkpoint import LAST
from mien.train.devices import Devices
from mien.train.loop import TrainingLoop
from mien.train.precision import autocast_precision
from mien.train.teacher import load_teacher, weights_of
from mien.train.training_set import training_targets


def train_run(config: RunConfig, data: Path, out: Path, *, reporter: Reporter) -> dict[str, Any]:
    """Train from the start.

    Args:
        config: everything but the data.
        data: a prepared folder.
        out: the run's folder; it must not hold a run yet.
        reporter: where progress goes.

    Returns:
        The validation figures of the checkpoint that was kept, in fp32: what `mien evaluate` gives for it.

    Raises:
        InputError: data or config cannot be used; nothing is written then.
        TrainingDiverged: the loss is not finite.
        LostProcess: of several processes one has ended, or started from another state.
        KeyboardInterrupt: stopped; the run can be resumed.
        SystemExit: with code 0 at the end, in all processes of a run but the first.
    """
    if (out / CONFIG).exists():
        raise InputError(
            f"{out} already holds a run; continue it with mien train --resume {out}, or name another --out."
        )
    prepared = load_prepared(data)
    loop, training = _assemble(config, prepared, out, reporter)
    loop.devices.start()
    record = _record(loop, training, prepared, data)
    if loop.devices.is_first:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / RUN, record)
        write_json(out / CONFIG, to_dict(config))
    return _fit(loop, SavedRun(out, config, record), prepared)


def resume_run(out: Path, *, reporter: Reporter, data: Path | None = None) -> dict[str, Any]:
    """Continue a run from its last checkpoint, or from the start where it has none; a finished run is scored
    again.

    Args:
        out: the run's folder.
        reporter: where progress goes.
        data: the prepared folder, where it has moved since.

    Raises:
        InputError: no run there, or the data is not what it was trained on.
        CheckpointError: the checkpoint does not fit the run's config.
        Others: as `train_run`.
    """
    saved = read_run(out)
    folder = data or saved.data
    prepared = load_prepared(folder)
    if prepared.manifest.hash() != saved.record["manifest_hash"]:
        raise InputError(
            f"{folder}: its manifest is not the one that {out} was trained on; give that data with --data."
        )
    has_checkpoint = (out / LAST).is_file()
    # Where nothing is left to learn the teachers may be gone; otherwise they may have moved with the run.
    teachers = () if saved.finished else _teachers_of(saved)
    train = saved.config.train
    distill = replace(train.distill, teachers=teachers)
    config = replace(saved.config, train=replace(train, distill=distill))
    loop, _ = _assemble(config, prepared, out, reporter, starting_weights=not has_checkpoint)
    if has_checkpoint:
        loop.resume()
    loop.devices.start()
    loop.reporter.say(f"continuing {out} after epoch {loop.position.epoch}, step {loop.position.step}")
    return _fit(loop, saved, prepared)


def _teachers_of(saved: SavedRun) -> tuple[str, ...]:
    """Paths of a run's teachers, as they were when it began.

    Raises:
        InputError: one has changed, or is gone.
    """
    paths = []
    for teacher in saved.record.get("teachers", []):
        path = Path(os.path.normpath(saved.folder / teacher["path"]))
        if not weights_of(path).is_file() or sha256_of(weights_of(path)) != teacher["sha256"]:
            raise InputError(
                f"{path}: the run's teacher is not there, or no longer what it was; put it back, or start a "
                "new run."
            )
        paths.append(str(path))
    return tuple(paths)


def _assemble(
    config: RunConfig, prepared: Prepared, out: Path, reporter: Reporter, *, starting_weights: bool = True
) -> tuple[TrainingLoop, Targets]:
    """The loop before its first step, and the training split; all that can be refused is refused here, before
    other processes are started."""
    target = config.training_set.target
    training = training_targets(prepared, config.training_set)
    validation = split_targets(prepared, target, "validation", ())
    manifest_hash = prepared.manifest.hash()
    devices = Devices(config.train)
    torch.manual_seed(config.train.seed)
    model = build_model(
        config.model, len(training.classes), labels=training.classes, starting_weights=starting_weights
    )
    batches = TrainingBatches(
        prepared.pack,
        training.pack_rows,
        training.labels,
        training.soft,
        training.copies,
        ~np.isin(training.sets, prepared.manifest.info.unrotated),
        balance=config.training_set.balance,
        batch_size=config.train.batch_size,
        parts=config.train.accumulate * config.train.devices,
        seed=config.train.seed,
    )
    teacher = load_teacher(config.train.distill, config.model, training.classes, prior=batches.prior)

    def validate(network: nn.Module) -> dict[str, Any]:
        logits = predict_shared(devices, network, prepared.pack, validation.pack_rows, config.model)
        return score_split(split_predictions(validation, logits), validation, manifest_hash)

    loop = TrainingLoop(
        model,
        batches,
        config,
        out,
        devices=devices,
        validate=validate,
        reporter=reporter if devices.is_first else Reporter(quiet=True),
        teacher=teacher,
    )
    return loop, training


def predict_shared(
    devices: Devices,
    network: nn.Module,
    pack: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    config: ModelConfig,
) -> npt.NDArray[np.float32]:
    """Logits float32 [n, K] of some rows, each computed by one process and known to all of them.

    Whole batches are dealt out in turn, so that no image is seen twice to fill a process's share, and each
    batch holds the images that it would hold in one process.
    """
    starts = range(0, len(rows), BATCH)
    own = [
        predict_logits(network, pack, rows[start : start + BATCH], config)
        for start in starts[devices.rank :: devices.count]
    ]
    dealt = devices.gather(own)
    return np.concatenate([dealt[i % devices.count][i // devices.count] for i in range(len(starts))])


def _record(loop: TrainingLoop, training: Targets, prepared: Prepared, data: Path) -> dict[str, Any]:
    """run.json: what a result depends on besides the config."""
    config, out = loop.config, loop.run
    packages = ("torch", "timm", "lightning-fabric", "numpy", "polars", "scikit-learn")
    starting = _starting_weights(config.model.pretrained)
    teachers = [] if loop.step.teacher is None else loop.step.teacher.records
    prior = loop.batches.prior
    if config.training_set.balance == "logit_adjustment":
        # The loss removes the prior, so the model is left with an even one.
        prior = (prior > 0).astype(float)
    return {
        "mien": __version__,
        "labels": list(training.classes),
        "views": {name: list(view) for name, view in prepared.manifest.info.views.items()},
        "target": training.name,
        "rule": training.rule,
        "data": path_from(out, data),
        "manifest_hash": prepared.manifest.hash(),
        "training_images": len(training),
        "training_counts": training.class_counts(),
        "prior": dict(zip(training.classes, (prior / prior.sum()).tolist(), strict=True)),
        # What a teacher has seen reaches its student, and so does its licence.
        "sets": sorted(
            {*training.sets, *starting.get("sets", ()), *(name for t in teachers for name in t["sets"])}
        ),
        "starting_weights": starting or None,
        "teachers": [
            {**record, "path": path_from(out, Path(name))}
            for record, name in zip(teachers, config.train.distill.teachers, strict=True)
        ],
        "template": prepared.manifest.info.template,
        "parameters": parameter_count(loop.network),
        "precision": autocast_precision(config.train),
        "threads": torch.get_num_threads(),
        "devices": loop.devices.count,
        "seed": config.train.seed,
        "git_commit": _git_commit(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": torch.cpu.get_capabilities().get("cpu_name") or platform.machine(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def _starting_weights(source: str | None) -> dict[str, Any]:
    """What the starting weights were, and the sets that they have seen: those bind their children too."""
    if source is None:
        return {}
    if source == "hub":
        return {"source": "hub"}
    path = weights_path(source)
    seen = read_run(path.parent).record["sets"] if (path.parent / RUN).is_file() else []
    return {"source": path.name, "sha256": sha256_of(path), "sets": seen}


def _git_commit() -> str | None:
    """The commit of the checkout that mien runs from; None where it is installed from a wheel."""
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    try:
        # Installed below some other checkout, as in its virtual environment, that one's commit says nothing.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=True)
        describe = [*git, "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(describe, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None


def _fit(loop: TrainingLoop, saved: SavedRun, prepared: Prepared) -> dict[str, Any]:
    position = loop.fit()
    if not loop.devices.is_first:
        raise SystemExit(0)
    minutes = position.seconds / 60
    loop.reporter.say(
        f"trained {position.epoch} epochs in {minutes:.1f} min; kept epoch {position.best_epoch}"
    )
    figures = evaluate_saved(saved, prepared, split="validation")
    kept = read_logits(saved.folder, "validation")
    temperature = fit_temperature(kept["logits"], kept["labels"])
    loop.reporter.say(
        f"temperature {temperature.value:.3f}: validation's mean negative log-likelihood "
        f"{temperature.nll_before:.4f} to {temperature.nll_after:.4f}"
    )
    card = model_card(saved, *figures, temperature=temperature.value)
    write_text(saved.folder / CARD, card.to_json() + "\n")
    return figures[0]


def model_card(saved: SavedRun, *figures: dict[str, Any], temperature: float = 1.0) -> ModelCard:
    """The card of a run's model.

    Args:
        saved: the run.
        figures: what `score_split` gave, one entry a split and label view.
        temperature: divides the logits.
    """
    record, model = saved.record, saved.config.model
    template = CropTemplate.from_dict(record["template"]) if record["template"] else None
    return ModelCard(
        name=saved.folder.name,
        labels=saved.labels,
        size=model.size,
        channels=model.channels,
        mean=model.mean,
        std=model.std,
        views={name: tuple(view) for name, view in record["views"].items()},
        template=template,
        temperature=temperature,
        prior=record["prior"],
        metrics=[_metric(entry) for entry in figures],
        training_data=[
            {"sets": record["sets"], "target": record["target"], "images": record["training_images"]}
        ],
        manifest_hash=record["manifest_hash"],
        licence=RESEARCH_USE_LICENCE if {"fer2013", "ferplus"} & set(record["sets"]) else "",
    )


def _metric(figures: dict[str, Any]) -> dict[str, Any]:
    values = {name: value for name, value in figures.items() if isinstance(value, float)}
    return {
        "split": figures["split"],
        "rule": figures["rule"],
        "labels": figures["view"],
        "count": figures["count"],
        "values": values,
    }
