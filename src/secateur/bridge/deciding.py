"""Whether one layer runs on a kernel: it must be possible, accurate on the layer's own data, and faster than torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from secateur.bridge import by_torch
from secateur.bridge.accelerated_conv import AcceleratedConv
from secateur.bridge.timing import Comparison, compare
from secateur.bridge.trial import Call, Site, Trial, made_for
from secateur.errors import KernelError
from secateur.kernels.acceleration import LayerReport
from secateur.kernels.accuracy import accuracy_limit
from secateur.kernels.balanced_choice import FLOAT, allowed
from secateur.kernels.choice import Choice
from secateur.kernels.sparse_choice import told_zeros

LAYER_SECONDS = 0.25
CHECKED_MACS = 1 << 30
"""The error of a layer is measured on as many rows of its first image as take so many multiplications; of an image one
pixel high (a linear layer's tokens), on as many columns."""
OWN_DATA_MARGIN = 4.0
"""A class bounds the error on normal data; on a layer's own weights and the example it may be so many times larger."""


def decided(site: Site, x: Tensor, residual: Tensor | None, trial: Trial) -> tuple[LayerReport, AcceleratedConv | None]:
    """What becomes of a layer with this input: its row of the report, and the module that replaces it or None."""
    report = LayerReport(site.name, f"{_sizes(x.shape)}, {_sizes(site.conv.weight.shape)}", fused=site.fused)
    reason = Call(site, tuple(x.shape), x.dtype).refusal(trial.asked.activations)
    if reason:
        return replace(report, reason=reason), None
    row, found = _decided(site, x, residual, trial, report)
    if found is None and row.error is not None and trial.asked.activations != FLOAT:
        plain = replace(trial, asked=replace(trial.asked, activations=FLOAT))
        again, made = _decided(site, x, residual, plain, report)
        return replace(again, tried="" if again.reason == row.reason else row.reason), made
    return row, found


def _decided(
    site: Site, x: Tensor, residual: Tensor | None, trial: Trial, report: LayerReport
) -> tuple[LayerReport, AcceleratedConv | None]:
    made = made_for(site, site.conv, trial.asked)
    made.plan_for(x)
    try:
        kept = made.kept(x, residual)
    except KernelError as error:
        return replace(report, reason=str(error)), None
    if kept.kernel is None:
        return replace(report, reason=kept.reason), None
    choice, chosen = kept.kernel.choice, kept.kernel.choice.chosen
    error = _error(made, x, residual)
    report = replace(report, error=error, class_error=chosen.error, measured=choice.measured)
    report = replace(report, zeros=told_zeros(made.weight.numpy(), choice))
    limit = allowed(chosen, OWN_DATA_MARGIN * accuracy_limit(trial.asked.accuracy))
    if not error <= limit:
        why = f"{chosen.algorithm} has an error of {error:.1e} on its own data, above {limit:.1e}"
        return replace(report, reason=why), None
    if trial.measure:
        measured = _compared(site, (made, choice), x, residual, trial)
        report = replace(report, before_us=measured.before_us, after_us=measured.after_us)
        if not measured.faster:
            return replace(report, reason=f"{chosen.algorithm} is not faster by more than noise"), None
    return replace(report, algorithm=chosen.algorithm), made


def _compared(
    site: Site, what: tuple[AcceleratedConv, Choice], x: Tensor, residual: Tensor | None, trial: Trial
) -> Comparison:
    """Times of torch and of the kernel, measured once for layers that differ in the values of weights alone (but not in
    how many are zero, where that was looked at)."""
    made, choice = what
    tensors = [None if t is None else (t.shape, t.stride()) for t in (x, residual, site.conv.weight, site.conv.bias)]
    alike = (made.layer, made.mode, choice.zeros, choice.chosen.algorithm, *made.around, *tensors)
    if alike not in trial.compared:
        torchs = _by_torch(site, x, residual)
        trial.compared[alike] = compare(torchs, lambda: made(x, residual), seconds=LAYER_SECONDS)
    return trial.compared[alike]


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _by_torch(site: Site, x: Tensor, residual: Tensor | None) -> Callable[[], Tensor]:
    """The same work by torch's own operators."""
    finish = {
        "none": lambda y: y,
        "relu": torch.relu_,
        "relu6": lambda y: nn.functional.relu6(y, inplace=True),
        "leaky_relu": lambda y: nn.functional.leaky_relu(y, site.slope, inplace=True),
    }[site.activation]

    def run() -> Tensor:
        y = site.conv(x)
        return finish(y if residual is None else y.add_(residual))

    return run


def _error(made: AcceleratedConv, x: Tensor, residual: Tensor | None) -> float:
    """max|y - y64| / max|y64| on rows of the first image, for a residual of zeros, divided before the activation."""
    wide, weight, layer = made.prepared(x), made.weight, made.plan
    found = made.plane(made(x, None if residual is None else torch.zeros_like(residual)))[:1]
    rows = max(1, min(found.shape[2], CHECKED_MACS // max(1, found.shape[3] * weight.numel())))
    columns = found.shape[3] if found.shape[2] > 1 else max(1, min(found.shape[3], CHECKED_MACS // weight.numel()))
    last = [
        (count - 1) * stride + dilation * (taps - 1) + 1
        for count, stride, dilation, taps in zip(
            (rows, columns), layer.stride, layer.dilation, weight.shape[2:], strict=True
        )
    ]
    top, bottom, left, right = layer.padding
    part = nn.functional.pad(wide[:1], (left, right, top, bottom))[:, :, : last[0], : last[1]].double()
    bias = None if made.bias is None else made.bias.double()
    y = torch.conv2d(part, weight.double(), bias, layer.stride, 0, layer.dilation, layer.groups)
    worst, scale = (found[:, :, :rows, :columns].double() - by_torch.activated(y, layer)).abs().max(), y.abs().max()
    return float(worst / scale if scale > 0 else worst)
