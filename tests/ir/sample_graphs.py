"""Small graphs for the tests of verify, interpret and count."""

from __future__ import annotations

import numpy as np

from secateur.ir.graph import Graph, Node, ValueType

CONV = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": False}


def small_net() -> tuple[Graph, dict[str, np.ndarray]]:
    """image (N, 1, 6, 6) -> conv -> relu -> pool -> reshape -> linear -> scores (N, 3); numbers count up."""
    constants = {"conv.weight": (2, 1, 3, 3), "conv.bias": (2,), "fc.weight": (3, 8), "fc.bias": (3,)}
    nodes = (
        Node("conv", ("image", "conv.weight", "conv.bias"), "maps", CONV),
        Node("relu", ("maps",), "active"),
        Node("max_pool", ("active",), "pooled", POOL),
        Node("reshape", ("pooled",), "flat", {"shape": (-1, 8)}),
        Node("linear", ("flat", "fc.weight", "fc.bias"), "scores"),
    )
    shapes = {
        **constants,
        "image": (-1, 1, 6, 6),
        "maps": (-1, 2, 4, 4),
        "active": (-1, 2, 4, 4),
        "pooled": (-1, 2, 2, 2),
        "flat": (-1, 8),
        "scores": (-1, 3),
    }
    types = {name: ValueType(shape) for name, shape in shapes.items()}
    graph = Graph(("image",), ("scores",), tuple(constants), nodes, types)
    arrays = {name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for name, shape in constants.items()}
    return graph, arrays


def one_node(op: str, inputs: dict[str, ValueType], output: ValueType, **attributes: object) -> Graph:
    """A graph of one operation, whose inputs all come at run time; its result is called y."""
    node = Node(op, tuple(inputs), "y", attributes)  # pyright: ignore[reportArgumentType]
    return Graph(tuple(inputs), ("y",), (), (node,), {**inputs, "y": output})
