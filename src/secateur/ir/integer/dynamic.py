"""Codes whose scales are found at run time: what reads them sums integers, and applies the scales once, to the sum.

    y = float32(sum(q_x q_w)) * (s_x s_w) + bias        y = float32(sum(q_a q_b)) * (s_a s_b)

in float32: s_x is the scale of the row, or of the example, that the sum runs over, s_w that of the weights, one or one
an output channel. The sum is an int32, proved not to overflow (`products`). A sum over places with different scales has
none that could be applied to it: such layers are float32, and listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from secateur.ir.formats import Quantized
from secateur.ir.graph import Node
from secateur.ir.integer.integers import INT32_MAX, Found, exact_float
from secateur.ir.integer.products import COMPUTED_WEIGHT, magnitudes, steps_of
from secateur.ir.integer.site import Site
from secateur.ir.ops import OPS
from secateur.ir.ops.quantization import found_scales, nearest_codes
from secateur.maths.map_grid import codes

DIFFERENT = "its scales, found at run time, differ along what is summed"


class Scaled(NamedTuple):
    """Codes, and their scales, of size 1 along every axis of `Found.axes`."""

    codes: np.ndarray
    scales: np.ndarray


class Dynamic(NamedTuple):
    """How a node runs: what its result is held as, None where that is float32; and the numbers made for it, by name."""

    result: Found | None
    parts: Mapping[str, Any]


class DynamicRule(NamedTuple):
    """lower: the node with codes, or in words why not. run: (its inputs, node, parts, batch) -> codes and scales, or
    float32. Inputs are `Scaled` where codes are found, else arrays."""

    lower: Callable[[Site], Dynamic | str]
    run: Callable[[list[Any], Node, Dynamic, int], Scaled | np.ndarray]


def lower_quantize(site: Site) -> Dynamic | str:
    """dynamic_quantize of float32."""
    low, high = codes(site.int("bits"), signed=bool(site.attribute("signed")))
    return Dynamic(Found(low, high, frozenset(site.ints("axes"))), {})


def run_quantize(inputs: list[Any], node: Node, _lowered: Dynamic, _batch: int) -> Scaled:
    """A NaN, which has no code, becomes 0; its row's scale stays NaN, and so does what it is read as."""
    (x, least), attributes = inputs, dict(node.attributes)
    scales = found_scales(x, least, **attributes)  # pyright: ignore[reportArgumentType]
    del attributes["axes"]
    found = nearest_codes(x, scales, **attributes)  # pyright: ignore[reportArgumentType]
    return Scaled(np.where(np.isnan(found), np.float32(0), found).astype(np.int32), scales)


def lower_layer(site: Site) -> Dynamic | str:
    """conv, conv_transpose, linear: weights that lie on a grid, of one scale or one an output channel."""
    x, weight = site.found.get(site.node.inputs[0]), site.stored(1)
    if x is None or not isinstance(weight, Quantized):
        return COMPUTED_WEIGHT if weight is None or x is None else f"its weights are {weight.dtype}, on no grid"
    rank = len(site.shape(0))
    if not _is_one_scale(x, site.shape(0), {rank - 1} if site.node.op == "linear" else range(1, rank)):
        return DIFFERENT
    found = steps_of(site, weight)
    if isinstance(found, str):
        return found
    steps, places = found
    worst = int(magnitudes(site.node, weight.codes).max(initial=0)) * x.bound
    if worst > INT32_MAX:
        return f"its sums could reach {worst:,}, beyond int32 ({INT32_MAX:,})"
    channels = (-1,) if site.node.op == "linear" else (-1, *(1,) * (len(site.output) - 2))
    bias = None
    if len(site.node.inputs) > 2:
        stored = site.stored(2)
        if stored is None:
            return "its bias is computed"
        bias = stored.to_dense().astype(np.float32).reshape(channels)
    scales = steps.astype(np.float32)[places].reshape(channels)
    return Dynamic(None, {"weight": weight.codes, "scales": scales, "bias": bias, "float": exact_float(worst)})


def run_layer(inputs: list[Any], node: Node, lowered: Dynamic, batch: int) -> np.ndarray:
    """The sums, exactly, by the float product that is exact for them; then scales and bias."""
    parts = lowered.parts
    factors = [inputs[0].codes.astype(parts["float"]), parts["weight"].astype(parts["float"])]
    sums = OPS[node.op].run(factors, node.attributes, batch).astype(np.float32)
    sums *= inputs[0].scales * parts["scales"]
    return sums if parts["bias"] is None else sums + parts["bias"]


def lower_product(site: Site) -> Dynamic | str:
    """matmul: both inputs codes, one at least with scales found at run time."""
    bounds, scales = [], []
    for place, summed in ((0, len(site.shape(0)) - 1), (1, len(site.shape(1)) - 2)):
        found = site.found.get(site.node.inputs[place])
        if found is not None:
            if not _is_one_scale(found, site.shape(place), {summed}):
                return DIFFERENT
            bounds.append(found.bound)
            scales.append(None)
            continue
        stored = site.codes(place)
        if isinstance(stored, str):
            return stored
        bounds.append(stored.bound)
        scales.append(np.float32(stored.scales[0]))
    inner = site.shape(0)[-1]
    if inner < 0:
        return "sums over the batch"
    worst = inner * bounds[0] * bounds[1]
    if worst > INT32_MAX:
        return f"its sums could reach {worst:,}, beyond int32 ({INT32_MAX:,})"
    return Dynamic(None, {"scales": scales, "float": exact_float(worst)})


