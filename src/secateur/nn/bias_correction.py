"""Correct biases for what quantization shifts: every layer's mean output, channel by channel, as without quantization.

Rounding weights and clipping maps moves the mean of a layer's outputs, and the next layers pass that on. Layers are
corrected in the order in which they run, each on what the corrected layers before it give. Source: Nagel et al.,
"Data-free quantization through weight equalization and bias correction", arXiv 1906.04721, section 4.2, the empirical
form.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from secateur.errors import DataError, PlanError
from secateur.nn.layer_inputs import Inputs, Reached, call, calls_of

Told = Callable[[int, int, str], None]
"""Hears how many layers of how many are done, and which comes next."""


def correct_biases_(coarse: nn.Module, fine: nn.Module, batches: Sequence[Inputs], told: Told) -> dict[str, float]:
    """Move the biases of the quantized model `coarse`, in place, to the channel means of `fine`, the same model without
    quantization, both in evaluation mode and without gradients.

    Layers are linear ones, convolutions, and batch norms, as far as they have a bias. Gives, by path, how far the means
    were apart before, root mean square over the channels relative to that of the means of `fine`. PlanError where
    the layers are not the same; DataError where a model fails on a batch.
    """
    paths = {module: path for path, module in fine.named_modules() if _axis(module) is not None}
    known = dict(coarse.named_modules())
    for layer, path in paths.items():
        bias = getattr(known.get(path), "bias", None)
        if bias is None or bias.shape != cast(Tensor, layer.bias).shape:
            raise PlanError(
                f"the layers of the two models are not the same: {path} has no bias of its size in this one"
            )
    order = calls_of(fine, list(paths), (0, batches[0]))
    wanted = _means(fine, order, batches)
    found: dict[str, float] = {}
    for done, (layer, count) in enumerate(order.items()):
        path = paths[layer]
        told(done, len(order), path)
        twin = coarse.get_submodule(path)
        lacking = wanted[layer] - _means(coarse, {twin: count}, batches)[twin]
        size = float(wanted[layer].square().mean().sqrt()) or 1.0
        found[path] = float(lacking.square().mean().sqrt()) / size
        cast(Any, twin).bias.add_(lacking.to(cast(Any, twin).bias))
    told(len(order), len(order), "")
    return found


def _axis(module: nn.Module) -> int | None:
    """Of the channels in the output of a layer with a bias."""
    if not isinstance(module, nn.Linear | _ConvNd | _BatchNorm) or module.bias is None:
        return None
    return -1 if isinstance(module, nn.Linear) else 1


def _means(model: nn.Module, calls: Mapping[nn.Module, int], batches: Sequence[Inputs]) -> dict[nn.Module, Tensor]:
    """Mean of every channel of these layers' outputs, in float64 on the CPU. calls: how often each runs on a batch; a
    pass ends with the last."""
    totals = dict.fromkeys(calls, torch.zeros((), dtype=torch.float64))
    samples, left = dict.fromkeys(calls, 0), 0

    def hook(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal left
        rows = output.detach().movedim(cast(int, _axis(layer)), 0).flatten(1).cpu().double()
        totals[layer] = totals[layer] + rows.sum(1)
        samples[layer] += rows.shape[1]
        left -= 1
        if not left:
            raise Reached

    handles = [layer.register_forward_hook(hook) for layer in calls]
    try:
        for number, inputs in enumerate(batches):
            left = sum(calls.values())
            with contextlib.suppress(Reached):
                call(model, inputs, number)
    finally:
        for handle in handles:
            handle.remove()
    if not all(samples.values()) or not all(torch.isfinite(total).all() for total in totals.values()):
        raise DataError("a layer gave NaN, infinity or nothing on the calibration batches")
    return {layer: total / samples[layer] for layer, total in totals.items()}
