"""Whether a layer runs on a kernel for balanced weights, or on bytes where a caller asks for that.

A layer with one tap is a product of its pixels, the tokens, with one matrix, which on bytes may be dense; with several
taps, or a stride, it is a `BalancedConvKernel`. The ways are measured beside the one that was chosen without them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import KernelError
from secateur.ir.balanced_format import GROUP, Balanced, balanced, balanced_codes, blocks_of, pattern
from secateur.ir.formats import Quantized
from secateur.ir.grid import Grid
from secateur.kernels.accuracy import SAMPLE_MARGIN, accuracy_limit, normal_input, sample_shape
from secateur.kernels.byte_maps import FLOATS, ByteMaps
from secateur.kernels.choice import KEPT_CHOICES, Candidate, Choice, now, time_of, timed
from secateur.kernels.emitters import emitters
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import LinearKernel, LinearOptions
from secateur.kernels.linear_weights import Weight
from secateur.kernels.machine import machine_name
from secateur.kernels.memory import aligned
from secateur.kernels.object_cache import read_object, write_object
from secateur.kernels.runnable import Runs, Setting
from secateur.kernels.shape import ConvShape, convolve, is_pointwise
from secateur.kernels.sparse_balanced import BalancedConvKernel, conv_matrix

if TYPE_CHECKING:
    from jaxtyping import Float32

FLOAT, BYTES = "float32", "dynamic-int8"
ACTIVATIONS = (FLOAT, BYTES)
"""How activations may be read: as they are, or in 8 bits with a scale a token (of one tap: a pixel; of several: an
image), weights with one a row."""
BALANCED = "balanced"
"""What a caller calls these kernels."""
MOST_FILLED = 0.5
"""Of the entries of a balanced matrix at most so many may be zeros that fill groups up: with more it is another
pattern that is met by chance."""
BYTE_ERROR = 5e-2
"""max|y - y64| / max|y64| that a layer on bytes may have on its own data; else it stays in float32."""
MOST_ENTRIES = 0.75
"""Entries of a balanced matrix at most, of those a dense one has: with few columns all may fit."""
LARGEST = 127
SAMPLE_TOKENS = 64
"""On which the error is measured."""


def balanced_count(weight: np.ndarray) -> int | None:
    """n of n:16 along the inputs of a matrix, or the input channels at every tap of a convolution's weight; None where
    there is none worth a kernel."""
    if not weight.size:
        return None
    matrix = np.moveaxis(weight, 1, -1).reshape(-1, weight.shape[1])
    count = pattern(matrix)
    if count is None:
        return None
    entries = len(matrix) * blocks_of(matrix.shape[1], GROUP) * count
    meant = np.count_nonzero(matrix) >= MOST_FILLED * entries and entries <= MOST_ENTRIES * matrix.size
    return count if meant else None


def has_ways(shape: ConvShape, weight: np.ndarray, activations: str) -> bool:
    """Whether there is anything to measure."""
    if shape.groups == 1 and balanced_count(weight) is not None:
        return True
    return is_pointwise(shape) and activations == BYTES


def with_balanced(
    setting: Setting, weight: Float32[np.ndarray, "k c r s"], chosen: tuple[Choice, Runs], activations: str
) -> Choice:
    """The fastest of what was chosen and these kernels, from the file of an earlier measurement where there is one.

    In float32 within the class of accuracy. In 8 bits the caller has to look at the error on the layer's own data: that
    on normal data, which depends on the weights and is theirs whoever was measured, only says what to expect.
    """
    choice, run = chosen
    parts = (emitters(), machine_name(), setting, choice.accuracy, choice.chosen, balanced_count(weight), activations)
    key = f"{KEPT_CHOICES}balanced-{hashlib.sha256(' '.join(map(str, parts)).encode()).hexdigest()}"
    if (kept := read_object(key)) is not None:
        return _with_own_error(Choice.from_json(kept.decode()), setting, weight)
    ways: list[tuple[Candidate, Runs]] = [(choice.chosen, run)]
    for one, kernel in _candidates(setting, weight, activations):
        if one.arithmetic == BYTES or (one.error is not None and one.error <= choice.limit):
            ways.append((one, kernel))
    found = sorted(timed(setting, ways), key=time_of)
    others = [one for one in choice.candidates if one.algorithm != choice.chosen.algorithm]
    made = replace(choice, chosen=found[0], candidates=(*found, *others), how="measurement", measured=now())
    write_object(key, made.to_json().encode())
    return made


def _with_own_error(choice: Choice, setting: Setting, weight: np.ndarray) -> Choice:
    """With the error that these weights have in 8 bits instead of those that were measured."""
    chosen = choice.chosen
    if chosen.arithmetic != BYTES:
        return choice
    own = replace(chosen, error=_error(setting, weight, BYTES))
    return replace(choice, chosen=own, candidates=tuple(own if one == chosen else one for one in choice.candidates))


def forced_balanced(
    setting: Setting, weight: Float32[np.ndarray, "k c r s"], accuracy: str, activations: str
) -> Choice:
    """These kernels as a caller wants them, whatever they cost."""
    if not has_ways(setting.shape, weight, activations):
        raise KernelError(
            f"algorithm {BALANCED!r} needs one group, and weights that hold 1, 2, 4 or 8 of {GROUP} input channels"
        )
    one, _ = _candidates(setting, weight, activations)[0]
    return Choice(one, (one,), accuracy, accuracy_limit(accuracy), "the caller")


def allowed(one: Candidate, limit: float) -> float:
    """The error that a candidate may have, where a float32 one may have `limit`."""
    return BYTE_ERROR if one.arithmetic == BYTES else limit


def kernel_of(
    setting: Setting,
    weight: Float32[np.ndarray, "k c r s"],
    bias: np.ndarray | None,
    arithmetic: str,
    maps: ByteMaps = FLOATS,
) -> LinearKernel | BalancedConvKernel:
    """The kernel for a layer that `has_ways`."""
    shape, options = setting.shape, LinearOptions(setting.threads, setting.target.name, maps=maps)
    count = balanced_count(weight)
    if not is_pointwise(shape):
        assert count is not None
        packed = _packable(conv_matrix(weight, count), count, arithmetic)
        assert isinstance(packed, Balanced)
        return BalancedConvKernel(shape, packed, bias, epilogue=setting.epilogue, options=options)
    packed = _packable(np.ascontiguousarray(weight.reshape(len(weight), -1)), count, arithmetic)
    tokens = shape.batch * shape.height * shape.width
    return LinearKernel(tokens, packed, bias, epilogue=setting.epilogue, options=options)


def _packable(matrix: Float32[np.ndarray, "rows columns"], count: int | None, arithmetic: str) -> Weight:
    """Balanced where it holds a pattern; in 8 bits with the largest of a row as its 127."""
    if arithmetic == FLOAT:
        return balanced(matrix, count)
    largest = np.abs(matrix).max(axis=1, initial=0)
    scale = np.where(largest > 0, largest / np.float32(LARGEST), 1).astype(np.float32)
    codes = np.rint(matrix / scale[:, None]).astype(np.int8)
    return Quantized(codes, Grid(8, scale)) if count is None else balanced_codes(codes, scale, count)


def _candidates(
    setting: Setting, weight: np.ndarray, activations: str
) -> list[tuple[Candidate, LinearKernel | BalancedConvKernel]]:
    """Those that fit, bytes first, with their errors."""
    found = []
    for arithmetic in (BYTES, FLOAT):
        if arithmetic == BYTES and activations != BYTES:
            continue
        if arithmetic == FLOAT and balanced_count(weight) is None:
            continue
        kernel = kernel_of(setting, weight, None, arithmetic)
        error = _error(setting, weight, arithmetic)
        found.append((Candidate(kernel.name, None, None, None, error, arithmetic=arithmetic), kernel))
    return found


def _error(setting: Setting, weight: np.ndarray, arithmetic: str) -> float:
    """max|y - y64| / max|y64| of a layer's own weights on normal input, with the margin of a sample."""
    if is_pointwise(setting.shape):
        shape, some = ConvShape(1, 1, SAMPLE_TOKENS, weight.shape[1], len(weight), (1, 1)), weight
    else:
        shape = sample_shape(setting.shape)
        some = np.ascontiguousarray(weight[: shape.out_channels])
    x, part = normal_input(shape, 0), Setting(shape, Epilogue(), setting.target, 1)
    wanted, found = convolve(shape, x, some), aligned(shape.output_shape)
    largest = np.abs(wanted).max(initial=0)
    kernel_of(part, some, None, arithmetic).run(x.ctypes.data, found.ctypes.data)
    return 0.0 if largest == 0 else SAMPLE_MARGIN * float(np.abs(found - wanted).max() / largest)
