"""A convolution ready to run: code, packed weights and numbers, behind one call with addresses."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from secateur.kernels.algorithms import Algorithm
from secateur.kernels.build import CodeUnit, built_together
from secateur.kernels.depthwise import depthwise_module, depthwise_tasks, is_depthwise, packed_depthwise
from secateur.kernels.direct import DIRECT, direct_module, packed_direct, task_list
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import (
    Blocking,
    blocks_of,
    check_fits,
    driver_module,
    input_module,
    layer_numbers,
    output_module,
)
from secateur.kernels.layout import LAYER
from secateur.kernels.memory import WORKSPACES, aligned
from secateur.kernels.pool import pool_of, pool_unit
from secateur.kernels.pool_code import WORK
from secateur.kernels.record import float_bits
from secateur.kernels.regions import flattened
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import Target

if TYPE_CHECKING:
    from jaxtyping import Float32

_write = struct.Struct("4q").pack_into
"""The beginning of an order: work, source, target, residual."""


class Runs(Protocol):
    """A convolution between dense float32 channels_last arrays at addresses."""

    def run(self, source: int, target: int, residual: int = 0) -> None: ...


@dataclass(frozen=True)
class Runnable:
    """The function at an address, function(layer, call, ...), on `threads` threads; `keep` holds what the numbers point
    to."""

    target: Target
    function: int
    layer: ctypes.Array[ctypes.c_int64]
    workspace_bytes: int
    threads: int
    empty: bool
    keep: tuple[object, ...] = field(repr=False)

    @functools.cached_property
    def _work(self) -> ctypes.Array[ctypes.c_int64]:
        return WORK.pack(function=self.function, layer=ctypes.addressof(self.layer))

    @functools.cached_property
    def _work_address(self) -> int:
        return ctypes.addressof(self._work)

    @functools.cached_property
    def _run(self) -> Callable[[int], None]:
        """How an order is carried out."""
        if self.threads < 2:
            return pool_of(self.target).alone
        return lambda order: pool_of(self.target).run(order, self.threads)

    def run(self, source: int, target: int, residual: int = 0) -> None:
        """One convolution between dense float32 channels_last arrays at these addresses."""
        if self.empty:
            return
        workspace = WORKSPACES.take(self.workspace_bytes)
        try:
            _write(workspace.order, 0, self._work_address, source, target, residual)
            self._run(workspace.order_address)
        finally:
            WORKSPACES.give_back(workspace)


@dataclass(frozen=True)
class Setting:
    """What every way to compute a layer shares."""

    shape: ConvShape
    epilogue: Epilogue
    target: Target
    threads: int


def fast_units(algorithm: Algorithm, epilogue: Epilogue, target: Target) -> list[CodeUnit]:
    """The code of a fast convolution: of the target, of the algorithm, of algorithm and epilogue."""
    name, finished = algorithm.code_name, f"{algorithm.code_name} {epilogue.code_name}"
    return [
        CodeUnit("fast", ("fast_convolution",), "", lambda: driver_module(target)),
        CodeUnit("input", ("input_stage",), name, lambda: input_module(target, algorithm.exact)),
        CodeUnit("output", ("output_stage",), finished, lambda: output_module(target, algorithm.exact, epilogue)),
    ]


def direct_unit(shape: ConvShape, epilogue: Epilogue, target: Target) -> CodeUnit:
    """The code of a direct convolution of one shape."""
    made_from = f"{shape} {epilogue.code_name}"
    emit = depthwise_module if is_depthwise(shape) else direct_module
    return CodeUnit("direct", ("direct_convolution",), made_from, lambda: emit(shape, target, epilogue))


def padded_bias(bias: Float32[np.ndarray, " k"] | None, shape: ConvShape, target: Target) -> Float32[np.ndarray, " p"]:
    """The bias, or zeros, with room for the whole panel that starts at the last channel."""
    room = aligned(blocks_of(shape.out_channels, target.lanes) * target.lanes + target.panel)
    if bias is not None:
        room[: shape.out_channels] = bias
    return room


def fast_runnable(
    setting: Setting, algorithm: Algorithm, blocking: Blocking, weights: np.ndarray, bias: np.ndarray
) -> Runnable:
    """A fast convolution with weights from `fast_weights` and a bias from `padded_bias`."""
    shape, target = setting.shape, setting.target
    check_fits(shape, algorithm)
    code = built_together([*fast_units(algorithm, setting.epilogue, target), pool_unit(target)], target)
    numbers = layer_numbers(shape, algorithm, target, blocking)
    layer = LAYER.pack(
        **numbers,
        weights=weights.ctypes.data,
        bias=bias.ctypes.data,
        slope=float_bits(setting.epilogue.slope),
        input_stage=code[1].addresses["input_stage"],
        output_stage=code[2].addresses["output_stage"],
    )
    groups = 1 if blocking.shared else setting.threads
    size = numbers["group_bytes"] * groups
    function = code[0].addresses["fast_convolution"]
    return Runnable(target, function, layer, size, setting.threads, shape.batch == 0, (code, weights, bias))


def direct_weights(weight: Float32[np.ndarray, "k c r s"], shape: ConvShape, target: Target) -> np.ndarray:
    """Weights as a direct convolution reads them."""
    pack = packed_depthwise if is_depthwise(shape) else packed_direct
    return pack(weight, flattened(shape), target)


def direct_runnable(setting: Setting, weights: np.ndarray, bias: np.ndarray) -> Runnable:
    """A direct convolution with weights from `direct_weights` and a bias from `padded_bias`."""
    shape, target = flattened(setting.shape), setting.target
    code = built_together([direct_unit(shape, setting.epilogue, target), pool_unit(target)], target)[0]
    tasks, walks = depthwise_tasks(shape, target) if is_depthwise(shape) else task_list(shape, target)
    layer = DIRECT.pack(
        tasks=tasks.ctypes.data,
        walks=walks.ctypes.data,
        image_tasks=len(tasks),
        all_tasks=len(tasks) * shape.batch,
        image_bytes=4 * shape.height * shape.width * shape.in_channels,
        out_image_bytes=4 * shape.out_height * shape.out_width * shape.out_channels,
        weights=weights.ctypes.data,
        bias=bias.ctypes.data,
        slope=float_bits(setting.epilogue.slope),
    )
    function, keep = code.addresses["direct_convolution"], (code, tasks, walks, weights, bias)
    return Runnable(target, function, layer, 0, setting.threads, shape.batch == 0, keep)
