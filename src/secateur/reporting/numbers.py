"""How numbers are written on axes and beside lines: short, with their unit."""

from __future__ import annotations

import math

PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def short(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}"


def percent(value: float) -> str:
    """A fraction in per cent."""
    return f"{100 * value:.3g} %"


def brief(value: float) -> str:
    """A count with the prefix of its magnitude: 1.44 M."""
    for size, prefix in PREFIXES:
        if math.isfinite(value) and abs(value) >= size:
            return f"{value / size:.3g} {prefix}"
    return short(value)


def brief_bytes(value: float) -> str:
    """Bytes with the prefix of their magnitude: 27 kB, a kilobyte being 1000 bytes."""
    text = brief(value)
    return f"{text}B" if text[-1:].isalpha() and math.isfinite(value) else f"{text} B"
