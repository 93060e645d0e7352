"""What every layer takes on this machine, dense and compressed, each by the fastest way that `accelerate` finds."""

from __future__ import annotations

import math
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from secateur.bridge.accelerate import accelerate
from secateur.bridge.folding import without_training
from secateur.kernels.acceleration import LayerReport
from secateur.nn.layer_inputs import first_inputs
from secateur.reporting.times import LayerTime

CALLS = 15
TORCH = "PyTorch"


def layer_times(dense: nn.Module, compressed: nn.Module, example: Any) -> tuple[LayerTime, ...]:
    """One row for every convolution and linear layer of both; the models stay as they are. What `accelerate` leaves to
    PyTorch without measuring is timed in PyTorch, alone."""
    before, after = (_rows(model, example) for model in (dense, compressed))
    found = []
    for name, row in after.items():
        if name in before:
            (by, us), (old, old_us) = _fastest(row), _fastest(before[name])
            found.append(LayerTime(f"{name}.weight", old, by, old_us, us, "" if row.algorithm else row.reason))
    missing = {time.tensor.rpartition(".")[0] for time in found if not (time.us_before > 0 and time.us_after > 0)}
    if not missing:
        return tuple(found)
    torch_us = [_torch_times(model, example, missing) for model in (dense, compressed)]
    return tuple(
        _filled(time, *(us.get(time.tensor.rpartition(".")[0], math.nan) for us in torch_us)) for time in found
    )


def _rows(model: nn.Module, example: Any) -> dict[str, LayerReport]:
    return {row.name: row for row in accelerate(model, example).report.layers}


def _fastest(row: LayerReport) -> tuple[str, float]:
    us = row.before_us if row.algorithm is None else row.after_us
    return row.algorithm or TORCH, math.nan if us is None else us


def _filled(time: LayerTime, before: float, after: float) -> LayerTime:
    us_before = before if math.isnan(time.us_before) and time.by_before == TORCH else time.us_before
    us_after = after if math.isnan(time.us_after) and time.by_after == TORCH else time.us_after
    return LayerTime(time.tensor, time.by_before, time.by_after, us_before, us_after, time.reason)


@torch.no_grad()
def _torch_times(model: nn.Module, example: Any, names: set[str]) -> dict[str, float]:
    """Microseconds of a call of these layers with what reaches them first when the model is called."""
    plain = without_training(model)
    layers = {name: module for name, module in plain.named_modules() if name in names}
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    return {name: _us(layers[name], x) for name, x in first_inputs(plain, layers, inputs).items()}


def _us(layer: nn.Module, x: Tensor) -> float:
    taken = []
    for _ in range(CALLS):
        start = perf_counter()
        layer(x)
        taken.append(perf_counter() - start)
    return 1e6 * median(taken)
