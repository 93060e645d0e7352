"""Conv2dKernel: one convolutional layer as generated code, chosen for its shape and this machine."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from secateur.errors import KernelError
from secateur.kernels.ahead import build_ahead
from secateur.kernels.arrays import check_array
from secateur.kernels.balanced_choice import (
    ACTIVATIONS,
    BALANCED,
    BYTES,
    FLOAT,
    forced_balanced,
    has_ways,
    kernel_of,
    with_balanced,
)
from secateur.kernels.build import CodeUnit
from secateur.kernels.byte_maps import FLOATS, ByteMaps, dtype_of, room
from secateur.kernels.choice import Candidate, Choice, choose, forced, likely_code
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import fast_weights
from secateur.kernels.linear import LinearKernel
from secateur.kernels.pool import pool_unit
from secateur.kernels.runnable import (
    Runnable,
    Runs,
    Setting,
    direct_runnable,
    direct_weights,
    fast_runnable,
    padded_bias,
)
from secateur.kernels.shape import ConvShape
from secateur.kernels.sparse_choice import SPARSE_NAME, enough_zeros, forced_sparse, with_sparse
from secateur.kernels.sparse_runnable import sparse_runnable, sparse_weights
from secateur.kernels.target import Target, host_target

PLAIN = Epilogue()


@dataclass(frozen=True)
class ConvOptions:
    """How a layer may be computed.

    accuracy    "strict", "default" or "fast": bounds of max|y - y64| / max|y64| (see accuracy.ACCURACY)
    threads     at most so many, the caller's own included
    algorithm   "direct", "sparse", "balanced", or a fast one by name such as "F(4x4,3x3)"; None: the fastest, measured
    target      "avx512", "avx2" or "neon"; None: the best this machine has
    activations  "float32", or "dynamic-int8": a layer with one tap may read pixels in 8 bits, each with a scale of its
                own, one with n of 16 weights and several taps images, and have its weights in 8 bits
    maps        which maps are bytes with static scales; only for such a layer, which then is one in 8 bits
    """

    accuracy: str = "default"
    threads: int = 1
    algorithm: str | None = None
    target: str | None = None
    activations: str = FLOAT
    maps: ByteMaps = FLOATS


DEFAULT = ConvOptions()


class Conv2dKernel:
    """y = activation(conv(x, weight) + bias + residual), channels_last in and out; float32 but for the maps that
    `options.maps` makes bytes.

    weight is (out_channels, in_channels / groups, kernel height, kernel width), bias (out_channels,); they are
    transformed and packed once, here. Where enough weights are zero, a sum over the others alone is measured too; it
    never sees what is multiplied by zero, be it NaN or infinite. A kernel may be called from several threads at once.
    KernelError for a shape, an option or an array that does not fit.
    """

    def __init__(
        self,
        shape: ConvShape,
        weight: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        epilogue: Epilogue = PLAIN,
        options: ConvOptions = DEFAULT,
    ) -> None:
        self._setting = _setting(shape, epilogue, options)
        self.shape, self.epilogue, self.options = shape, epilogue, options
        _check_weights(shape, weight, bias)
        self.choice = _choice(self._setting, options, weight)
        self._pack(weight, bias)

    def with_weights(self, weight: np.ndarray, bias: np.ndarray | None = None) -> Conv2dKernel:
        """The same choice and code for other weights of the same shape: packed anew, nothing is measured.

        But where the part of the weights that are zero has changed so that another way may be faster, or weights may
        have left the pattern of a kernel or come into one: then it is chosen anew.
        """
        _check_weights(self.shape, weight, bias)
        made = copy.copy(self)
        ways = has_ways(self.shape, weight, self.options.activations) or self.choice.chosen.arithmetic is not None
        if self.options.algorithm is None and (ways or enough_zeros(weight) != self.choice.zeros):
            made.choice = _choice(self._setting, self.options, weight)
        made._pack(weight, bias)
        return made

    def _pack(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        chosen = self.choice.chosen
        if chosen.arithmetic is not None:
            made = kernel_of(self._setting, weight, bias, chosen.arithmetic, self.options.maps)
            self._runnable: Runs = made.runnable if isinstance(made, LinearKernel) else made
            self.packed_bytes = made.packed_bytes
        else:
            self._runnable, self.packed_bytes = _runnable(self._setting, chosen, weight, bias)

    def __call__(
        self,
        x: np.ndarray,
        residual: np.ndarray | None = None,
        *,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """The layer on dense arrays (batch, height, width, channels), into `out` where it is given.

        No array may overlap `out` but `residual`.
        """
        maps = self.options.maps
        check_array("x", x, self.shape.input_shape, dtype_of(maps.takes))
        if (residual is None) == self.epilogue.residual:
            raise KernelError("a residual is needed exactly where the epilogue adds one")
        if residual is not None:
            check_array("residual", residual, self.shape.output_shape, dtype_of(maps.adds))
        if out is None:
            out = room(self.shape.output_shape, maps.gives)
        check_array("out", out, self.shape.output_shape, dtype_of(maps.gives))
        if not out.flags.writeable or np.may_share_memory(out, x):
            raise KernelError("out must be writable and apart from x")
        self.run(x.ctypes.data, out.ctypes.data, 0 if residual is None else residual.ctypes.data)
        return out

    def run(self, source: int, target: int, residual: int = 0) -> None:
        """The layer on memory at these addresses, unchecked: dense in the shapes of `shape`.

        `target` may be `residual`, but must not overlap `source`. Takes no memory beyond a workspace that all share.
        """
        self._runnable.run(source, target, residual)

    def explain(self) -> str:
        """Which algorithm computes the layer, what it was measured against, and its error."""
        return f"{self.shape.input_shape} -> {self.shape.output_shape}: {self.choice.explain()}"


def compile_ahead(
    layers: Iterable[tuple[ConvShape, Epilogue, ConvOptions]],
    *,
    processes: int,
    watch: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Compile what layers are likely to need, in parallel; how many pieces of code. watch as in `ahead.build_ahead`.

    Code for sparse and balanced weights is left to who needs it: a piece takes 0.03 to 0.1 s, all of it 0.5 s of the
    first call on three linear layers or five convolutions with 4 of 16 (of which processes could save half).
    """
    by_target: dict[Target, list[CodeUnit]] = {}
    for shape, epilogue, options in layers:
        setting = _setting(shape, epilogue, options)
        units = by_target.setdefault(setting.target, [pool_unit(setting.target)])
        units.extend(likely_code(_measured_as(setting), options.accuracy))
    return sum(build_ahead(units, target, processes=processes, watch=watch) for target, units in by_target.items())


