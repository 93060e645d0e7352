"""Whether one layer runs on a kernel: it must be possible, accurate on the layer's own data, and faster than torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from secateur.bridge import by_torch
from secateur.bridge.accelerated_conv import AcceleratedConv
from secateur.bridge.map_bytes import codes_of, numbers_of
from secateur.bridge.timing import Comparison, compare
from secateur.bridge.trial import Call, Site, Trial, made_for
from secateur.errors import KernelError
from secateur.kernels.acceleration import LayerReport
from secateur.kernels.accuracy import accuracy_limit
from secateur.kernels.balanced_choice import BYTE_ERROR, FLOAT, allowed
from secateur.kernels.byte_maps import FLOATS
from secateur.kernels.choice import Choice, now
from secateur.kernels.sparse_choice import told_zeros

Decision = tuple[LayerReport, AcceleratedConv | None]
Data = tuple[Tensor, Tensor | None]
"""Input and residual."""
LAYER_SECONDS = 0.25
CHECKED_MACS = 1 << 30
"""The error of a layer is measured on as many rows of its first image as take so many multiplications; of an image one
pixel high (a linear layer's tokens), on as many columns."""
OWN_DATA_MARGIN = 4.0
"""A class bounds the error on normal data; on a layer's own weights and the example it may be so many times larger."""


def decided(site: Site, x: Tensor, residual: Tensor | None, trial: Trial) -> Decision:
    """What becomes of a layer with this input: its row of the report, and the module that replaces it or None. One with
    maps of bytes takes and gives codes of them; x and residual are their numbers."""
    usual = _with_floats(site, x, residual, trial)
    told = replace(usual[0], maps=site.handed.told)
    if site.handed.maps == FLOATS:
        return told, usual[1]
    return _with_bytes(site, (x, residual), trial, (told, usual[1]))


def _with_floats(site: Site, x: Tensor, residual: Tensor | None, trial: Trial) -> Decision:
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


def _decided(site: Site, x: Tensor, residual: Tensor | None, trial: Trial, report: LayerReport) -> Decision:
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
    report = replace(report, zeros=told_zeros(made.wide_weight.numpy(), choice))
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


def _with_bytes(site: Site, data: Data, trial: Trial, usual: Decision) -> Decision:
    """On maps of bytes if the error is small enough, and if it is faster than what there is without, with the
    quantizer behind that."""
    (row, floats), maps = usual, site.handed.maps
    made = made_for(site, site.conv, trial.asked, maps)
    x, residual = codes_of(data[0], maps.takes), None if data[1] is None else codes_of(data[1], maps.adds)
    made.plan_for(x)
    kept = made.kept(x, residual)
    if kept.kernel is None:
        return replace(row, maps=f"float32: on bytes, {kept.reason}"), floats
    chosen, error = kept.kernel.choice.chosen, _error(made, *data)
    if not error <= BYTE_ERROR:
        return replace(row, maps=f"float32: on bytes it has an error of {error:.1e} on its own data"), floats
    row = replace(row, error=error, class_error=chosen.error)
    if trial.measure:
        beside = _beside(site, data)
        first, second = (lambda: made(x, residual)), (lambda: made(codes_of(data[0], maps.takes), residual))
        on_bytes = first if site.handed.before is None else second
        torchs = _by_torch(site, *data)
        usual_way = torchs if floats is None else lambda: floats(*data)
        if not compare(lambda: beside(usual_way), on_bytes, seconds=LAYER_SECONDS).faster:
            why = f"float32: {chosen.algorithm} on bytes is not faster by more than noise"
            return replace(usual[0], maps=why), floats
        times = compare(lambda: beside(torchs), on_bytes, seconds=LAYER_SECONDS)
        row = replace(row, before_us=times.before_us, after_us=times.after_us, measured=now())
    return replace(row, algorithm=chosen.algorithm, fused=site.fused, reason="", tried=""), made


def _beside(site: Site, data: Data) -> Callable[[Callable[[], Tensor]], Tensor]:
    """A way to compute the layer with numbers, and the quantizers whose work one on bytes does."""
    before, after = site.handed.before, site.handed.after

    def run(way: Callable[[], Tensor]) -> Tensor:
        if before is not None:
            before(data[0])
        return way() if after is None else after(way())

    return run


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
    """max|y - y64| / max|y64| on rows of the first image, for a residual of zeros, divided before the activation. Where
    it gives bytes with the residual itself, which the scale is for, and y64 on the same map."""
    wide, weight, layer = made.prepared(x), made.wide_weight, made.plan
    takes, gives, adds = layer.maps.takes, layer.maps.gives, layer.maps.adds
    added = residual if residual is None or gives is not None else torch.zeros_like(residual)
    given = made(codes_of(x, takes), None if added is None else codes_of(added, adds))
    found = made.plane(numbers_of(given, gives, weight.dtype))[:1]
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
    y = y if added is None else y + made.plane(added)[:1, :, :rows, :columns]
    wanted = numbers_of(codes_of(by_torch.activated(y, layer), gives), gives, y.dtype)
    worst, scale = (found[:, :, :rows, :columns].double() - wanted).abs().max(), y.abs().max()
    return float(worst / scale if scale > 0 else worst)
