"""Look inputs of a linear layer up by nibble: what kernels of balanced matrices do for every non-zero.

A group of 16 inputs is a table. Where 16 rows lie in the lanes, every row looks its own input up in it: one vpermps on
avx512, two and a choice on avx2, one tbl of four registers on neon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secateur.kernels.code import FLOAT, Function, Value, vector
from secateur.kernels.target import Target


def numbers(f: Function, element: str, values: Sequence[int]) -> Value:
    """A vector of constants."""
    listed = ", ".join(f"{element} {value}" for value in values)
    return Value(f, vector(len(values), element), f"<{listed}>")


def as_type(x: Value, kind: str) -> Value:
    """The same bits."""
    return x if x.type == kind else x.code.emit(kind, f"bitcast {x.type} {x.text} to {kind}")


def shifted_down(x: Value, bits: int) -> Value:
    """Every 32-bit lane moved down; 0 emits nothing."""
    lanes = int(x.type[1:].split()[0])
    return x.code.arithmetic("lshr", x, numbers(x.code, "i32", [bits] * lanes)) if bits else x


def called(f: Function, kind: str, name: str, *given: Value | str) -> Value:
    """A call of one of LLVM's intrinsics; a str is a constant with its type."""
    types = [v.type if isinstance(v, Value) else v.split()[0] for v in given]
    f.module.declare(f"declare {kind} @{name}({', '.join(types)})")
    listed = ", ".join(f"{v.type} {v.text}" if isinstance(v, Value) else v for v in given)
    return f.emit(kind, f"call {kind} @{name}({listed})")


@dataclass(frozen=True)
class FloatLookup:
    """Float32 inputs by nibble: `places` makes of the low nibbles of 32-bit lanes what `take` looks up with."""

    target: Target

    def places(self, nibbles: Value) -> tuple[Value, ...]:
        """Emits what does not depend on the inputs."""
        f, lanes = nibbles.code, self.target.lanes
        if self.target.name == "avx512":  # vpermps looks at four bits
            return (nibbles,)
        if self.target.name == "avx2":  # three bits, and the fourth where a choice looks: the sign
            high = f.arithmetic("shl", nibbles, numbers(f, "i32", [28] * lanes))
            return nibbles, as_type(high, vector(lanes, FLOAT))
        low = f.arithmetic("and", nibbles, numbers(f, "i32", [15] * lanes))
        four = f.emit(low.type, f"mul {low.type} {low.text}, {numbers(f, 'i32', [0x04040404] * lanes).text}")
        return (as_type(four + numbers(f, "i32", [0x03020100] * lanes), vector(4 * lanes, "i8")),)

    def take(self, table: Value, places: tuple[Value, ...]) -> Value:
        """Each lane's input of the 16 at an address."""
        f, target = table.code, self.target
        kind = vector(target.lanes)
        if target.name == "avx512":
            return called(f, kind, "llvm.x86.avx512.permvar.sf.512", f.load(kind, table, 64), places[0])
        if target.name == "avx2":
            halves = [f.load(kind, table + half, 32) for half in (0, 32)]
            low, high = (called(f, kind, "llvm.x86.avx2.permps", half, places[0]) for half in halves)
            return called(f, kind, "llvm.x86.avx.blendv.ps.256", low, high, places[1])
        bytes_ = vector(16, "i8")
        quarters = [f.load(bytes_, table + 16 * quarter, 16) for quarter in range(4)]
        return as_type(called(f, bytes_, "llvm.aarch64.neon.tbl4.v16i8", *quarters, *places), kind)
