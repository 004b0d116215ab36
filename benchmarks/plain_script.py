"""The training script that people write, for benchmarks/train.py to compare mien with.

torchvision's ImageFolder, transforms and DataLoader, timm's Swin, fp32, and SAM as two calls with loops over
the parameters. The config is mien's, so that both train the same network on the same pictures with the same
augmentation and optimizer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms as T  # type: ignore[import-untyped]
from torchvision.datasets import ImageFolder  # type: ignore[import-untyped]

from mien.config import AugmentConfig, ModelConfig, RunConfig
from mien.data.prepared import load_prepared
from mien.evaluate.split import split_targets

WARM_UP_STEPS = 5


class TwoCallSAM:
    """SAM (Foret et al., ICLR 2021, algorithm 1): `climb` after the first backward pass, `descend` after the
    second."""

    def __init__(self, parameters: Iterable[nn.Parameter], base: torch.optim.Optimizer, rho: float) -> None:
        self.parameters = list(parameters)
        self.base, self.rho = base, rho
        self.steps_up: dict[nn.Parameter, Tensor] = {}

    @torch.no_grad()
    def climb(self) -> None:
        """w + rho g / |g| (equation 2 with p = 2)."""
        norms = [p.grad.norm(p=2) for p in self.parameters if p.grad is not None]
        scale = self.rho / (torch.stack(norms).norm(p=2) + 1e-12)
        for p in self.parameters:
            if p.grad is None:
                continue
            step_up = p.grad * scale
            p.add_(step_up)
            self.steps_up[p] = step_up
        self.base.zero_grad()

    @torch.no_grad()
    def descend(self) -> None:
        """The base optimizer's step from w with the gradient found at the perturbed weights."""
        for p in self.parameters:
            if p in self.steps_up:
                p.sub_(self.steps_up[p])
        self.base.step()
        self.base.zero_grad()


def write_pictures(data: Path, target: str | None, folder: Path) -> None:
    """The training split of a prepared folder as PNG files, one folder a class."""
    prepared = load_prepared(data)
    training = split_targets(prepared, target, "train", ())
    for name in {training.classes[label] for label in training.labels}:
        (folder / name).mkdir(parents=True)
    for number, (row, label) in enumerate(zip(training.pack_rows, training.labels, strict=True)):
        pixels = prepared.pack[row].transpose(1, 2, 0)
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        picture.save(folder / training.classes[label] / f"{number:06d}.png")


def transforms(model: ModelConfig, augment: AugmentConfig) -> Callable[[Image.Image], Tensor]:
    """torchvision's counterpart of mien's augmentation; what the config has off is left out."""
    before: list[Any] = [T.Grayscale()] if model.channels == 1 else []
    before.append(T.Resize((model.size, model.size)))
    if augment.rotation or augment.translation or augment.scale:
        before.append(
            T.RandomAffine(
                augment.rotation,
                translate=(augment.translation, augment.translation),
                scale=(1 - augment.scale, 1 + augment.scale),
                interpolation=T.InterpolationMode.BILINEAR,
            )
        )
    if augment.flip:
        before.append(T.RandomHorizontalFlip(augment.flip))
    if augment.autocontrast:
        before.append(T.RandomAutocontrast(augment.autocontrast))
    if augment.brightness or augment.contrast:
        before.append(T.ColorJitter(brightness=augment.brightness, contrast=augment.contrast))
    after: list[Any] = [
        T.ToTensor(),
        T.Normalize([model.mean] * model.channels, [model.std] * model.channels),
    ]
    if augment.erasing:
        after.append(T.RandomErasing(augment.erasing, scale=(0.02, 0.25), ratio=(0.4, 2.5), value="random"))
    transform: Callable[[Image.Image], Tensor] = T.Compose([*before, *after])
    return transform


def build(model: ModelConfig, classes: int) -> nn.Module:
    """timm's Swin of the config's dimensions, with linear patches."""
    network: nn.Module = SwinTransformer(
        img_size=model.size,
        patch_size=4,
        in_chans=model.channels,
        num_classes=classes,
        embed_dim=model.embed_dim,
        depths=model.depths,
        num_heads=model.num_heads,
        window_size=model.window,
        drop_path_rate=model.drop_path,
    )
    return network


def images_per_second(folder: Path, config: RunConfig, workers: int) -> float:
    """Train a whole epoch on the pictures of `folder`, after a few steps to warm up."""
    torch.manual_seed(config.train.seed)
    pictures = ImageFolder(str(folder), transforms(config.model, config.augment))
    loader: DataLoader[Any] = DataLoader(
        pictures, config.train.batch_size, shuffle=True, num_workers=workers, drop_last=True
    )
    model = build(config.model, len(pictures.classes)).train()
    base: torch.optim.Optimizer
    if config.optim.name == "sgd":
        base = torch.optim.SGD(model.parameters(), config.optim.lr, momentum=config.optim.momentum)
    else:
        base = torch.optim.AdamW(model.parameters(), config.optim.lr, weight_decay=config.optim.weight_decay)
    optimizer = TwoCallSAM(model.parameters(), base, config.optim.sam.rho)
    train(model, loader, optimizer, most=WARM_UP_STEPS)
    began = time.perf_counter()
    seen = train(model, loader, optimizer, most=len(loader))
    return seen / (time.perf_counter() - began)


def train(model: nn.Module, loader: DataLoader[Any], optimizer: TwoCallSAM, *, most: int) -> int:
    """At most so many steps; the number of images."""
    criterion = nn.CrossEntropyLoss()
    loss_sum, correct, seen = 0.0, 0, 0
    for step, (x, y) in enumerate(loader):
        if step == most:
            break
        logits = model(x)
        loss = criterion(logits, y)
        loss.backward()
        optimizer.climb()
        criterion(model(x), y).backward()
        optimizer.descend()
        loss_sum += loss.item() * len(y)
        correct += int((logits.argmax(1) == y).sum())
        seen += len(y)
    return seen
