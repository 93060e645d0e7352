"""What moves integers or takes the largest of them, and computes nothing: exact, whatever they stand for."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from secateur.ir.graph import Node
from secateur.ir.integer.integers import Integers, exact_float, integers
from secateur.ir.integer.site import IntegerArray, Lowered, Rule, Site
from secateur.ir.ops import OPS
from secateur.ir.units.layout import Layout
from secateur.ir.units.rules import reshaped

ACROSS = "mixes channels whose integers have different scales"


def lower_moving(site: Site) -> Lowered | str:
    """reshape, permute, slice, expand: scales stay with the positions of their axis."""
    x = site.integers(0)
    if isinstance(x, str) or x.axis is None or x.places is None:
        return x if isinstance(x, str) else Lowered(x)
    layout = _moved(site, Layout(x.axis, x.places))
    return ACROSS if layout is None else Lowered(integers(x.scales, x.low, x.high, layout.axis, layout.units))


def _moved(site: Site, layout: Layout) -> Layout | None:
    """Where positions are after the node; None where they no longer lie on one axis. They move as units do."""
    op, before, after = site.node.op, site.shape(0), site.output
    if op == "permute":
        return Layout(site.ints("axes").index(layout.axis), layout.units)
    if op == "expand":
        return Layout(layout.axis + len(after) - len(before), layout.units)
    if op == "slice" and site.int("axis") == layout.axis:
        return Layout(layout.axis, layout.units[site.int("start") : site.int("stop") : site.int("step")])
    return reshaped(before, after, layout) if op == "reshape" else layout


def lower_pad(site: Site) -> Lowered | str:
    """A border of what is there already, or of a number that is a whole multiple of the scale, as 0 always is."""
    x, pads = site.integers(0), site.ints("pads")
    if isinstance(x, str):
        return x
    if x.axis is not None and any(pads[2 * x.axis : 2 * x.axis + 2]):
        return ACROSS
    value = site.attribute("value")
    assert isinstance(value, float)
    if value and (x.axis is not None or not np.isfinite(value)):
        return f"pads with {value:g}, which is no integer at its scale"
    number = Fraction(float(np.float32(value))) / x.scales[0]
    if number.denominator != 1 or not x.low <= number <= x.high:
        return f"pads with {value:g}, which is no integer at its scale"
    low, high = (x.low, x.high) if site.attribute("mode") != "constant" else (min(x.low, 0), max(x.high, 0))
    return Lowered(replace(x, low=low, high=high), {"value": int(number)})


def run_pad(arrays: list[IntegerArray], node: Node, lowered: Lowered, batch: int) -> IntegerArray:
    """The border in integers."""
    return OPS["pad"].run(arrays, {**node.attributes, "value": float(lowered.parts["value"])}, batch)


def lower_concat(site: Site) -> Lowered | str:
    """Values whose scales differ keep them, one a position of the axis; they cannot where that is another axis."""
    axis, found = site.int("axis"), list[Integers]()
    for place in range(len(site.node.inputs)):
        x = site.integers(place)
        if isinstance(x, str):
            return x
        if x.axis not in (None, axis):
            return ACROSS
        found.append(x)
    low, high = min(x.low for x in found), max(x.high for x in found)
    if len({x.scales for x in found}) == 1 and found[0].axis is None:
        return Lowered(Integers(found[0].scales, low, high))
    if site.output[axis] < 0:
        return "joins examples whose integers have different scales"
    scales = tuple(scale for x in found for scale in x.scales)
    first = np.cumsum([0, *(len(x.scales) for x in found)])
    places = [x.where(site.shape(place)[axis]) + first[place] for place, x in enumerate(found)]
    return Lowered(integers(scales, low, high, axis, np.concatenate(places)))


def lower_largest(site: Site) -> Lowered | str:
    """max_pool, adaptive_max_pool: the order of integers is that of what they stand for, as scales are positive."""
    x = site.integers(0)
    if isinstance(x, str):
        return x
    spatial = len(site.ints("kernel" if site.node.op == "max_pool" else "output"))
    if x.axis is not None and x.axis >= len(site.output) - spatial:
        return ACROSS
    exact = exact_float(x.bound)
    return "its integers are too wide to be compared as floats" if exact is None else Lowered(x, {"float": exact})


def run_largest(arrays: list[IntegerArray], node: Node, lowered: Lowered, batch: int) -> IntegerArray:
    """As floats, in which they are exact, since the border of a pooling is minus infinity."""
    return OPS[node.op].run([arrays[0].astype(lowered.parts["float"])], node.attributes, batch).astype(arrays[0].dtype)


def run_moving(arrays: list[IntegerArray], node: Node, lowered: Lowered, batch: int) -> IntegerArray:
    """The same as of floats."""
    return OPS[node.op].run(arrays, node.attributes, batch).astype(lowered.result.dtype, copy=False)


MOVING = Rule(lower_moving, run_moving)
PAD = Rule(lower_pad, run_pad)
CONCAT = Rule(lower_concat, run_moving)
LARGEST = Rule(lower_largest, run_largest)
