"""LinearKernel: one linear layer as generated code, for a balanced matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.errors import KernelError
from secateur.ir.balanced_format import ROWS, Balanced
from secateur.kernels.build import built
from secateur.kernels.conv import check_array
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import blocks_of
from secateur.kernels.linear_code import LinearPlan
from secateur.kernels.linear_driver import LINEAR
from secateur.kernels.memory import aligned
from secateur.kernels.pool import Job
from secateur.kernels.record import float_bits
from secateur.kernels.runnable import Runnable
from secateur.kernels.target import host_target

PLAIN = Epilogue()


@dataclass(frozen=True)
class LinearOptions:
    """How a layer may be computed.

    threads   at most so many, the caller's own included
    target    "avx512", "avx2" or "neon"; None: the best this machine has
    """

    threads: int = 1
    target: str | None = None


DEFAULT = LinearOptions()


class LinearKernel:
    """y = activation(x W^T + bias + residual) for so many tokens (rows of x); float32 in and out.

    weight is a Balanced of float32 and shape (outputs, inputs), bias (outputs,). A kernel may be called from several
    threads at once. KernelError for an option or an array that does not fit.
    """

    def __init__(
        self,
        tokens: int,
        weight: Balanced,
        bias: np.ndarray | None = None,
        *,
        epilogue: Epilogue = PLAIN,
        options: LinearOptions = DEFAULT,
    ) -> None:
        if options.threads < 1 or tokens < 0:
            raise KernelError(f"threads={options.threads}, tokens={tokens}: at least one thread, tokens from 0 on")
        self.outputs, self.inputs = weight.shape
        if not self.inputs:
            raise KernelError("a layer without inputs has only its bias: leave it to PyTorch")
        self.tokens, self.epilogue, self.options = tokens, epilogue, options
        target = host_target(options.target)
        if weight.kind != "float32":
            raise KernelError(f"a linear layer takes a balanced matrix of float32, not of {weight.kind}")
        plan = LinearPlan(tokens, self.inputs, self.outputs, weight.count, epilogue, target, options.threads)
        if bias is not None:
            check_array("bias", bias, (self.outputs,))
        self.name = f"balanced {weight.count}:16 {weight.kind}"
        self._runnable = _runnable(plan, weight, bias)

    def __call__(
        self, x: np.ndarray, residual: np.ndarray | None = None, *, out: np.ndarray | None = None
    ) -> np.ndarray:
        """The layer on a dense array (tokens, inputs), into `out` where it is given, which may be `residual`."""
        size = (self.tokens, self.outputs)
        check_array("x", x, (self.tokens, self.inputs))
        if (residual is None) == self.epilogue.residual:
            raise KernelError("a residual is needed exactly where the epilogue adds one")
        if residual is not None:
            check_array("residual", residual, size)
        out = aligned(size) if out is None else out
        check_array("out", out, size)
        if not out.flags.writeable or np.may_share_memory(out, x):
            raise KernelError("out must be writable and apart from x")
        self.run(x.ctypes.data, out.ctypes.data, 0 if residual is None else residual.ctypes.data)
        return out

    def run(self, source: int, target: int, residual: int = 0) -> None:
        """The layer on memory at these addresses, unchecked: dense float32."""
        self._runnable.run(source, target, residual)


def _runnable(plan: LinearPlan, weight: Balanced, bias: np.ndarray | None) -> Runnable:
    code, numbers = built(plan.unit(), plan.target), plan.numbers()
    records = aligned(blocks_of(weight.stream.nbytes, 4))
    records.view(np.uint8)[: weight.stream.nbytes] = weight.stream.reshape(-1)
    shift = aligned(numbers["blocks"] * ROWS)
    if bias is not None:
        shift[: plan.outputs] = bias
    layer = LINEAR.pack(
        **numbers,
        weights=records.ctypes.data,
        bias=shift.ctypes.data,
        slope=float_bits(plan.epilogue.slope),
    )
    size = numbers["sums_offset"] + numbers["sums_bytes"] * plan.threads
    job, empty = Job(code.addresses["linear"]), not plan.tokens or not plan.outputs
    return Runnable(plan.target, job, layer, size, plan.threads, empty, (code, records, shift))
