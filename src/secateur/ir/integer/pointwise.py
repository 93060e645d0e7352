"""Sums and products of two maps, and activations that only cut: element by element, in integers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import inf, isfinite

import numpy as np

from secateur.ir.graph import Node
from secateur.ir.integer.integers import Integers, half_up
from secateur.ir.integer.requantize import MOST_BITS, MULTIPLIER_BITS, floor_log2, lost
from secateur.ir.integer.site import IntegerArray, Lowered, Rule, Site, scale_of

SMALL = ("relu", "relu6", "clip", "max_pool", "adaptive_max_pool", "reshape", "permute", "slice", "expand", "pad")
"""What may stand between a sum and the quantizer whose scale it is made for."""


FINE = 9
"""The multipliers of a sum may together be wrong by this many halvings of a step: accumulators beside codes, whose
multiplier has some seven bits where that of the codes has 31, can be wrong by a whole one."""


def lower_sum(site: Site) -> Lowered | str:
    """add, sub: a M_a + b M_b + d, multipliers at the scale s / 2^shift of the quantizer that reads the sum, so that
    requantizing it is one addition and one shift, and nothing is rounded before. d makes up for what the rounding of
    the multipliers can take from the sum, as in `requantize`."""
    a, b = site.integers(0), site.integers(1)
    if isinstance(a, str) or isinstance(b, str):
        return a if isinstance(a, str) else str(b)
    if not (a.axis is None and b.axis is None):
        return "adds integers whose scales differ by channel"
    scale = _scale_behind(site)
    if scale is None:
        return "no quantizer reads its sum"
    ratios = a.scales[0] / scale, b.scales[0] / scale
    shift = MULTIPLIER_BITS - 1 - floor_log2(max(ratios))
    if not 1 <= shift <= MOST_BITS:
        return "its scales are too far from that of the sum"
    first, second = (half_up(ratio * 2**shift) for ratio in ratios)
    exact = [ratio * 2**shift == factor for ratio, factor in zip(ratios, (first, second), strict=True)]
    d = sum(0 if whole else lost(x.bound) for x, whole in zip((a, b), exact, strict=True))
    if d > 2 ** (shift - FINE):
        return "its inputs have scales so far apart that one multiplier has too few digits: quantize both"
    second = -second if site.node.op == "sub" else second
    ends = [sorted((x.low * factor, x.high * factor)) for x, factor in ((a, first), (b, second))]
    low, high = ends[0][0] + ends[1][0] + d, ends[0][1] + ends[1][1] + d
    if max(abs(low), abs(high)).bit_length() > MOST_BITS - 1:
        return "its integers are too wide to be multiplied"
    return Lowered(Integers((scale / 2**shift,), low, high), {"factors": (first, second), "added": d})


def run_sum(arrays: list[IntegerArray], _node: Node, lowered: Lowered, _batch: int) -> IntegerArray:
    """In int64, which holds it: that was proved."""
    terms = [array.astype(np.int64) * factor for array, factor in zip(arrays, lowered.parts["factors"], strict=True)]
    return np.asarray(terms[0] + terms[1] + lowered.parts["added"]).astype(lowered.result.dtype, copy=False)


def _scale_behind(site: Site) -> Fraction | None:
    """The scale of the first quantizer that reads what the node makes, moved or cut but else unchanged."""
    waiting = [site.node.output]
    for name in waiting:
        for reader in site.readers[name]:
            if reader.op == "fake_quantize" and reader.inputs[0] == name and reader.inputs[1] in site.tensors:
                return scale_of(site.tensors[reader.inputs[1]])
            if reader.op in SMALL:
                waiting.append(reader.output)
    return None


def lower_multiple(site: Site) -> Lowered | str:
    """mul: the product of two maps of codes, as in a gate."""
    a, b = site.codes(0), site.codes(1)
    if isinstance(a, str) or isinstance(b, str):
        return a if isinstance(a, str) else str(b)
    worst = a.bound * b.bound  # at most 255 * 255
    return Lowered(Integers((a.scales[0] * b.scales[0],), -worst, worst))


def run_multiple(arrays: list[IntegerArray], _node: Node, _lowered: Lowered, _batch: int) -> IntegerArray:
    """a b."""
    return np.asarray(arrays[0] * arrays[1])


def lower_cut(site: Site) -> Lowered | str:
    """relu, relu6, clip: the ends as integers, rounded half up; of codes, whose steps are coarse, only ends that are
    codes."""
    x = site.integers(0)
    if isinstance(x, str):
        return x
    ends = _ends(site.node)
    if x.are_codes and not _are_codes(ends, x):
        return "cuts codes between two of them"
    rank = len(site.output)
    lows, highs = (_rounded(end, x, rank) for end in ends)
    if lows.max() > x.high or highs.min() < x.low:
        return "it leaves one number only"
    lows, highs = np.maximum(lows, x.low), np.minimum(highs, x.high)
    low = int(np.minimum(np.maximum(x.low, lows), highs).min())
    high = int(np.minimum(np.maximum(x.high, lows), highs).max())
    return Lowered(replace(x, low=low, high=high), {"low": lows, "high": highs})


def run_cut(arrays: list[IntegerArray], _node: Node, lowered: Lowered, _batch: int) -> IntegerArray:
    """min(max(x, low), high)."""
    cut = np.minimum(np.maximum(arrays[0], lowered.parts["low"]), lowered.parts["high"])
    return np.asarray(cut).astype(lowered.result.dtype)


def _ends(node: Node) -> tuple[float, float]:
    if node.op != "clip":
        return 0.0, 6.0 if node.op == "relu6" else inf
    low, high = node.attributes["low"], node.attributes["high"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    return low, high


def _rounded(end: float, x: Integers, ndim: int) -> np.ndarray:
    """An end as integers, half up; one beyond the range is just beyond it."""
    if not isfinite(end):
        return np.asarray(x.low if end < 0 else x.high, np.int64)
    number = Fraction(float(np.float32(end)))
    return x.each(lambda scale: min(max(half_up(number / scale), x.low - 1), x.high + 1), ndim)


def _are_codes(ends: tuple[float, float], x: Integers) -> bool:
    """Whether both ends are integers at the scale, or so far out that they cut nothing."""
    low, high = (Fraction(float(np.float32(end))) / x.scales[0] if isfinite(end) else None for end in ends)
    fits = low is None or low.denominator == 1 or low <= x.low
    return fits and (high is None or high.denominator == 1 or high >= x.high)


SUM = Rule(lower_sum, run_sum)
MULTIPLE = Rule(lower_multiple, run_multiple)
CUT = Rule(lower_cut, run_cut)
