"""Repair after cutting, without labels: kept weights, biases and batch-norm statistics against the dense model.

Layers are repaired in the order in which they run. Each sees the inputs that the repaired layers before it give, and is
fitted to what the dense layer gives on the dense model's inputs (the formulas: `maths.least_squares`). So a layer also
makes up for what was lost before it. A bias takes part as the weight of an input that is always 1. Where a weight has a
pattern, which of its weights stay is decided anew, together with their values (`nn.pattern_fit`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.maths.least_squares import masked_least_squares, squared_error
from secateur.nn.layer_inputs import Inputs, calls_of, rows_of, see
from secateur.nn.pattern_fit import pattern_mask
from secateur.nn.transform import Transformed, transforms_of

RIDGE = 0.01
"""The ridge in units of the mean square of an input (chosen on validation data: docs/one_shot.md)."""
LARGEST_INPUT = 6144
"""Of layers with more inputs only the bias is fitted: their matrix of inputs would take more than 300 MB."""
REPAIRABLE = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Modules whose weight is multiplied with rows of their input; exactly these, as a subclass may compute something
else."""


@dataclass(frozen=True)
class Repaired:
    """One layer's error on the calibration batches, relative to the dense layer's energy: sum |y - y0|^2 / sum |y0|^2,
    right after cutting and after the repair. note says what was not fitted, "" where everything was."""

    before: float
    after: float
    note: str = ""


@dataclass
class _Sums:
    """What least squares needs to know, one entry a group of a convolution."""

    gram: list[np.ndarray] = field(default_factory=list)
    wanted: list[np.ndarray] = field(default_factory=list)
    energy: list[float] = field(default_factory=list)


def viewed(
    sites: Sequence[Transformed], dense: nn.Module, batch: tuple[int, Inputs]
) -> tuple[dict[nn.Module, int], dict[str, str]]:
    """Modules of the dense copy whose weights' inputs can be seen, in the order of their first calls, with how often
    they are called on a batch; and by name of every other weight why its inputs cannot."""
    modules = {site.name: dense.get_submodule(site.name.rpartition(".")[0]) for site in sites}
    calls = calls_of(dense, list(modules.values()), batch)
    reasons = {site.name: _blindness(site, modules[site.name], calls) for site in sites}
    seen = {module for name, module in modules.items() if not reasons[name]}
    return {m: n for m, n in calls.items() if m in seen}, {name: why for name, why in reasons.items() if why}


def _blindness(site: Transformed, module: nn.Module, calls: dict[nn.Module, int]) -> str:
    if type(module) not in REPAIRABLE:
        return f"no rule says what {site.tensor} of {type(module).__name__} is multiplied with"
    if site.transform.row.tied:
        return f"one tensor with {', '.join(site.transform.row.tied)}"
    if module not in calls:
        return "its module is never called: another one passes the weight to a function"
    return ""


def input_energies(dense: nn.Module, calls: dict[nn.Module, int], batches: Sequence[Inputs]) -> dict[nn.Module, Tensor]:
    """Mean square of every input of every module, (groups, inputs of a group) in float64 on the CPU."""
    sums: dict[nn.Module, Tensor] = {}
    samples = dict.fromkeys(calls, 0)

    def visit(module: nn.Module, x: Tensor) -> None:
        for rows in rows_of(module, x):
            sums[module] = sums.get(module, torch.zeros((), dtype=torch.float64)) + rows.square().sum(1)
            samples[module] += rows.shape[1]

    for numbered in enumerate(batches):
        see(dense, calls, numbered, visit)
    return {module: total / max(1, samples[module]) for module, total in sums.items()}


def repair_(
    cut: nn.Module,
    dense: nn.Module,
    batches: Sequence[Inputs],
    calls: dict[nn.Module, int],
    told: Callable[[int, int, str], None],
) -> dict[str, Repaired]:
    """Repair a hardened model in place against its dense copy; by name of the weight what that did.

    Both in evaluation mode and without gradients; calls names modules of `dense`, as `viewed` found them. told
    hears how many layers of how many are done, and which comes next.
    """
    paths = {module: path for path, module in dense.named_modules()}
    sites = {id(site.module): site for site in transforms_of(cut)}
    norms = [module for module in dense.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]
    order = calls_of(dense, [*calls, *norms], (0, batches[0]))
    found: dict[str, Repaired] = {}
    for done, (module, count) in enumerate(order.items()):
        path = paths[module]
        told(done, len(order), path)
        twin = cut.get_submodule(path)
        runs = _Runs(cut, dense, batches, count)
        if isinstance(module, _BatchNorm):
            _shift_statistics(module, cast(_BatchNorm, twin), runs)
        else:
            site = sites[id(twin)]
            wide = site.original[0].numel() > LARGEST_INPUT
            found[site.name] = (_shift_bias if wide else _repair_layer)(site, module, runs)
    told(len(order), len(order), "")
    return found


