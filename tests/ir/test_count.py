"""Counting, against numbers worked out by hand and against the products themselves."""

from __future__ import annotations

import numpy as np
import pytest
from sample_graphs import small_net

from secateur.ir.count import LayerCount, count
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.ops import OPS


def test_a_small_network_by_hand() -> None:
    graph, constants = small_net()
    constants["conv.weight"][0] = 0  # 9 of 18 weights, with the 0 that was there counted once
    constants["fc.weight"][:] = 1
    result = count(graph, constants)
    conv = LayerCount("maps", "conv", 20, 9 + 1, 16 * 18, 16 * 9)
    linear = LayerCount("scores", "linear", 27, 24 + 2, 24, 24)
    assert result.layers == (conv, linear)
    assert (result.parameters, result.nonzeros) == (47, 36)
    assert (result.macs, result.effective_macs) == (288 + 24, 144 + 24)
    assert result.density == 36 / 47


def test_lenet_5_caffe() -> None:
    """The 430,500 weights and 580 biases, 2,293,000 macs that the literature gives for this network."""
    nodes, types = [], {"x": ValueType((-1, 1, 28, 28))}
    last = "x"
    window = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    pool = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": False}
    plan = [
        ("conv", (20, 1, 5, 5), window | {"groups": 1}),
        ("max_pool", None, pool),
        ("conv", (50, 20, 5, 5), window | {"groups": 1}),
        ("max_pool", None, pool),
        ("reshape", None, {"shape": (-1, 800)}),
        ("linear", (500, 800), {}),
        ("linear", (10, 500), {}),
    ]
    constants = {}
    for position, (op, weight, attributes) in enumerate(plan):
        inputs = [last]
        if weight:
            for name, shape in ((f"w{position}", weight), (f"b{position}", weight[:1])):
                constants[name] = np.ones(shape, np.float32)
                types[name] = ValueType(shape)
                inputs.append(name)
        last = f"v{position}"
        types[last] = OPS[op].shape([types[name] for name in inputs], attributes)
        nodes.append(Node(op, tuple(inputs), last, attributes))
    result = count(Graph(("x",), (last,), tuple(constants), tuple(nodes), types), constants)
    assert result.parameters == result.nonzeros == 430_500 + 580
    assert result.macs == result.effective_macs == 2_293_000


def test_a_shared_constant_counts_once_in_the_total_only() -> None:
    weight = ValueType((4, 4))
    nodes = (Node("linear", ("x", "w"), "h"), Node("linear", ("h", "w"), "y"))
    types = {"x": ValueType((-1, 4)), "w": weight, "h": ValueType((-1, 4)), "y": ValueType((-1, 4))}
    result = count(Graph(("x",), ("y",), ("w",), nodes, types), {"w": np.eye(4, dtype=np.float32)})
    assert [layer.parameters for layer in result.layers] == [16, 16]
    assert (result.parameters, result.nonzeros, result.macs, result.effective_macs) == (16, 4, 32, 8)


def test_masks_and_indices_are_no_parameters() -> None:
    nodes = (Node("embedding", ("ids", "table"), "e"), Node("mul", ("x", "e"), "y"))
    types = {
        "x": ValueType((-1, 3, 2)),
        "ids": ValueType((3,), "int64"),
        "table": ValueType((5, 2)),
        "e": ValueType((3, 2)),
        "y": ValueType((-1, 3, 2)),
    }
    constants = {"ids": np.arange(3), "table": np.ones((5, 2), np.float32)}
    result = count(Graph(("x",), ("y",), ("ids", "table"), nodes, types), constants)
    assert result.layers == (LayerCount("e", "embedding", 10, 10, 0, 0),)
    assert result.parameters == 10


def test_a_graph_without_parameters() -> None:
    types = {"x": ValueType((-1, 2)), "y": ValueType((-1, 2))}
    result = count(Graph(("x",), ("y",), (), (Node("relu", ("x",), "y"),), types), {})
    assert (result.layers, result.parameters, result.macs, result.density) == ((), 0, 0, 1.0)


@pytest.mark.parametrize(
    ("op", "shapes", "attributes"),
    [
        ("linear", [(1, 5, 7), (3, 7)], {}),
        ("matmul", [(2, 4, 5), (3, 1, 5, 3)], {}),
        ("conv", [(1, 4, 9, 8), (6, 2, 3, 2)], {"stride": (2, 1), "padding": (0, 0), "dilation": (1, 2), "groups": 2}),
    ],
)
def test_macs_are_what_a_product_of_ones_sums_up(op: str, shapes: list[tuple[int, ...]], attributes: dict) -> None:
    ones = OPS[op].run([np.ones(shape, np.float32) for shape in shapes], attributes, 1)
    assert OPS[op].macs([ValueType(shape) for shape in shapes], attributes) == ones.sum()


def test_attention_is_two_products() -> None:
    q, k, v = (ValueType(shape) for shape in ((-1, 2, 5, 4), (-1, 2, 7, 4), (-1, 2, 7, 3)))
    scores = OPS["matmul"].macs([q, ValueType((-1, 2, 4, 7))], {})
    values = OPS["matmul"].macs([ValueType((-1, 2, 5, 7)), v], {})
    assert OPS["attention"].macs([q, k, v], {"scale": 1.0, "causal": False}) == scores + values


def test_taps_on_padding_count() -> None:
    window = {"stride": (1,), "padding": (2,), "dilation": (1,), "groups": 1}
    assert OPS["conv"].macs([ValueType((-1, 1, 3)), ValueType((1, 1, 3))], window) == 5 * 3


def test_products_of_maps_have_no_weights() -> None:
    """What they multiply is told apart, and never as work on weights that are not zero."""
    square = ValueType((-1, 4, 4))
    nodes = (Node("linear", ("x", "w"), "h"), Node("matmul", ("h", "x"), "y"))
    types = {"x": square, "w": ValueType((4, 4)), "h": square, "y": square}
    result = count(Graph(("x",), ("y",), ("w",), nodes, types), {"w": np.eye(4, dtype=np.float32)})
    assert result.layers[1] == LayerCount("y", "matmul", 0, 0, 64, 0, map_macs=64)
    assert (result.macs, result.effective_macs, result.map_macs) == (128, 16, 64)
