"""Bytes of activations looked up by nibble, and exact sums of their products with int8 weights.

look-up   avx512 vpermb over all 64 of a slot's columns at once; avx2 pshufb and neon tbl, group by group
products  avx512 vpdpbusd takes x + 128 unsigned, and 128 times the row's sum is taken off at the end; avx2 |x|
          times w with the sign of x: codes lie within +-127, codes without a sign less 128 from -128 on, so two
          products are at most 2 * 128 * 127 = 32512 and vpmaddubsw cannot saturate; neon sdot
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from secateur.errors import KernelError
from secateur.kernels.code import Value, vector
from secateur.kernels.linear_lanes import as_type, called, numbers, shifted_down
from secateur.kernels.target import LLVM, TARGETS, Target, supported

GROUP_BYTES = 16
"""Of a group of 16 bytes."""
UNSIGNED = {"avx512": True, "avx2": False, "neon": False}
"""Whether activations are multiplied as bytes without a sign."""
HALF = 128
"""Between a byte with and without a sign."""
OUTSIDE = 0x80
"""Added to a place, it makes pshufb and tbl look nothing up: 0."""
MOST_PRODUCTS = (2**31 - 1) // (255 * 128)
"""Of a row: no sum leaves int32."""
BYTE_FEATURES = {"avx512": "+avx512vnni,+avx512vbmi", "avx2": "", "neon": "+dotprod"}
"""What the kernels on bytes need beyond a row of TARGETS."""


def byte_target(target: Target) -> Target:
    """The target for kernels on bytes; the next weaker one where this machine lacks what they need, or KernelError."""
    names = [name.lstrip("+") for name in BYTE_FEATURES[target.name].split(",") if name]
    if target.native and not all(LLVM.get_host_cpu_features().get(name, False) for name in names):
        weaker = supported()[supported().index(target.name) + 1 :]
        if not weaker:
            raise KernelError(f"this machine lacks {' and '.join(names)}, which kernels on bytes need: use float32")
        return byte_target(TARGETS[weaker[0]])
    return replace(target, features=",".join(part for part in (target.features, BYTE_FEATURES[target.name]) if part))


def offset(target: Target, *, signed: bool) -> int:
    """What is added to codes of activations that have a sign or none, so that they are what the target multiplies by.
    0, or HALF up or down, which both turn the highest bit over."""
    if UNSIGNED[target.name] != signed:
        return 0
    return HALF if signed else -HALF


@dataclass(frozen=True)
class ByteLookup:
    """Bytes of activations by nibble, and their products; `groups` of a slot: of the four that 64 columns are, the one
    that entries 4 r, 4 r + 1, 4 r + 2 and 4 r + 3 belong to.

    spread    whether a group is repeated over the whole vector as it is read, for slots of one group each (avx512): a
              look-up sees the place alone then, whatever the byte holds beside it, and places cost nothing. Worth it
              where a slot serves one token.
    """

    target: Target
    spread: bool = False

    @property
    def kind(self) -> str:
        """A vector of bytes."""
        return vector(self.target.vector_bytes, "i8")

    @property
    def sums(self) -> str:
        """A vector of sums, a row a lane."""
        return vector(self.target.lanes, "i32")

    def places(self, nibbles: Value, groups: tuple[int, ...]) -> tuple[Value, ...]:
        """Emits what does not depend on the inputs; nibbles are the low four bits of bytes."""
        f = nibbles.code
        if self.spread:
            return (nibbles,)
        nibbles = f.arithmetic("and", nibbles, numbers(f, "i8", [GROUP_BYTES - 1] * self.target.vector_bytes))
        if self.target.name == "avx512":
            return (self._plus(nibbles, [GROUP_BYTES * group for group in groups]),) if any(groups) else (nibbles,)
        found = []
        for group in dict.fromkeys(groups):
            outside = [0 if one == group else OUTSIDE for one in groups]
            found.append(self._plus(nibbles, outside) if any(outside) else nibbles)
        return tuple(found)

    def _plus(self, nibbles: Value, by_entry: Sequence[int]) -> Value:
        f = nibbles.code
        signed = [value - 256 if value > 127 else value for value in by_entry]
        return f.arithmetic("or", nibbles, numbers(f, "i8", signed * self.target.lanes))

    def columns(self, place: Value, groups: tuple[int, ...]) -> Value:
        """Emits reading the 64 activations at an address, or a group of them, where that is no part of looking up."""
        f = place.code
        if self.spread:
            return self._repeated(f.load(vector(GROUP_BYTES, "i8"), place + GROUP_BYTES * groups[0], 1))
        return f.load(self.kind, place, 1) if self.target.name == "avx512" else place

    def take(self, columns: Value, places: tuple[Value, ...], groups: tuple[int, ...]) -> Value:
        """Each entry's activation, of the 64 that `columns` gave."""
        f, target = columns.code, self.target
        if target.name == "avx512":
            return called(f, self.kind, "llvm.x86.avx512.permvar.qi.512", columns, *places)
        found: Value | None = None
        for group, place in zip(dict.fromkeys(groups), places, strict=True):
            part = self._in_group(columns + GROUP_BYTES * group, place)
            found = part if found is None else f.arithmetic("or", found, part)
        assert found is not None
        return found

    def _in_group(self, group: Value, places: Value) -> Value:
        f, bytes_ = group.code, vector(GROUP_BYTES, "i8")
        one = f.load(bytes_, group, GROUP_BYTES)
        if self.target.name == "neon":
            return called(f, bytes_, "llvm.aarch64.neon.tbl1.v16i8", one, places)
        return called(f, self.kind, "llvm.x86.avx2.pshuf.b", self._repeated(one), places)

    def _repeated(self, one: Value) -> Value:
        """A group as often as a vector holds it."""
        f, count = one.code, self.target.vector_bytes
        order = ", ".join(f"i32 {place % GROUP_BYTES}" for place in range(count))
        return f.emit(self.kind, f"shufflevector {one.type} {one.text}, {one.type} poison, <{count} x i32> <{order}>")

    def raised_codes(self, both: Value) -> Value:
        """16 times (the high four bits less 8)."""
        f, count = both.code, self.target.vector_bytes
        high = f.arithmetic("and", both, numbers(f, "i8", [-16] * count))
        return f.arithmetic("xor", high, numbers(f, "i8", [-128] * count))

    def by_code(self, table: Value, both: Value) -> Value:
        """The int8 that each code, the high four bits, stands for; `table` is repeated over a whole vector."""
        f, target = both.code, self.target
        codes = as_type(shifted_down(as_type(both, vector(target.lanes, "i32")), 4), both.type)
        if target.name == "avx512":  # two bits more are looked at, which choose between repetitions
            return called(f, self.kind, "llvm.x86.avx512.permvar.qi.512", table, codes)
        low = f.arithmetic("and", codes, numbers(f, "i8", [15] * target.vector_bytes))
        if target.name == "avx2":
            return called(f, self.kind, "llvm.x86.avx2.pshuf.b", table, low)
        return called(f, self.kind, "llvm.aarch64.neon.tbl1.v16i8", table, low)

    def dot(self, total: Value, x: Value, w: Value) -> Value:
        """total + the sum of four products of bytes in every lane; x unsigned where UNSIGNED says so."""
        f, target = total.code, self.target
        if target.name == "avx512":
            return called(f, self.sums, "llvm.x86.avx512.vpdpbusd.512", total, x, w)
        if target.name == "neon":
            return called(f, self.sums, "llvm.aarch64.neon.sdot.v4i32.v16i8", total, x, w)
        size = called(f, self.kind, "llvm.abs.v32i8", x, "i1 false")
        signed = called(f, self.kind, "llvm.x86.avx2.psign.b", w, x)
        pairs = called(f, vector(16, "i16"), "llvm.x86.avx2.pmadd.ub.sw", size, signed)
        ones = numbers(f, "i16", [1] * 16)
        return f.arithmetic("add", total, called(f, self.sums, "llvm.x86.avx2.pmadd.wd", pairs, ones))