def run_product(inputs: list[Any], node: Node, lowered: Dynamic, batch: int) -> np.ndarray:
    """The sums, exactly, then both scales."""
    parts = lowered.parts
    arrays = [one.codes if isinstance(one, Scaled) else one for one in inputs]
    scales = [
        one.scales if isinstance(one, Scaled) else known for one, known in zip(inputs, parts["scales"], strict=True)
    ]
    factors = [array.astype(parts["float"]) for array in arrays]
    sums = OPS[node.op].run(factors, node.attributes, batch).astype(np.float32)
    return np.asarray(sums * (scales[0] * scales[1]))


def lower_moving(site: Site) -> Dynamic | str:
    """permute, expand, slice, reshape: scales move with the codes."""
    x, op, before, after = site.found[site.node.inputs[0]], site.node.op, site.shape(0), site.output
    if op == "permute":
        axes = {place for place, axis in enumerate(site.ints("axes")) if axis in x.axes}
    elif op == "expand":
        more = len(after) - len(before)
        axes = {axis + more for axis in x.axes} | set(range(more))
        axes |= {axis for axis in range(more, len(after)) if before[axis - more] == 1}
    else:
        axes = set(x.axes) if op == "slice" else _reshaped(before, after, x.axes)
    return Dynamic(Found(x.low, x.high, frozenset(axes)), {})


def run_moving(inputs: list[Any], node: Node, lowered: Dynamic, batch: int) -> Scaled:
    """The same with codes and with scales, spread out; of these one a place is kept that has its own."""
    (x,) = inputs
    moved = OPS[node.op].run([x.codes], node.attributes, batch)
    spread = OPS[node.op].run([np.broadcast_to(x.scales, x.codes.shape)], node.attributes, batch)
    assert lowered.result is not None
    kept = tuple(slice(1) if axis in lowered.result.axes else slice(None) for axis in range(spread.ndim))
    return Scaled(moved, spread[kept])


def lower_keeping(site: Site) -> Dynamic | str:
    """relu, max_pool, adaptive_max_pool, pad: of codes of one scale, along every axis that is pooled or padded."""
    x, op, rank = site.found[site.node.inputs[0]], site.node.op, len(site.output)
    if op == "relu":
        return Dynamic(Found(0, max(0, x.high), x.axes), {})
    if op == "pad":
        pads = site.ints("pads")
        if site.attribute("value"):
            return "pads with a number that is no code at scales found at run time"
        moved = {axis for axis in range(rank) if any(pads[2 * axis : 2 * axis + 2])}
    else:
        moved = set(range(rank - len(site.ints("kernel" if op == "max_pool" else "output")), rank))
    return Dynamic(Found(min(x.low, 0), x.high, x.axes), {}) if _is_one_scale(x, site.shape(0), moved) else DIFFERENT


def run_keeping(inputs: list[Any], node: Node, _lowered: Dynamic, batch: int) -> Scaled:
    """As floats, in which codes are exact, since the border of a pooling is minus infinity."""
    (x,) = inputs
    return Scaled(OPS[node.op].run([x.codes.astype(np.float32)], node.attributes, batch).astype(np.int32), x.scales)


def _is_one_scale(x: Found, shape: tuple[int, ...], axes: Iterable[int]) -> bool:
    """Whether one scale holds along all of these axes; along one of size 1 it does."""
    return all(axis in x.axes or shape[axis] == 1 for axis in axes)


_BATCH = 1_000_003  # a size that no network has


def _reshaped(before: tuple[int, ...], after: tuple[int, ...], axes: frozenset[int]) -> set[int]:
    """The axes of one scale after a row-major reshape: of those that are made of such axes alone."""
    old, new = ([size if size >= 0 else -size * _BATCH for size in shape] for shape in (before, after))
    if not all((*old, *new)):
        return set()
    found: set[int] = set()
    i = j = 0
    while i < len(old) and j < len(new):
        first, start, left, right = i, j, old[i], new[j]
        while left != right:
            if left < right:
                i += 1
                left *= old[i]
            else:
                j += 1
                right *= new[j]
        i, j = i + 1, j + 1
        if all(axis in axes or before[axis] == 1 for axis in range(first, i)):
            found.update(range(start, j))
    return found | set(range(j, len(new)))


MOVING = DynamicRule(lower_moving, run_moving)
KEEPING = DynamicRule(lower_keeping, run_keeping)
LAYER = DynamicRule(lower_layer, run_layer)
DYNAMIC: Mapping[str, DynamicRule] = {
    "dynamic_quantize": DynamicRule(lower_quantize, run_quantize),
    "conv": LAYER,
    "conv_transpose": LAYER,
    "linear": LAYER,
    "matmul": DynamicRule(lower_product, run_product),
    **dict.fromkeys(("relu", "max_pool", "adaptive_max_pool", "pad"), KEEPING),
    "permute": MOVING,
    "expand": MOVING,
    "slice": MOVING,
    "reshape": MOVING,
}
"""Operations on codes whose scales are found at run time. All others read float32."""
