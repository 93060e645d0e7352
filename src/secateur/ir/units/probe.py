"""Which values do not depend on the input: the graph run on NaN, the number that poisons whatever reads it.

Every op of a trained network lets a NaN through, so an element of the result that is finite cannot have read one. A
product with an exact zero is the exception that matters (a gate that is always shut), so it is put in by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from secateur.ir.graph import Node, ValueType
from secateur.ir.ops import OPS
from secateur.ir.units.layout import LAYERS, Layer, UnitFlow
from secateur.ir.units.rules import RULES

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64

Values: TypeAlias = 'dict[str, Float[np.ndarray, "..."]]'


def constant_values(
    flow: UnitFlow,
    live_rows: Mapping[str, Bool[np.ndarray, " _"]],
    biases: Mapping[str, Float64[np.ndarray, " _"]],
) -> Values:
    """The values of one example that are at least partly constant; NaN marks the elements that are not.

    live_rows, biases  of every layer of the flow, by the name of its output: a row that is not live counts as zero
    """
    layers = {layer.node.output: layer for layer in flow.layers}
    values: Values = {}
    for node in flow.graph.nodes:
        reads = [name for name in node.inputs if name not in flow.constants]
        if node.op not in RULES or not all(_is_batch_first(flow.graph.types[name]) for name in (*reads, node.output)):
            continue
        if node.op in LAYERS:
            layer = layers.get(node.output)
            result = _layer_value(flow, layer, values, live_rows, biases) if layer is not None else None
        else:
            result = _op_value(flow, node, values)
        if result is not None and np.isfinite(result).any():
            values[node.output] = np.where(np.isfinite(result), result, np.float32(np.nan))
    return values


def _is_batch_first(value: ValueType) -> bool:
    """Whether examples lie one after another, so that what holds for a batch of one holds for every batch."""
    first, *rest = value.shape or (1,)
    return value.dtype == "float32" and first < 0 and all(size > 0 for size in rest)


def _layer_value(
    flow: UnitFlow,
    layer: Layer,
    values: Values,
    live_rows: Mapping[str, np.ndarray],
    biases: Mapping[str, np.ndarray],
) -> np.ndarray | None:
    """A row of zeros gives its bias; a depthwise row also passes on a constant channel."""
    output = layer.node.output
    dead = ~live_rows[output]
    bias = biases[output].astype(np.float32)
    if layer.depthwise and layer.node.inputs[0] in values:
        arrays = [values[layer.node.inputs[0]], flow.constants[layer.weight], bias]
        with np.errstate(all="ignore"):
            result = OPS[layer.node.op].run(arrays, layer.node.attributes, 1)
    elif dead.any():
        result = np.full(flow.graph.types[output].bind(1), np.nan, np.float32)
    else:
        return None
    axis = flow.layouts[output].axis
    np.moveaxis(result, axis, -1)[..., dead] = bias[dead]
    return result


def _op_value(flow: UnitFlow, node: Node, values: Values) -> np.ndarray | None:
    if not any(name in values for name in node.inputs) or node.attributes.get("axis") == 0:
        return None
    arrays = [_array(flow, name, values) for name in node.inputs]
    with np.errstate(all="ignore"):
        result = OPS[node.op].run(arrays, node.attributes, 1)
    if node.op == "mul":
        shut = np.logical_or(*(array == 0 for array in arrays))
        result = np.where(shut, np.float32(0), result)
    return result


def _array(flow: UnitFlow, name: str, values: Values) -> np.ndarray:
    if name in flow.constants:
        return flow.constants[name]
    if name in values:
        return values[name]
    return np.full(flow.graph.types[name].bind(1), np.nan, np.float32)