@dataclass(frozen=True)
class _Runs:
    """The two models, run side by side over the batches up to one layer."""

    cut: nn.Module
    dense: nn.Module
    batches: Sequence[Inputs]
    calls: int

    def pairs(self, module: nn.Module, twin: nn.Module, visit: Callable[[Tensor, Tensor], None]) -> None:
        """visit(input of the dense layer, input of the cut layer) for every call on every batch."""
        for number, inputs in enumerate(self.batches):
            wanted: list[Tensor] = []
            given: list[Tensor] = []
            for model, layer, seen in ((self.dense, module, wanted), (self.cut, twin, given)):
                # What follows a first call may change its input in place.
                see(model, {layer: self.calls}, (number, inputs), lambda _, x, seen=seen: seen.append(x.clone()))
            for x, z in zip(wanted, given, strict=True):
                visit(x, z)


def _repair_layer(site: Transformed, module: nn.Module, runs: _Runs) -> Repaired:
    layer = cast(nn.Linear, module)
    groups = getattr(module, "groups", 1)
    dense = _matrix(layer.weight, layer.bias, groups)
    sums = _Sums([np.zeros(())] * groups, [np.zeros(())] * groups, [0.0] * groups)

    def visit(x: Tensor, z: Tensor) -> None:
        for dense_rows, rows in zip(rows_of(module, x), rows_of(module, z), strict=True):
            for g in range(groups):
                given, wanted = _with_one(rows[g], layer.bias), _with_one(dense_rows[g], layer.bias) @ dense[g].T
                sums.gram[g] = sums.gram[g] + (given.T @ given).numpy()
                sums.wanted[g] = sums.wanted[g] + (wanted.T @ given).numpy()
                sums.energy[g] += float(wanted.square().sum())

    runs.pairs(module, site.module, visit)
    mask = _stage_mask(site)
    before = sum(_error(sums, g, w) for g, w in enumerate(_kept(site, mask, groups)[0]))
    found = pattern_mask(site, sums.gram, sums.wanted, [_ridge(gram) for gram in sums.gram])
    solved, after = _fitted(site, sums, mask if found is None else found)
    if found is not None and after <= before:
        mask = found
        site.transform.prune.harden(mask)
    elif found is not None:
        solved, after = _fitted(site, sums, mask)
    _write(site, solved, mask)
    energy = max(sum(sums.energy), np.finfo(np.float64).tiny)
    return Repaired(before / energy, after / energy)


def _fitted(site: Transformed, sums: _Sums, mask: Tensor) -> tuple[Tensor, float]:
    """Values under a mask, bias last, and the squared error that they leave."""
    solved, error = [], 0.0
    starts, masks = _kept(site, mask, len(sums.gram))
    for g, (start, kept) in enumerate(zip(starts, masks, strict=True)):
        w = masked_least_squares(sums.gram[g], sums.wanted[g], start, kept > 0, ridge=_ridge(sums.gram[g]))
        solved.append(torch.from_numpy(w))
        error += _error(sums, g, w)
    return torch.cat(solved), error


