"""Vectors number by number: what elementwise kernels do with one, beside the arithmetic of `code`.

NaN stays NaN through all of it but `chosen`: a training run that diverges must be seen.
"""

from __future__ import annotations

import math

from secateur.kernels.code import BIT, Function, Value, suffix, vector

DOUBLE = "double"
MANTISSA_BITS = 23
ONE_BITS = 0x3F800000
SQRT_HALF_BITS = 0x3F3504F3
ROUNDING = 1.5 * 2.0**23
"""A float32 this large has no fraction: adding it and taking it away rounds to the nearest integer, ties to even."""
POWERS = (1.0, 0.6931472, 0.24022648, 0.055503324, 0.0096184369, 0.0013398875, 0.00015353362)
"""2^f on [-1/2, 1/2] as a polynomial in f: of all with constant 1 the one whose largest relative error is least
(Lawson's algorithm), rounded to float32, which leaves 1.6e-8."""


def lanes_of(x: Value) -> int:
    """How many numbers a vector has."""
    return int(x.type[1:].split()[0])


def constant(f: Function, like: Value, number: int) -> Value:
    """The same 32-bit integer in every lane."""
    kind = vector(lanes_of(like), "i32")
    return Value(f, kind, "<" + ", ".join([f"i32 {number}"] * lanes_of(like)) + ">")


def reinterpreted(x: Value, element: str) -> Value:
    """The same bits as another type of the same width."""
    kind = vector(lanes_of(x), element)
    return x.code.emit(kind, f"bitcast {x.type} {x.text} to {kind}")


def absolute(x: Value) -> Value:
    """|x|"""
    return _call(x, "fabs")


def with_sign_of(size: Value, x: Value) -> Value:
    """|size| with the sign of x, 0 where x is 0."""
    made = _call(size, "copysign", x)
    zero = x.code.splat(0.0, lanes_of(x))
    return chosen(compared("oeq", x, zero), zero, made)


def compared(relation: str, a: Value, b: Value) -> Value:
    """A bit a lane. Relations as LLVM names them: oeq, ogt, ..., all false where either is NaN."""
    return a.code.emit(vector(lanes_of(a), BIT), f"fcmp {relation} {a.type} {a.text}, {b.text}")


def chosen(mask: Value, a: Value, b: Value) -> Value:
    """a in the lanes of the mask, b elsewhere."""
    return a.code.choose(mask, a, b, a.type)


def at_most(x: Value, bound: Value) -> Value:
    """The smaller of the two."""
    return chosen(compared("olt", bound, x), bound, x)


def at_least(x: Value, bound: Value) -> Value:
    """The larger of the two."""
    return chosen(compared("ogt", bound, x), bound, x)


def nearest(x: Value) -> Value:
    """The nearest whole number, ties to even."""
    return _call(x, "roundeven")


def floor(x: Value) -> Value:
    """The largest whole number that is not above."""
    return _call(x, "floor")


def power_of_two(y: Value) -> Value:
    """2^y for -125 <= y <= 127, within 1 unit in the last place: 2^n times a polynomial in y - n, which is exact."""
    f, count = y.code, lanes_of(y)
    rounding = f.splat(ROUNDING, count)
    near = y + rounding
    fraction = y - (near - rounding)
    found = f.splat(POWERS[-1], count)
    for power in reversed(POWERS[:-1]):
        found = f.fma(found, fraction, f.splat(power, count))
    exponent = f.arithmetic("shl", reinterpreted(near, "i32"), constant(f, y, MANTISSA_BITS))
    # A product, not an addition to the exponent's bits, which would make a number of what is NaN.
    return found * reinterpreted(f.emit(exponent.type, _plus(exponent, constant(f, y, ONE_BITS))), "float")


def logarithm(x: Value) -> Value:
    """log x of normal numbers above 0, within 2 units in the last place or 1e-7: that of the exponent and, with s =
    (m - 1) / (m + 1), 2 artanh s = 2 (s + s^3 / 3 + ...) of what is left, m in [sqrt 1/2, sqrt 2). NaN and infinity
    give NaN."""
    f, count = x.code, lanes_of(x)
    bits = reinterpreted(x, "i32")
    above = f.emit(bits.type, f"sub {bits.type} {bits.text}, {constant(f, x, SQRT_HALF_BITS).text}")
    exponent = f.arithmetic("ashr", above, constant(f, x, MANTISSA_BITS))
    moved = f.arithmetic("shl", exponent, constant(f, x, MANTISSA_BITS))
    m = reinterpreted(f.emit(bits.type, f"sub {bits.type} {bits.text}, {moved.text}"), "float")
    one = f.splat(1.0, count)
    s = f.arithmetic("div", m - one, m + one)
    square, series = s * s, f.splat(2 / 9, count)
    for odd in (7, 5, 3, 1):
        series = f.fma(series, square, f.splat(2 / odd, count))
    whole = f.emit(x.type, f"sitofp {exponent.type} {exponent.text} to {x.type}")
    found = f.fma(whole, f.splat(math.log(2), count), series * s)
    return f.fma(x, f.splat(0.0, count), found)


def widened(x: Value) -> Value:
    """The same numbers in float64."""
    kind = vector(lanes_of(x), DOUBLE)
    return x.code.emit(kind, f"fpext {x.type} {x.text} to {kind}")


def total(x: Value) -> Value:
    """The sum of a float64 vector's numbers: halves are added until one is left."""
    f = x.code
    while (half := lanes_of(x) // 2) >= 1:
        low, high = (
            f.emit(
                vector(half, DOUBLE),
                f"shufflevector {x.type} {x.text}, {x.type} poison, <{half} x i32> "
                f"<{', '.join(f'i32 {lane}' for lane in range(start, start + half))}>",
            )
            for start in (0, half)
        )
        x = low + high
    return f.emit(DOUBLE, f"extractelement {x.type} {x.text}, i64 0")


def _plus(a: Value, b: Value) -> str:
    return f"add {a.type} {a.text}, {b.text}"  # wraps: bits, not numbers


def _call(x: Value, name: str, *others: Value) -> Value:
    function = f"llvm.{name}.{suffix(x.type)}"
    listed = ", ".join([x.type] * (1 + len(others)))
    x.code.module.declare(f"declare {x.type} @{function}({listed})")
    values = ", ".join(f"{v.type} {v.text}" for v in (x, *others))
    return x.code.emit(x.type, f"call {x.type} @{function}({values})")
