"""What happens to the sums of a linear layer's tile: scales, bias, residual, activation, and into the output."""

from __future__ import annotations

from secateur.ir.balanced_format import ROWS
from secateur.kernels.code import FLOAT, I64, PTR, Function, Module, Value, vector
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear_form import Form
from secateur.kernels.target import Target

ARGUMENTS = {
    **dict.fromkeys(("sums", "y", "residual", "scale", "less", "bias", "token_scales"), PTR),
    **dict.fromkeys(("tokens", "left", "row_bytes", "blocks", "block_bytes"), I64),
    "slope": FLOAT,
}
"""Of output_tile: sums of some blocks of 16 rows; y and residual at the first token and row; for the rows scales of
weights, what is taken off sums, and the bias; scales of tokens; how many tokens, rows left from the first on, bytes
from token to token of y; how many blocks, and bytes from the sums of one to those of the next."""


def emit_output(module: Module, target: Target, epilogue: Epilogue, form: Form) -> None:
    """output_tile(...): y = activation(sum + bias + residual); of bytes (sum - less) times the scales of row and token
    first, the row's own being in the sums already where there are scales for groups of columns."""
    f = module.function("output_tile", ARGUMENTS, inner=True)
    with f.loop(0, f["blocks"]) as block:
        left = f["left"] - block * ROWS
        whole = left >= ROWS
        for part in range(ROWS // target.lanes):
            at = f["sums"] + (block * f["block_bytes"] + part * target.vector_bytes), block * 4 * ROWS
            with f.when(whole):
                _emit_part(f, target, (epilogue, form), (*at, part), None)
            with f.otherwise(whole):
                mask = f.lanes_below(left - part * target.lanes, target.lanes)
                _emit_part(f, target, (epilogue, form), (*at, part), mask)
    f.give()


def _emit_part(
    f: Function, target: Target, what: tuple[Epilogue, Form], at: tuple[Value, Value, int], mask: Value | None
) -> None:
    """One vector of rows, for every token."""
    (epilogue, form), (sums, row_place, part) = what, at
    kind, offset = vector(target.lanes), row_place + part * target.vector_bytes
    bias = f.load(kind, f["bias"] + offset, 16)
    with f.loop(0, f["tokens"]) as token:
        total = _total(f, target, form, (sums, token, offset))
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


def _total(f: Function, target: Target, form: Form, at: tuple[Value, Value, Value]) -> Value:
    sums, token, offset = at
    kind, place = vector(target.lanes), sums + token * (4 * ROWS)
    if form.kind == "float32":
        return f.load(kind, place, 16)
    if not form.scaled:
        wide = vector(target.lanes, "i32")
        exact = f.load(wide, place, 16) - f.load(wide, f["less"] + offset, 16)
        total = f.emit(kind, f"sitofp {wide} {exact.text} to {kind}") * f.load(kind, f["scale"] + offset, 16)
    else:
        total = f.load(kind, place, 16) - f.load(kind, f["less"] + offset, 16)
    return total * f.splat(f.load(FLOAT, f["token_scales"] + token * 4), target.lanes)
