"""Means in integers: the sum alone; the division by the number of terms is part of the next requantizing."""

from __future__ import annotations

from math import prod

import numpy as np

from secateur.ir.graph import Node
from secateur.ir.integer.integers import Integers, exact_float
from secateur.ir.integer.moving import ACROSS
from secateur.ir.integer.site import IntegerArray, Lowered, Rule, Site
from secateur.ir.ops.pooling import cell_sums, window_sums, window_taps
from secateur.ir.ops.window import Window

UNEVEN = "its windows have different numbers of elements, which one divisor cannot serve"


def lower_average(site: Site) -> Lowered | str:
    """average_pool, adaptive_average_pool: where every window has as many elements as the others."""
    x = site.integers(0)
    if isinstance(x, str):
        return x
    adaptive = site.node.op == "adaptive_average_pool"
    spatial = len(site.ints("output" if adaptive else "kernel"))
    if x.axis is not None and x.axis >= len(site.output) - spatial:
        return ACROSS
    taps = _cells(site) if adaptive else _windows(site)
    return UNEVEN if taps is None else _mean(x, taps, x.axis)


def run_average(arrays: list[IntegerArray], node: Node, lowered: Lowered, _batch: int) -> IntegerArray:
    """The sums, as floats in which they are exact."""
    x = arrays[0].astype(lowered.parts["float"])
    attributes = {name: value for name, value in node.attributes.items() if name != "count_include_pad"}
    sums = cell_sums if node.op == "adaptive_average_pool" else window_sums
    return sums(x, **attributes).astype(lowered.result.dtype)  # pyright: ignore[reportArgumentType]


def lower_reduction(site: Site) -> Lowered | str:
    """mean, sum: over axes of a known size."""
    x, axes = site.integers(0), site.ints("axes")
    if isinstance(x, str):
        return x
    sizes = [site.shape(0)[axis] for axis in axes]
    if min(sizes) < 0:
        return "reduces over the batch"
    if x.axis in axes:
        return ACROSS
    lost = 0 if x.axis is None or site.attribute("keepdims") else sum(axis < x.axis for axis in axes)
    return _mean(x, prod(sizes), None if x.axis is None else x.axis - lost, divided=site.node.op == "mean")


def run_reduction(arrays: list[IntegerArray], node: Node, lowered: Lowered, _batch: int) -> IntegerArray:
    """The sums."""
    axes, keep = node.attributes["axes"], node.attributes["keepdims"]
    assert isinstance(axes, tuple)
    return np.asarray(arrays[0].sum(axis=axes, keepdims=bool(keep), dtype=lowered.result.dtype))


def _mean(x: Integers, terms: int, axis: int | None, *, divided: bool = True) -> Lowered | str:
    low, high = x.low * terms, x.high * terms
    exact = exact_float(max(abs(low), abs(high)))
    if exact is None:
        return "its sums are too wide to be exact"
    scales = tuple(scale / (terms if divided else 1) for scale in x.scales)
    return Lowered(Integers(scales, low, high, axis, x.places), {"float": exact})


def _windows(site: Site) -> int | None:
    """Elements of every window; None where they differ."""
    kernel, stride, padding = (site.ints(name) for name in ("kernel", "stride", "padding"))
    window = Window(kernel, stride, padding, (1,) * len(kernel), bool(site.attribute("ceil_mode")))
    include = bool(site.attribute("count_include_pad"))
    taps = window_taps(window, site.shape(0)[2:], count_include_pad=include)
    even = all((counts == counts[0]).all() for counts in taps)
    return prod(int(counts[0]) for counts in taps) if even else None


def _cells(site: Site) -> int | None:
    """The same of cells."""
    sizes, cells = site.shape(0)[2:], site.ints("output")
    even = all(size % count == 0 for size, count in zip(sizes, cells, strict=True))
    return prod(size // count for size, count in zip(sizes, cells, strict=True)) if even else None


AVERAGE = Rule(lower_average, run_average)
REDUCTION = Rule(lower_reduction, run_reduction)
