"""LinearKernel: one linear layer as generated code, for a balanced matrix or a dense one of int8."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import KernelError
from secateur.kernels.arrays import check_array
from secateur.kernels.build import built
from secateur.kernels.byte_maps import FLOATS, ByteMaps, dtype_of, room
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear_bytes import MOST_PRODUCTS, byte_target
from secateur.kernels.linear_code import LinearPlan
from secateur.kernels.linear_driver import LINEAR
from secateur.kernels.linear_quantize import quantized
from secateur.kernels.linear_weights import Weight, form_of, integers_of, packed, products_of, row_scales, table_of
from secateur.kernels.record import float_bits
from secateur.kernels.runnable import Runnable
from secateur.kernels.target import host_target

if TYPE_CHECKING:
    from jaxtyping import Float32, Shaped

PLAIN = Epilogue()


@dataclass(frozen=True)
class LinearOptions:
    """How a layer may be computed.

    threads   at most so many, the caller's own included
    target    "avx512", "avx2" or "neon"; None: the best this machine has
    scale     static scale of activations in 8 bits; 0: dynamic, one a token
    maps      those of input, output and residual that are bytes, with static scales: a layer in 8 bits then moves
              bytes alone. Weights in 8 or 4 bits only, and no `scale` where the input has one
    """

    threads: int = 1
    target: str | None = None
    scale: float = 0.0
    maps: ByteMaps = FLOATS

    @property
    def input_scale(self) -> float:
        """The static scale of activations, wherever it comes from; 0 where there is none."""
        return self.scale if self.maps.takes is None else self.maps.takes.scale


DEFAULT = LinearOptions()


class LinearKernel:
    """y = activation(x W^T + bias + residual) for so many tokens (rows of x); float32 in and out, where `options.maps`
    does not make maps bytes.

    weight is (outputs, inputs): a Balanced of float32, with float32 activations; a Balanced of int8 or codes, or a
    Quantized, with activations in 8 bits. bias is (outputs,). A kernel may be called from several threads at once.
    KernelError for an option or an array that does not fit.
    """

    def __init__(
        self,
        tokens: int,
        weight: Weight,
        bias: np.ndarray | None = None,
        *,
        epilogue: Epilogue = PLAIN,
        options: LinearOptions = DEFAULT,
    ) -> None:
        _check(tokens, weight, options)
        self.tokens, self.epilogue, self.options = tokens, epilogue, options
        self.outputs, self.inputs = weight.shape
        form, target = form_of(weight), host_target(options.target)
        needed = target if form.kind == "float32" else byte_target(target)
        sizes = (tokens, self.inputs, self.outputs)
        self.plan = LinearPlan(sizes, form, epilogue, needed, options.threads, table_of(weight), options.maps)
        self.name = form.name
        self._pack(weight, bias)

    def with_weights(self, weight: Weight, bias: np.ndarray | None = None) -> LinearKernel:
        """The same code for other weights of the same form and shape: packed anew. KernelError where they differ."""
        if (weight.shape, form_of(weight), table_of(weight)) != (
            (self.outputs, self.inputs),
            self.plan.form,
            self.plan.table,
        ):
            raise KernelError(f"these weights are no {self.plan.form.name} of shape {(self.outputs, self.inputs)}")
        made = copy.copy(self)
        made._pack(weight, bias)
        return made

    def _pack(self, weight: Weight, bias: np.ndarray | None) -> None:
        if bias is not None:
            check_array("bias", bias, (self.outputs,))
        plan, code = self.plan, built(self.plan.unit(), self.plan.target)
        numbers, weights = plan.numbers(), packed(weight, bias, plan)
        shift, scale, less = weights.by_row
        layer = LINEAR.pack(
            **numbers,
            weights=weights.records.ctypes.data,
            bias=shift.ctypes.data,
            scale=scale.ctypes.data,
            less=less.ctypes.data,
            group_scales=weights.group_scales.ctypes.data,
            slope=float_bits(plan.epilogue.slope),
            given=float_bits(self.options.input_scale),
            inverse=float_bits(0.0 if plan.maps.gives is None else float(plan.maps.gives.inverse)),
            residual_scale=float_bits(0.0 if plan.maps.adds is None else plan.maps.adds.scale),
        )
        size = numbers["sums_offset"] + numbers["sums_bytes"] * plan.threads
        function, empty = code.addresses["linear"], not self.tokens or not self.outputs
        pool_target = host_target(plan.target.name)
        self.runnable = Runnable(pool_target, function, layer, size, plan.threads, empty, (code, weights))
        self.packed_bytes = weights.records.nbytes + weights.group_scales.nbytes

    def __call__(
        self, x: np.ndarray, residual: np.ndarray | None = None, *, out: np.ndarray | None = None
    ) -> np.ndarray:
        """The layer on a dense array (tokens, inputs), into `out` where it is given, which may be `residual`."""
        size, maps = (self.tokens, self.outputs), self.options.maps
        check_array("x", x, (self.tokens, self.inputs), dtype_of(maps.takes))
        if (residual is None) == self.epilogue.residual:
            raise KernelError("a residual is needed exactly where the epilogue adds one")
        if residual is not None:
            check_array("residual", residual, size, dtype_of(maps.adds))
        out = room(size, maps.gives) if out is None else out
        check_array("out", out, size, dtype_of(maps.gives))
        if not out.flags.writeable or np.may_share_memory(out, x):
            raise KernelError("out must be writable and apart from x")
        self.run(x.ctypes.data, out.ctypes.data, 0 if residual is None else residual.ctypes.data)
        return out

    def run(self, source: int, target: int, residual: int = 0) -> None:
        """The layer on memory at these addresses, unchecked: dense."""
        self.runnable.run(source, target, residual)


def linear(
    x: Shaped[np.ndarray, "tokens inputs"],
    weight: Weight,
    bias: Float32[np.ndarray, " outputs"] | None = None,
    *,
    scale: float = 0.0,
) -> np.ndarray:
    """x W^T + bias: the definition that kernels are tested against.

    In float64 for float32 weights; else exact integer sums times the row's scale times the token's, in float32 and this
    order, which kernels equal bit for bit (with scales for groups of columns: in float64, equal but for rounding). x
    may be codes already, uint8 or int8, with their static scale.
    """
    form, shift = form_of(weight), np.float32(0) if bias is None else bias
    if form.kind == "float32":
        return x.astype(np.float64) @ weight.to_dense().T.astype(np.float64) + shift
    taken = x.dtype != np.float32
    codes, token_scales = (x, np.full(len(x), scale, np.float32)) if taken else quantized(x, scale)
    if form.scaled:
        return (codes.astype(np.float64) @ weight.to_dense().T.astype(np.float64)) * token_scales[:, None] + shift
    exact = codes.astype(np.float64) @ integers_of(weight).T.astype(np.float64)  # below 2^53, so exact
    return exact.astype(np.float32) * row_scales(weight) * token_scales[:, None] + shift


def check_maps(kind: str, options: LinearOptions) -> None:
    """KernelError where weights of this kind cannot have these maps."""
    if options.maps.takes is not None and (kind == "float32" or options.scale):
        raise KernelError(
            f"an input of bytes is multiplied by weights in 8 or 4 bits, not by {kind}, and has its own scale: leave "
            "`scale` at 0"
        )


def _check(tokens: int, weight: Weight, options: LinearOptions) -> None:
    if options.threads < 1 or tokens < 0 or not 0 <= options.scale < np.inf:
        raise KernelError(
            f"threads={options.threads}, tokens={tokens}, scale={options.scale}: at least one thread, tokens from 0 "
            "on, a scale above 0 or 0 for a dynamic one"
        )
    check_maps(form_of(weight).kind, options)
    if len(weight.shape) != 2 or not weight.shape[1]:
        raise KernelError(f"a linear layer has outputs and at least one input; its weights are {weight.shape}")
    if form_of(weight).kind != "float32" and products_of(weight) > MOST_PRODUCTS:
        raise KernelError(f"{products_of(weight)} products of bytes a row may leave int32: at most {MOST_PRODUCTS}")
