"""Activations of a linear layer as its tiles read them: tokens of a tile side by side, [group of 16 inputs][token][16].

Beyond the inputs there are zeros. So a tile walks through memory in order, and rows of any length never share the sets
of a cache.
"""

from __future__ import annotations

from secateur.ir.balanced_format import GROUP
from secateur.kernels.code import I64, PTR, Module, vector
from secateur.kernels.target import Target

ARGUMENTS = {"x": PTR, "packed": PTR, "step": I64, "inputs": I64, "columns": I64}
"""x of one token, where it goes, bytes from one of its groups to the next, inputs, and with those that fill up
columns."""


def emit_float_input(module: Module, target: Target) -> None:
    """input_token(...) for float32: a copy."""
    f = module.function("input_token", ARGUMENTS, inner=True)
    kind, parts, size = vector(target.lanes), GROUP // target.lanes, target.vector_bytes
    whole = f["inputs"] // GROUP
    with f.loop(0, whole) as group:
        for part in range(parts):
            value = f.load(kind, f["x"] + (group * (4 * GROUP) + part * size))
            f.store(value, f["packed"] + (group * f["step"] + part * size), 16)
    with f.loop(whole, f["columns"] // GROUP) as group:
        for part in range(parts):
            mask = f.lanes_below(f["inputs"] - (group * GROUP + part * target.lanes), target.lanes)
            value = f.load_masked(kind, f["x"] + (group * (4 * GROUP) + part * size), mask)
            f.store(value, f["packed"] + (group * f["step"] + part * size), 16)
    f.give()