def _setting(shape: ConvShape, epilogue: Epilogue, options: ConvOptions) -> Setting:
    if options.threads < 1:
        raise KernelError(f"threads={options.threads}: at least the caller's own, 1")
    if options.activations not in ACTIVATIONS:
        raise KernelError(f"activations={options.activations!r} is none of {', '.join(ACTIVATIONS)}")
    return Setting(shape, epilogue, host_target(options.target), options.threads)


def _measured_as(setting: Setting) -> Setting:
    """With the usual slope: time does not depend on it."""
    return replace(setting, epilogue=replace(setting.epilogue, slope=PLAIN.slope))


def _choice(setting: Setting, options: ConvOptions, weight: np.ndarray) -> Choice:
    if options.maps != FLOATS:
        if options.activations != BYTES or options.algorithm not in (None, BALANCED):
            raise KernelError(f"maps of bytes need activations={BYTES!r}, and no algorithm but {BALANCED!r}")
        return forced_balanced(setting, weight, options.accuracy, BYTES)
    if options.algorithm == SPARSE_NAME:
        return forced_sparse(setting, weight, options.accuracy)
    if options.algorithm == BALANCED:
        return forced_balanced(setting, weight, options.accuracy, options.activations)
    if options.algorithm is not None:
        return forced(setting, options.algorithm, options.accuracy)
    usual = _measured_as(setting)
    found = choose(usual, options.accuracy)
    if enough_zeros(weight):
        found = with_sparse(usual, weight, found)
    if has_ways(setting.shape, weight, options.activations):
        run, _ = _runnable(usual, found.chosen, weight, None)
        found = with_balanced(usual, weight, (found, run), options.activations)
    return found


def _runnable(setting: Setting, chosen: Candidate, weight: np.ndarray, bias: np.ndarray | None) -> tuple[Runnable, int]:
    """The layer by a way of convolutions, and the bytes of its packed weights."""
    shifts = padded_bias(bias, setting.shape, setting.target)
    if chosen.cut is not None:
        packed = sparse_weights(weight, setting, chosen.cut)
        return sparse_runnable(setting, chosen.cut, packed, shifts), packed.nbytes
    if chosen.tiling is None or chosen.blocking is None:
        packed = direct_weights(weight, setting.shape, setting.target)
        return direct_runnable(setting, packed, shifts), packed.nbytes
    packed = fast_weights(weight, chosen.tiling, setting.target)
    return fast_runnable(setting, chosen.tiling, chosen.blocking, packed, shifts), packed.nbytes


def _check_weights(shape: ConvShape, weight: np.ndarray, bias: np.ndarray | None) -> None:
    check_array("weight", weight, shape.weight_shape)
    if bias is not None:
        check_array("bias", bias, (shape.out_channels,))
