"""What a run began with: code, model, data, plan, target, schedule, versions. A run goes on only with the same."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from secateur.compression.user_code import user_code
from secateur.ir.plan import Plan
from secateur.ir.target import Target
from secateur.train.replay import first_batch
from secateur.train.task import Task

VERSIONS = ("secateur", "torch", "numpy")
NOT_THE_SAME_TWICE = "not the same twice"


def fingerprint(
    task: Task, plan: Plan, target: Target, *, settings: Mapping[str, Any], seed: int, code: Iterable[Path] = ()
) -> dict[str, Any]:
    """Everything the result depends on, as plain data; the model must not be prepared yet.

    settings  options that change the result, plain data
    code      files besides those that define model, loss, metric and data
    """
    return {
        "versions": {name: metadata.version(name) for name in VERSIONS},
        "threads": torch.get_num_threads(),
        "code": user_code(task, code),
        "model": _model(task.model),
        "data": _data(task, seed),
        "plan": _sha256(plan.to_json().encode()),
        "target": dataclasses.asdict(target),
        "settings": dict(settings),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """One line for everything that differs: "data, first batch of train: 17 then, 18 now"."""
    found = []
    for key in dict.fromkeys([*before, *now]):
        name = f"{path}, {key}" if path else str(key)
        old, new = before.get(key, "nothing"), now.get(key, "nothing")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, name)
        elif old != new:
            found.append(f"{name}: {_short(old)} then, {_short(new)} now")
    return found


def replays(fingerprint: Mapping[str, Any]) -> bool:
    """Whether the training data came in the same order twice from the same seed."""
    return fingerprint["data"]["first batch of train"] != NOT_THE_SAME_TWICE


def _model(model: nn.Module) -> dict[str, Any]:
    state = {key: value for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    # Strides tell channels_last, in which a convolution adds up in another order.
    structure = [(key, tuple(value.shape), value.stride(), str(value.dtype)) for key, value in state.items()]
    kinds = [(name, type(module).__qualname__) for name, module in model.named_modules()]
    weights = hashlib.sha256()
    for value in state.values():
        weights.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return {"structure": _sha256(repr((structure, kinds)).encode()), "weights": weights.hexdigest()}


def _data(task: Task, seed: int) -> dict[str, Any]:
    """Lengths, and the first batches; a loader that does not replay has no fingerprint and is told apart by that."""
    once, again = first_batch(task.train, seed), first_batch(task.train, seed)
    return {
        "batches of train": len(task.train),
        "batches of val": len(task.val),
        "first batch of train": once if once == again else NOT_THE_SAME_TWICE,
        "first batch of val": first_batch(task.val, seed),
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 and text.isalnum() else text
