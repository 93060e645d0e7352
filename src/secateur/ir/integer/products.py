"""Sums of products in integers: convolutions, linear layers, products of two maps.

    acc = 2^k sum(q_x q_w) + round(2^k bias / (s_x s_w)),  in units of s_x s_w / 2^k

is an int32, proved not to overflow: per output, the sum of the |codes| of its weights times the largest |code| of the
input bounds every partial sum in whatever order. k is the largest that leaves room, at most 16, and 0 without a bias.
Jacob et al. (CVPR 2018, section 2.4) have k = 0; with weights of 2 to 4 bits s_x s_w is a step so wide that a bias
rounded to it would move the next codes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from secateur.ir.formats import Quantized
from secateur.ir.graph import Node
from secateur.ir.integer.integers import INT32_MAX, Integers, Places, exact_float, integers
from secateur.ir.integer.site import IntegerArray, Lowered, Rule, Site
from secateur.ir.ops import OPS

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

COMPUTED_WEIGHT = "its weights are computed"
MOST_FRACTION = 16
"""The largest k."""


def lower_layer(site: Site) -> Lowered | str:
    """conv, conv_transpose, linear: weights that lie on a grid, of one scale or one an output channel."""
    x, weight = site.codes(0), site.stored(1)
    if isinstance(x, str):
        return x
    if not isinstance(weight, Quantized):
        return COMPUTED_WEIGHT if weight is None else f"its weights are {weight.dtype}, on no grid"
    found = steps_of(site, weight)
    if isinstance(found, str):
        return found
    steps, places = found
    axis = len(site.output) - 1 if site.node.op == "linear" else 1
    sums = magnitudes(site.node, weight.codes) * x.bound
    bias = _bias(site, float(x.scales[0]) * steps[places])
    if isinstance(bias, str):
        return bias
    fraction, added = _fixed(sums, bias)
    worst = int((sums * 2**fraction + np.abs(added)).max())
    if worst > INT32_MAX:
        return f"its sums could reach {worst:,}, beyond int32 ({INT32_MAX:,})"
    scales = tuple(x.scales[0] * Fraction(step) / 2**fraction for step in steps.tolist())
    parts = {"weight": weight.codes, "bias": added.astype(np.int32), "fraction": fraction, "axis": axis}
    result = integers(scales, -worst, worst, axis, places)
    return Lowered(result, {**parts, "float": exact_float(int(sums.max()))})


def run_layer(arrays: list[IntegerArray], node: Node, lowered: Lowered, batch: int) -> IntegerArray:
    """The sums, exactly, by the float product that is exact for them; then the bias."""
    parts = lowered.parts
    factors = [arrays[0].astype(parts["float"]), parts["weight"].astype(parts["float"])]
    sums = OPS[node.op].run(factors, node.attributes, batch).astype(np.int32)
    sums <<= parts["fraction"]
    sums += parts["bias"].reshape(-1, *(1,) * (sums.ndim - parts["axis"] - 1))
    return sums


def lower_product(site: Site) -> Lowered | str:
    """matmul: both inputs codes."""
    a, b, inner = site.codes(0), site.codes(1), site.shape(0)[-1]
    if isinstance(a, str) or isinstance(b, str):
        return a if isinstance(a, str) else str(b)
    if inner < 0:
        return "sums over the batch"
    worst = inner * a.bound * b.bound
    if worst > INT32_MAX:
        return f"its sums could reach {worst:,}, beyond int32 ({INT32_MAX:,})"
    return Lowered(Integers((a.scales[0] * b.scales[0],), -worst, worst), {"float": exact_float(worst)})


def run_product(arrays: list[IntegerArray], node: Node, lowered: Lowered, batch: int) -> IntegerArray:
    """The sums, exactly, as in `run_layer`."""
    factors = [array.astype(lowered.parts["float"]) for array in arrays]
    return OPS[node.op].run(factors, node.attributes, batch).astype(np.int32)


LAYER = Rule(lower_layer, run_layer)
PRODUCT = Rule(lower_product, run_product)


def steps_of(site: Site, weight: Quantized) -> tuple[Float64[np.ndarray, " steps"], Places] | str:
    """The different scales of the weights, and which of them each output channel has.

    A scale of zero has zeros for weights, so that any scale does: there the largest of the others, which its bias gets.
    """
    transposed = site.node.op == "conv_transpose"
    if weight.grid.by_channel and weight.grid.axis != int(transposed):
        return "its weights have a scale an input channel, which a sum over them cannot have"
    steps = np.atleast_1d(weight.grid.scale).astype(np.float64)
    if not steps.any():
        return "its weights are all zero, with a scale of zero"
    outputs = site.output[-1 if site.node.op == "linear" else 1]
    steps, places = np.unique(np.where(steps > 0, steps, steps.max()), return_inverse=True)
    return steps, np.resize(places.reshape(-1), outputs)  # one for all, or one a channel of every group


def magnitudes(node: Node, codes: np.ndarray) -> Int64[np.ndarray, " outputs"]:
    """Per output the sum of |codes| that it can meet."""
    sizes = np.abs(codes)  # int8 holds it: codes reach from -127 to 127
    if node.op != "conv_transpose":
        return sizes.reshape(len(sizes), -1).sum(axis=1, dtype=np.int64)
    groups = node.attributes["groups"]
    assert isinstance(groups, int)
    grouped = sizes.reshape(groups, len(sizes) // groups, sizes.shape[1], -1)
    return grouped.sum(axis=(1, 3), dtype=np.int64).reshape(-1)


def _bias(site: Site, scales: Float64[np.ndarray, " outputs"]) -> Float64[np.ndarray, " outputs"] | str:
    """bias / (s_x s_w), one float64 division; zeros without a bias."""
    if len(site.node.inputs) < 3:
        return np.zeros(len(scales))
    stored = site.stored(2)
    if stored is None:
        return "its bias is computed"
    bias = stored.to_dense().astype(np.float64)
    return bias / scales if np.isfinite(bias).all() else "its bias is not finite"


def _fixed(
    sums: Int64[np.ndarray, " outputs"], bias: Float64[np.ndarray, " outputs"]
) -> tuple[int, Int64[np.ndarray, " outputs"]]:
    """k, and the bias times 2^k, rounded half up."""
    room = float((sums + np.abs(bias)).max()) + 1
    fraction = min(MOST_FRACTION, max(0, int(np.floor(np.log2(INT32_MAX / room))))) if bias.any() else 0
    scaled = np.floor(bias * 2.0**fraction + 0.5)
    return fraction, np.clip(scaled, -(2.0**32), 2.0**32).astype(np.int64)
