"""What happens to the sums of a linear layer's tile: bias, residual, activation, and into the output."""

from __future__ import annotations

from secateur.ir.balanced_format import ROWS
from secateur.kernels.code import FLOAT, I64, PTR, Function, Module, Value, vector
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.target import Target

ARGUMENTS = {
    **dict.fromkeys(("sums", "y", "residual", "bias"), PTR),
    **dict.fromkeys(("tokens", "left", "row_bytes"), I64),
    "slope": FLOAT,
}
"""Of output_tile: sums of a block of rows; y and residual at its first token and row; the bias of its rows; how many
tokens, rows left from its first on, and bytes from token to token of y."""


def emit_output(module: Module, target: Target, epilogue: Epilogue) -> None:
    """output_tile(...): y = activation(sum + bias + residual)."""
    f = module.function("output_tile", ARGUMENTS, inner=True)
    whole = f["left"] >= ROWS
    for part in range(ROWS // target.lanes):
        mask = f.lanes_below(f["left"] - part * target.lanes, target.lanes)
        with f.when(whole):
            _emit_part(f, target, epilogue, part, None)
        with f.otherwise(whole):
            _emit_part(f, target, epilogue, part, mask)
    f.give()


def _emit_part(f: Function, target: Target, epilogue: Epilogue, part: int, mask: Value | None) -> None:
    """One vector of rows, for every token."""
    kind, offset = vector(target.lanes), part * target.vector_bytes
    bias = f.load(kind, f["bias"] + offset, 16)
    with f.loop(0, f["tokens"]) as token:
        total = f.load(kind, f["sums"] + (token * (4 * ROWS) + offset), 16)
        place = token * f["row_bytes"] + offset
        added = [bias]
        if epilogue.residual:
            other = f["residual"] + place
            added.append(f.load(kind, other) if mask is None else f.load_masked(kind, other, mask))
        done = epilogue.emit(f, total, tuple(added), f["slope"])
        if mask is None:
            f.store(done, f["y"] + place)
        else:
            f.store_masked(done, f["y"] + place, mask)
