"""Whether a layer whose weights hold many zeros is computed from the others alone: measured beside the dense way."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import KernelError
from secateur.kernels.accuracy import SAMPLE_MARGIN, accuracy_limit, normal_input, sample_shape
from secateur.kernels.choice import KEPT_CHOICES, Candidate, Choice, now, time_of, timed, with_any_weights
from secateur.kernels.emitters import emitters
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear_form import DENSE
from secateur.kernels.machine import machine_name
from secateur.kernels.memory import aligned
from secateur.kernels.object_cache import read_object, write_object
from secateur.kernels.runnable import Setting, padded_bias
from secateur.kernels.shape import convolve
from secateur.kernels.sparse_cut import SparseCut, cuts
from secateur.kernels.sparse_runnable import sparse_runnable, sparse_weights

if TYPE_CHECKING:
    from jaxtyping import Float32

SPARSE_NAME = "sparse"
LEAST_ZEROS = 0.7
"""Below, a dense way has been faster on every layer that was measured, and the sparse one is not tried."""
FEWEST_ZEROS = 0.05
"""Fewer are not worth a word."""
STEP = 0.05
"""Weights count as equally sparse within so much; what was measured for some holds for others."""
ROUNDING = 1e-9
"""A fraction that is a multiple of STEP counts as one whatever its last digit."""
CUTS = 3
"""Ways to cut a layer up that are measured."""


def zeros_of(weight: np.ndarray) -> float:
    """The fraction of a weight that is zero; 0.0 of an empty one."""
    return 1 - np.count_nonzero(weight) / weight.size if weight.size else 0.0


def enough_zeros(weight: np.ndarray) -> float:
    """The fraction rounded down to a multiple of STEP; 0.0 where it is below LEAST_ZEROS."""
    found = zeros_of(weight)
    return round(int(found / STEP + ROUNDING) * STEP, 2) if found >= LEAST_ZEROS else 0.0


def with_sparse(setting: Setting, weight: Float32[np.ndarray, "k c r s"], dense: Choice) -> Choice:
    """The faster of what was chosen for dense weights and the sparse kernel, from the file of an earlier measurement
    where there is one for as many zeros."""
    zeros = enough_zeros(weight)
    parts = (emitters(), machine_name(), setting, dense.accuracy, dense.chosen.algorithm, zeros)
    key = f"{KEPT_CHOICES}sparse-{hashlib.sha256(' '.join(map(str, parts)).encode()).hexdigest()}"
    kept = read_object(key)
    if kept is not None:
        return Choice.from_json(kept.decode())
    choice = replace(_measured(setting, weight, dense), zeros=zeros)
    write_object(key, choice.to_json().encode())
    return choice


def forced_sparse(setting: Setting, weight: Float32[np.ndarray, "k c r s"], accuracy: str) -> Choice:
    """The sparse kernel as a caller wants it, whatever it costs."""
    found = cuts(setting.shape, setting.target, int(np.count_nonzero(weight)), 1)
    if not found:
        raise KernelError(f"algorithm {SPARSE_NAME!r} needs more than 2 GiB for a layer of {setting.shape}")
    one = Candidate(SPARSE_NAME, None, None, None, sparse_error(setting, weight, found[0]), found[0])
    return Choice(one, (one,), accuracy, accuracy_limit(accuracy), "the caller")


def _measured(setting: Setting, weight: np.ndarray, dense: Choice) -> Choice:
    """The dense way and the best cuts in turns; the error is measured where the sparse one wins."""
    bias = padded_bias(None, setting.shape, setting.target)
    runs = [(dense.chosen, with_any_weights(setting, dense.chosen))]
    for cut in cuts(setting.shape, setting.target, int(np.count_nonzero(weight)), CUTS):
        made = sparse_runnable(setting, cut, sparse_weights(weight, setting, cut), bias)
        runs.append((Candidate(SPARSE_NAME, None, None, None, None, cut), made))
    found = sorted(timed(setting, runs), key=time_of)
    best = found[0]
    if best.cut is not None:
        error = sparse_error(setting, weight, best.cut)
        best = found[0] = replace(best, error=error)
        if not error <= dense.limit:
            best = next(one for one in found if one.cut is None)
    return replace(dense, chosen=best, candidates=tuple(found), how="measurement", measured=now())


def sparse_error(setting: Setting, weight: Float32[np.ndarray, "k c r s"], cut: SparseCut) -> float:
    """max|y - y64| / max|y64| of the sum over a layer's own weights on normal input, with the margin of a sample."""
    shape, target = sample_shape(setting.shape), setting.target
    part, some = Setting(shape, Epilogue(), target, 1), np.ascontiguousarray(weight[: shape.out_channels])
    x, y = normal_input(shape, 0), aligned(shape.output_shape)
    made = sparse_runnable(part, cut, sparse_weights(some, part, cut), padded_bias(None, shape, target))
    made.run(x.ctypes.data, y.ctypes.data)
    wanted = convolve(shape, x, some)
    largest = abs(wanted).max(initial=0)
    return 0.0 if largest == 0 else SAMPLE_MARGIN * float(abs(y - wanted).max() / largest)


def told_zeros(weight: np.ndarray, choice: Choice) -> str:
    """What a layer's zeros are good for, in a few words; nothing where there are hardly any."""
    zeros = zeros_of(weight)
    if zeros < FEWEST_ZEROS:
        return ""
    told, chosen = f"{zeros:.0%}", choice.chosen
    if _reads_zeros(chosen):
        return told
    times: dict[str, float] = {}
    for one in filter(_reads_zeros, choice.candidates):
        times[one.algorithm] = min(time_of(one), times.get(one.algorithm, float("inf")))
    if not times:
        return f"{told}, sparse from {LEAST_ZEROS:.0%} on"
    times[chosen.algorithm] = time_of(chosen)
    return ", ".join([told, *(f"{name} {time:.0f} us" for name, time in times.items())])


def _reads_zeros(one: Candidate) -> bool:
    """Whether it computes from non-zeros alone."""
    return one.cut is not None or (one.arithmetic is not None and one.algorithm != DENSE)
