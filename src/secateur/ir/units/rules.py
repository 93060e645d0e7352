"""How units flow through every op: one closed table, RULES, and the ops that units cannot pass, BARRIERS.

A rule gives the layout of a node's output, ties what must stay together, and pins what it does not understand. It is
sound to pin too much and never sound to pin too little.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from secateur.ir.graph import Graph, Node
from secateur.ir.units.layout import LAYERS, Constants, Layer, Layout, UnitFlow, Units

ELEMENTWISE = (
    *("relu", "relu6", "leaky_relu", "elu", "clip"),
    *("sigmoid", "tanh", "silu", "gelu", "hardsigmoid", "hardswish"),
)
POOLS = ("max_pool", "average_pool", "adaptive_average_pool", "adaptive_max_pool")
PARAMETRIC = (*LAYERS, "prelu", "batch_norm")
BARRIERS = (
    *("softmax", "log_softmax", "matmul", "attention", "embedding", "layer_norm", "group_norm"),
    "dynamic_quantize",  # its scale is that of the largest unit
    *("lstm", "gru", "rnn"),  # a unit that nothing feeds still has a state of its own, which its gates move
)


def trace_units(graph: Graph, constants: Constants) -> UnitFlow:
    """Follow the units of every layer (convolutions, linear) through a verified graph."""
    flow = UnitFlow(graph, constants)
    for node in graph.nodes:
        if node.op in PARAMETRIC:
            for name in set(node.inputs[1:]) & set(flow.layouts):
                flow.pin(flow.layouts[name].units, f"computes a parameter of a {node.op}")
        rule = RULES.get(node.op)
        layout = rule(flow, node) if rule else _stop(flow, node, f"read by {node.op}")
        if layout is not None:
            flow.layouts[node.output] = layout
    for name in graph.outputs:
        if name in flow.layouts:
            flow.pin(flow.layouts[name].units, "a result of the network")
    return flow


def _stop(flow: UnitFlow, node: Node, reason: str) -> None:
    """A barrier: every unit the node reads stays, its output has none."""
    for name in node.inputs:
        if name in flow.layouts:
            flow.pin(flow.layouts[name].units, reason)


def _shape(flow: UnitFlow, name: str) -> tuple[int, ...]:
    return flow.graph.types[name].shape


def _ints(node: Node, name: str) -> tuple[int, ...]:
    value = node.attributes[name]
    assert isinstance(value, tuple)
    return value


def _int(node: Node, name: str) -> int:
    value = node.attributes[name]
    assert isinstance(value, int)
    return value


def _conv(flow: UnitFlow, node: Node) -> Layout:
    groups = _int(node, "groups")
    if groups == 1:
        return _dense(flow, node, 1)
    source = flow.layouts.get(node.inputs[0])
    private = all(flow.is_private(name) for name in node.inputs[1:])
    if _is_depthwise(flow, node, groups) and source is not None and source.axis == 1 and private:
        rows = np.repeat(source.units, _shape(flow, node.output)[1] // groups)
        for name in node.inputs[1:]:
            flow.lay(name, 0, rows)
        flow.layers.append(Layer(node, rows, depthwise=True))
        return Layout(1, rows)
    _stop(flow, node, "read by a grouped convolution")
    return _pinned_rows(flow, node, 1, "made by a grouped convolution")


def _is_depthwise(flow: UnitFlow, node: Node, groups: int) -> bool:
    """Whether every channel is a group of its own, on axis 0 of the weight.

    A transposed convolution that makes several channels of one holds them on another axis than the channel itself.
    """
    rows, width, *_ = _shape(flow, node.inputs[1])
    return width == 1 and (node.op == "conv" or rows == groups)


def _linear(flow: UnitFlow, node: Node) -> Layout:
    return _dense(flow, node, len(_shape(flow, node.inputs[0])) - 1)


def _dense(flow: UnitFlow, node: Node, axis: int) -> Layout:
    """Every output reads every input along `axis`: new units from here on."""
    for name in node.inputs[1:]:
        if not flow.is_private(name):
            _stop(flow, node, f"{name} is shared or computed")
            return _pinned_rows(flow, node, axis, f"{name} is shared or computed")
    source = flow.layouts.get(node.inputs[0])
    columns = source.units if source is not None and source.axis == axis else None
    layer = Layer(node, flow.fresh(_shape(flow, node.output)[axis]), columns)
    if columns is None:
        _stop(flow, node, f"read by {node.op} along another axis")
    else:
        flow.lay(layer.weight, layer.column_axis, columns)
    flow.lay(layer.weight, layer.row_axis, layer.rows)
    if layer.bias:
        flow.lay(layer.bias, 0, layer.rows)
    flow.layers.append(layer)
    return Layout(axis, layer.rows)


def _pinned_rows(flow: UnitFlow, node: Node, axis: int, reason: str) -> Layout:
    rows = flow.fresh(_shape(flow, node.output)[axis])
    flow.pin(rows, reason)
    if all(name in flow.constants for name in node.inputs[1:]):
        flow.layers.append(Layer(node, rows))
    return Layout(axis, rows)


def _same(flow: UnitFlow, node: Node) -> Layout | None:
    return flow.layouts.get(node.inputs[0])


def _prelu(flow: UnitFlow, node: Node) -> Layout | None:
    layout = flow.layouts.get(node.inputs[0])
    if layout is None or _shape(flow, node.inputs[1]) == (1,):
        return layout
    if layout.axis != 1:
        return _stop(flow, node, "read by prelu along another axis")
    flow.lay(node.inputs[1], 0, layout.units)
    return layout


def _batch_norm(flow: UnitFlow, node: Node) -> Layout | None:
    layout = flow.layouts.get(node.inputs[0])
    if layout is None:
        return None
    if layout.axis != 1 or not all(flow.is_private(name) for name in node.inputs[1:]):
        return _stop(flow, node, "read by a batch norm along another axis, or with shared parameters")
    eps = node.attributes["eps"]
    assert isinstance(eps, int | float)
    if eps == 0:
        # A removed unit is restored with variance 0, and 0 / sqrt(0 + 0) would be a NaN.
        return _stop(flow, node, "read by a batch norm with eps 0")
    for name in node.inputs[1:]:
        flow.lay(name, 0, layout.units)
    flow.pin(layout.units[~(flow.constants[node.inputs[4]] + eps > 0)], f"{node.inputs[4]} is not positive there")
    return layout


def _pool(flow: UnitFlow, node: Node) -> Layout | None:
    layout = flow.layouts.get(node.inputs[0])
    spatial = len(_ints(node, "output" if node.op.startswith("adaptive") else "kernel"))
    if layout is not None and layout.axis >= len(_shape(flow, node.inputs[0])) - spatial:
        return _stop(flow, node, "pooled over")
    return layout


def _reduce(flow: UnitFlow, node: Node) -> Layout | None:
    layout = flow.layouts.get(node.inputs[0])
    if layout is None:
        return None
    axes = _ints(node, "axes")
    if layout.axis in axes:
        return _stop(flow, node, f"{node.op} over the units")
    lost = 0 if node.attributes["keepdims"] else sum(axis < layout.axis for axis in axes)
    return Layout(layout.axis - lost, layout.units)


def _cast(flow: UnitFlow, node: Node) -> Layout | None:
    return _same(flow, node) if node.attributes["dtype"] == "float32" else _stop(flow, node, "cast to another type")


def _reshape(flow: UnitFlow, node: Node) -> Layout | None:
    layout = flow.layouts.get(node.inputs[0])
    if layout is None:
        return None
    found = reshaped(_shape(flow, node.inputs[0]), _shape(flow, node.output), layout)
    return found or _stop(flow, node, "split or merged with the batch by a reshape")


def reshaped(before: tuple[int, ...], after: tuple[int, ...], layout: Layout) -> Layout | None:
    """The layout after a row-major reshape, or None where the units are spread over several axes or the batch.

    With o positions before and i after each unit, an axis that holds q of the o, the units and r of the i tiles the
    units q times and repeats each one r times.
    """
    outer, inner = prod(map(abs, before[: layout.axis])), prod(before[layout.axis + 1 :])
    if min(before[layout.axis :]) <= 0 or outer == 0:
        return None
    for axis, size in enumerate(after):
        front, back = prod(map(abs, after[:axis])), prod(after[axis + 1 :])
        if min(after[axis:]) <= 0 or front == 0 or outer % front or inner % back:
            continue
        tiles, repeat = outer // front, inner // back
        if size == tiles * len(layout.units) * repeat:
            return Layout(axis, np.tile(np.repeat(layout.units, repeat), tiles))
    return None


def _permute(flow: UnitFlow, node: Node) -> Layout | None:
    layout = flow.layouts.get(node.inputs[0])
    return None if layout is None else Layout(_ints(node, "axes").index(layout.axis), layout.units)


def _expand(flow: UnitFlow, node: Node) -> Layout | None:
    layout = flow.layouts.get(node.inputs[0])
    if layout is None:
        return None
    before, after = _shape(flow, node.inputs[0]), _shape(flow, node.output)
    axis = layout.axis + len(after) - len(before)
    if after[axis] != before[layout.axis]:
        return _stop(flow, node, "expanded")
    return Layout(axis, layout.units)


def _slice(flow: UnitFlow, node: Node) -> Layout | None:
    layout = flow.layouts.get(node.inputs[0])
    if layout is None or layout.axis != _int(node, "axis"):
        return layout
    start, stop, step = (_int(node, name) for name in ("start", "stop", "step"))
    if step != 1:
        return _stop(flow, node, "sliced with a step")
    return Layout(layout.axis, layout.units[start:stop])


def _pad(flow: UnitFlow, node: Node) -> Layout | None:
    layout = flow.layouts.get(node.inputs[0])
    if layout is not None and any(_ints(node, "pads")[2 * layout.axis : 2 * layout.axis + 2]):
        return _stop(flow, node, "padded with more channels")
    return layout


def _concat(flow: UnitFlow, node: Node) -> Layout | None:
    layouts = [flow.layouts.get(name) for name in node.inputs]
    known = [layout for layout in layouts if layout is not None]
    if not known:
        return None
    axis = _int(node, "axis")
    if any(layout.axis != axis for layout in known):
        if len(known) < len(layouts) or len({layout.axis for layout in known}) > 1:
            return _stop(flow, node, "concatenated with a value that is laid out otherwise")
        for layout in known[1:]:
            flow.tie(layout.units, known[0].units)
        return known[0]
    parts: list[Units] = []
    for name, layout in zip(node.inputs, layouts, strict=True):
        parts.append(layout.units if layout is not None else flow.fresh(_shape(flow, name)[axis]))
        if layout is None:
            flow.pin(parts[-1], f"{name} is not the output of a layer")
    return Layout(axis, np.concatenate(parts))


def _combine(flow: UnitFlow, node: Node) -> Layout | None:
    """add, sub, mul: numpy broadcasting; units of both operands on the same axis are tied."""
    rank = len(_shape(flow, node.output))
    carrier = next((name for name in node.inputs if _carries(flow, node, name)), None)
    if carrier is None:
        return _stop(flow, node, "broadcast")
    units = flow.layouts[carrier].units
    axis = flow.layouts[carrier].axis + rank - len(_shape(flow, carrier))
    for name in node.inputs:
        shape, layout = _shape(flow, name), flow.layouts.get(name)
        own = axis - rank + len(shape)
        if layout is not None and layout.axis == own and len(layout.units) == len(units):
            flow.tie(layout.units, units)
            continue
        if layout is not None:
            flow.pin(layout.units, "combined along another axis")
        if own < 0 or shape[own] == 1:
            continue
        if name in flow.constants:
            flow.lay(name, own, units)
        else:
            flow.pin(units, f"combined with {name}, which has no units there")
    return Layout(axis, units)


def _carries(flow: UnitFlow, node: Node, name: str) -> bool:
    """Whether the units of an operand reach the output one to one, not stretched by broadcasting."""
    layout, shape = flow.layouts.get(name), _shape(flow, name)
    return layout is not None and _shape(flow, node.output)[layout.axis - len(shape)] == len(layout.units)


def _divide(flow: UnitFlow, node: Node) -> Layout | None:
    """Only by one constant number: 0 / 0 in a removed unit would be a NaN in the model that a user restores."""
    divisor = flow.constants.get(node.inputs[1])
    if divisor is None or divisor.size != 1 or not np.isfinite(divisor).all() or not divisor.all():
        return _stop(flow, node, "divided by something else than one finite constant")
    return _combine(flow, node)


Rule = Callable[[UnitFlow, Node], Layout | None]
RULES: dict[str, Rule] = {
    "conv": _conv,
    "conv_transpose": _conv,
    "linear": _linear,
    **dict.fromkeys(ELEMENTWISE, _same),
    "fake_quantize": _same,  # one scale for all units
    "prelu": _prelu,
    "batch_norm": _batch_norm,
    **dict.fromkeys(POOLS, _pool),
    "mean": _reduce,
    "sum": _reduce,
    "cast": _cast,
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "slice": _slice,
    "pad": _pad,
    "concat": _concat,
    "add": _combine,
    "sub": _combine,
    "mul": _combine,
    "div": _divide,
}
