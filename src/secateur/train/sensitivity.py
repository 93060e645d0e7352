"""How much a network's output changes when one layer alone is cut: measured, layer by layer, on a few inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import DataError
from secateur.nn.layer_inputs import Inputs, call
from secateur.nn.transform import Transformed, transforms_of

DENSITIES = (0.0, 0.01, 0.03, 0.1, 0.25, 0.6)
"""Shares of a layer's weights that stay where the change is measured; at 1 it is 0."""


SAMPLES = 64
"""Inputs it is measured on, in whole batches from the first: a relative change needs few, and every layer many runs."""


@dataclass(frozen=True)
class Curve:
    """Numbers of weights that stay in one layer, ascending from 0 to all of them, and the change of the network's
    output measured there."""

    kept: np.ndarray
    change: np.ndarray


def squared_change(output: Tensor, dense: Tensor) -> tuple[float, float]:
    """sum |y - y0|^2, and sum |y0|^2 to relate it to."""
    return float((output - dense).double().square().sum()), float(dense.double().square().sum())


def divergence(output: Tensor, dense: Tensor) -> tuple[float, float]:
    """Sum over the samples of the Kullback-Leibler divergence of the class probabilities (softmax over dimension 1)
    from the dense model's, in nats; and the number of samples."""
    logs, wanted = F.log_softmax(output.double(), 1), F.log_softmax(dense.double(), 1)
    return float(F.kl_div(logs, wanted, reduction="sum", log_target=True)), float(len(output))


CHANGES = {"error": squared_change, "kl": divergence}
"""Name -> (change, scale) of one output on one batch; both are summed over batches, and the ratio is the change."""


def curves(
    model: nn.Module,
    orders: Sequence[np.ndarray],
    batches: Sequence[Inputs],
    change: str,
    told: Callable[[int, int, str], None],
) -> list[Curve]:
    """One Curve for every pruned site of a hardened model whose masks are all True; the masks are restored.

    orders  by site the place of every weight: with k weights those of places 0 to k - 1 stay
    batches are used from the first until there are SAMPLES inputs; told hears how many layers of how many are done, and
    which comes next
    """
    sites = [site for site in transforms_of(model) if site.transform.prunes]
    batches = _first(batches)
    dense = [_outputs(model, inputs, number) for number, inputs in enumerate(batches)]
    found = []
    for done, (site, order) in enumerate(zip(sites, orders, strict=True)):
        told(done, len(sites), site.name)
        kept = sorted({round(density * order.size) for density in DENSITIES} - {order.size})
        values = [_with_only(model, site, order < count, batches, dense, CHANGES[change]) for count in kept]
        found.append(Curve(np.array([*kept, order.size], np.float64), np.array([*values, 0.0])))
    told(len(sites), len(sites), "")
    return found


def output_change(model: nn.Module, dense: nn.Module, batches: Sequence[Inputs], change: str) -> float:
    """How much the outputs of a model differ from the dense one's on the first batches, by one of CHANGES."""
    batches = _first(batches)
    wanted = [_outputs(dense, inputs, number) for number, inputs in enumerate(batches)]
    return _changed(model, batches, wanted, CHANGES[change])


def _first(batches: Sequence[Inputs]) -> Sequence[Inputs]:
    samples = 0
    for number, inputs in enumerate(batches):
        samples += len(inputs[0])
        if samples >= SAMPLES:
            return batches[: number + 1]
    return batches


def _with_only(
    model: nn.Module,
    site: Transformed,
    mask: np.ndarray,
    batches: Sequence[Inputs],
    dense: list[list[Tensor]],
    change: Callable[[Tensor, Tensor], tuple[float, float]],
) -> float:
    stage = site.transform.prune
    whole = stage.mask
    stage.mask = torch.from_numpy(mask).to(site.original.device)
    try:
        return _changed(model, batches, dense, change)
    finally:
        stage.mask = whole


def _changed(
    model: nn.Module,
    batches: Sequence[Inputs],
    dense: list[list[Tensor]],
    change: Callable[[Tensor, Tensor], tuple[float, float]],
) -> float:
    sums = np.zeros((len(dense[0]), 2))
    for number, (inputs, wanted) in enumerate(zip(batches, dense, strict=True)):
        found = _outputs(model, inputs, number)
        sums += [change(output, before) for output, before in zip(found, wanted, strict=True)]
    return float(np.mean(sums[:, 0] / np.maximum(sums[:, 1], np.finfo(np.float64).tiny)))


def _outputs(model: nn.Module, inputs: Inputs, number: int) -> list[Tensor]:
    found = list(_tensors(call(model, inputs, number)))
    if not found:
        raise DataError("the model's output holds no floating-point tensor: nothing tells how much cutting changes it")
    for output in found:
        if not torch.isfinite(output).all():
            raise DataError(f"calibration batch {number}: the model's output holds NaN or infinity")
    return found


def _tensors(output: Any) -> Sequence[Tensor]:
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else []
    return [tensor for part in parts for tensor in _tensors(part)]