def _kept(site: Transformed, mask: Tensor, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """By group the weights under a mask, and that mask, both with the bias as a last column."""
    bias = cast(nn.Linear, site.module).bias
    ones = None if bias is None else torch.ones_like(bias)
    return _matrix(site.original * mask, bias, groups).numpy(), _matrix(mask.double(), ones, groups).numpy()


def _error(sums: _Sums, g: int, w: np.ndarray) -> float:
    return squared_error(sums.gram[g], sums.wanted[g], sums.energy[g], w)


def _ridge(gram: np.ndarray) -> float:
    """Of inputs that are all zero the ridge is the whole objective: any size holds the weights where they are, but one
    near the smallest number has no inverse."""
    size = float(np.diag(gram).mean())
    return RIDGE * (size if size > np.finfo(np.float64).tiny / RIDGE else 1.0)


def _shift_bias(site: Transformed, module: nn.Module, runs: _Runs) -> Repaired:
    """The bias alone: the mean of what the outputs lack."""
    layer, twin = cast(nn.Linear, module), cast(nn.Linear, site.module)
    groups = getattr(module, "groups", 1)
    dense, cut = _matrix(layer.weight, None, groups), _matrix(site.original * _stage_mask(site), None, groups)
    offset = 0.0 if layer.bias is None else layer.bias.detach().cpu().double().reshape(groups, 1, -1)
    lacking, squares, energy, samples = torch.zeros((), dtype=torch.float64), 0.0, 0.0, 0

    def visit(x: Tensor, z: Tensor) -> None:
        nonlocal lacking, squares, energy, samples
        for dense_rows, rows in zip(rows_of(module, x), rows_of(module, z), strict=True):
            wanted = dense_rows @ dense.transpose(1, 2)
            lost = wanted - rows @ cut.transpose(1, 2)
            lacking = lacking + lost.sum(1).flatten()
            squares += float(lost.square().sum())
            energy += float((wanted + offset).square().sum())
            samples += rows.shape[1]

    runs.pairs(module, site.module, visit)
    energy = max(energy, np.finfo(np.float64).tiny)
    note = f"more than {LARGEST_INPUT:,} inputs: of its values only the bias was fitted"
    if layer.bias is None:
        return Repaired(squares / energy, squares / energy, note.replace("only the bias", "none"))
    twin.bias.add_(lacking.to(twin.bias) / samples)
    return Repaired(squares / energy, max(0.0, squares - float(lacking.square().sum()) / samples) / energy, note)


def _matrix(weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """(groups, outputs of a group, inputs of a group, and 1 for the bias) in float64 on the CPU."""
    matrix = weight.detach().flatten(1).cpu().double()
    if bias is not None:
        matrix = torch.cat([matrix, bias.detach().cpu().double()[:, None]], 1)
    return matrix.reshape(groups, -1, matrix.shape[1])


def _with_one(rows: Tensor, bias: Tensor | None) -> Tensor:
    return rows if bias is None else torch.cat([rows, rows.new_ones(len(rows), 1)], 1)


def _stage_mask(site: Transformed) -> Tensor:
    mask = site.transform.prune.mask
    assert mask is not None, "only a hardened model is repaired"
    return mask


def _write(site: Transformed, solved: Tensor, mask: Tensor) -> None:
    """Kept weights and the bias take their new values; removed weights keep the ones they had."""
    w, bias = site.original, cast(Any, site.module).bias
    if bias is not None:
        bias.copy_(solved[:, -1])
        solved = solved[:, :-1]
    w.copy_(torch.where(mask, solved.reshape(w.shape).to(w), w))


def _shift_statistics(norm: _BatchNorm, twin: _BatchNorm, runs: _Runs) -> None:
    """Move a batch norm's statistics as the cut model's inputs moved against the dense model's on the same batches.

    Means by their difference, variances by their ratio: the statistics of the whole training set stay the base, so that
    a few batches are enough, and nothing changes where nothing was cut.
    """
    sums = [[torch.zeros((), dtype=torch.float64) for _ in range(2)] for _ in range(2)]
    samples = 0

    def visit(x: Tensor, z: Tensor) -> None:
        nonlocal samples
        for moments, values in zip(sums, (x, z), strict=True):
            channels = values.detach().cpu().double().transpose(0, 1).flatten(1) if values.dim() > 1 else values
            moments[0] = moments[0] + channels.sum(1)
            moments[1] = moments[1] + channels.square().sum(1)
        samples += x.numel() // x.shape[1]

    runs.pairs(norm, twin, visit)
    (mean, variance), (new_mean, new_variance) = (
        (first / samples, second / samples - (first / samples) ** 2) for first, second in sums
    )
    assert twin.running_mean is not None
    assert twin.running_var is not None
    ratio = torch.where(variance > 1e-12, new_variance.clamp_min(0) / variance.clamp_min(1e-12), 1.0)
    twin.running_mean.copy_(twin.running_mean.cpu() + (new_mean - mean))
    twin.running_var.copy_(twin.running_var.cpu() * ratio.clamp(1e-3, 1e3))
