"""One run of a pruning benchmark: prune, harden, fine-tune, measure. Interrupted, it goes on after the last epoch."""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from image_data import Batches, Images, error
from methods import METHODS, QUANTIZING, Method
from record import code

BATCH = 128
CONSTANT = ("thresholds", "widths", "ranges")
"""Optimizer groups whose rate stays as it is."""


@dataclass(frozen=True)
class Run:
    """What is run. shift: training images are augmented. precision "bfloat16" runs the forward pass under autocast;
    errors are always those in float32. learning_rate is Adam's at the start of either phase."""

    method: str
    network: str
    density: float
    shift: bool
    seed: int
    prune_epochs: int
    finetune_epochs: int
    precision: str
    learning_rate: float = 1e-3
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A file name that tells runs apart."""
        options = "".join(f"-{key}{value}" for key, value in sorted(self.options.items()))
        epochs = f"{self.prune_epochs}+{self.finetune_epochs}"
        shifted = "-shift" if self.shift else ""
        rate = f"{self.precision}-{self.learning_rate:g}"
        return f"{self.network}-{self.density:g}{shifted}-{epochs}-{rate}-{self.method}{options}-{self.seed}"

    def asdict(self) -> dict[str, Any]:
        """As it stands in the results."""
        return asdict(self)

    @classmethod
    def of(cls, line: dict[str, Any]) -> Run:
        """What a line of the results was a run of."""
        return cls(**{item.name: line[item.name] for item in fields(cls) if item.name in line})


def add_method_options(parser: argparse.ArgumentParser) -> None:
    """--set, for what only some methods know."""
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="OPTION=VALUE", help="options of the method"
    )


def method_options(parser: argparse.ArgumentParser, pairs: list[str], methods: list[str]) -> dict[str, Any]:
    """What --set says, values as JSON; ends the program where methods lack what they need."""
    given = {key: json.loads(value) for key, value in (pair.split("=", 1) for pair in pairs)}
    if set(methods) & set(QUANTIZING) and not {"packed_bytes", "bits"} <= given.keys():
        parser.error('methods that quantize need a limit and widths: --set packed_bytes=2830 "bits=[2,3,4]"')
    return given


def train(run: Run, model: nn.Module, data: Images, folder: Path) -> dict[str, Any]:
    """Make the model pruned, fine-tuned and plain, in place; returns what was seen on the way. The test images are not
    touched. A run trained before, in a search for instance, is loaded; what other code left ends the program."""
    trained = folder / f"{run.name}.pt"
    if trained.exists():
        kept = _kept(trained)
        model.load_state_dict(kept["model"])
        return kept["seen"]
    model.to(memory_format=torch.channels_last)
    batches = Batches(data, BATCH, torch.Generator().manual_seed(run.seed), augmented=run.shift)
    steps = run.prune_epochs * len(batches)
    method = METHODS[run.method](model, data.train.images[:2], run.density, steps, **run.options)
    seen: dict[str, Any] = {"seconds": 0.0, "validation": []}
    checkpoint = folder / f"{run.name}.checkpoint"
    first, optimizer = 0, None
    if checkpoint.exists():
        first, optimizer, seen = _resume(model, method, batches, _kept(checkpoint))
    for epoch in range(first, run.prune_epochs + run.finetune_epochs):
        start = time.perf_counter()
        if epoch == run.prune_epochs:
            seen["densities"] = method.densities()
            method.harden()
            seen["validation_hardened"] = error(model, data.validation)
        if optimizer is None or epoch == run.prune_epochs:
            optimizer = torch.optim.Adam(method.groups(), lr=run.learning_rate, fused=True)
        train_epoch(run, epoch, model, method, batches, optimizer)
        if epoch >= run.prune_epochs:
            method.tuned(epoch - run.prune_epochs, run.finetune_epochs)
        seen["validation"].append(error(model, data.validation))
        seen["seconds"] += time.perf_counter() - start
        save_whole(checkpoint, {"epoch": epoch + 1, "seen": seen, **_state(model, method, batches, optimizer)})
    if artifact := method.packed(data.train.images[:1]):
        artifact.save(folder / f"{run.name}.secat")
        seen["beside_file"] = method.beside_file
    method.strip()
    torch.save({"code": code(), "model": model.state_dict(), "seen": seen}, trained)
    checkpoint.unlink()
    return seen


def _kept(path: Path) -> dict[str, Any]:
    """What a run has left here; of other code it would be a result that no commit has."""
    kept: dict[str, Any] = torch.load(path, weights_only=True)
    if kept.get("code") != code():
        raise SystemExit(f"{path} is of a run of other code: check that code out to go on, or remove the file")
    return kept


def train_epoch(
    run: Run, epoch: int, model: nn.Module, method: Method, batches: Batches, optimizer: torch.optim.Optimizer
) -> None:
    """One pass; the rate of all but CONSTANT groups follows a cosine to zero in each of the two phases."""
    pruning = epoch < run.prune_epochs
    done = (epoch if pruning else epoch - run.prune_epochs) * len(batches)
    total = (run.prune_epochs if pruning else run.finetune_epochs) * len(batches)
    for images, labels in batches.epoch():
        for group in optimizer.param_groups:
            if group.get("name") not in CONSTANT:
                group["lr"] = run.learning_rate * 0.5 * (1 + math.cos(math.pi * done / total))
        with torch.autocast("cpu", torch.bfloat16, enabled=run.precision == "bfloat16"):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        if pruning:
            loss = loss + method.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if pruning:
            method.step()
        done += 1


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weight matrices that densities count: all of them, first and last layer included; no biases."""
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.dim() > 1}


def _state(model: nn.Module, method: Method, batches: Batches, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        "code": code(),
        "model": model.state_dict(),
        "method": method.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": batches.generator.get_state(),
    }


def save_whole(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside its place, then put it there: a reader finds the old one or the new one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _resume(
    model: nn.Module, method: Method, batches: Batches, state: dict[str, Any]
) -> tuple[int, torch.optim.Optimizer, dict[str, Any]]:
    model.load_state_dict(state["model"])
    method.load_state_dict(state["method"])
    batches.generator.set_state(state["generator"])
    optimizer = torch.optim.Adam(method.groups(), fused=True)
    optimizer.load_state_dict(state["optimizer"])
    return state["epoch"], optimizer, state["seen"]
