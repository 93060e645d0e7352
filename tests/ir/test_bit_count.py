"""Bit operations and bytes of maps, by hand: 32 bits where nothing is quantized, and what is kept counts once."""

from __future__ import annotations

import numpy as np
from random_networks import Net

from secateur.ir.bit_count import BitCount, LayerBits, MapBytes, count_bits
from secateur.ir.count import count
from secateur.ir.formats import Dense, Stored, on_grid
from secateur.ir.grid import Grid

POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": False}


def counted(net: Net, bits: int | None = None) -> BitCount:
    graph = net.graph(net.nodes[-1].output)
    tensors: dict[str, Stored] = {
        name: on_grid(array, Grid.spanning(array, bits), nearest=True) if bits and array.ndim > 1 else Dense(array)
        for name, array in net.constants.items()
    }
    return count_bits(graph, tensors, count(graph, {name: tensor.to_dense() for name, tensor in tensors.items()}))


def test_a_plain_network_counts_32_bits():
    net = Net(-1, 2, 6, 6)
    x = net.add("max_pool", net.add("relu", net.conv("x", "conv", 3, 3)), **POOL)
    net.linear(net.flatten(x), "fc", 5)
    found = counted(net)
    conv, fc = 3 * 2 * 9 * 16, 12 * 5
    assert found.layers == (
        LayerBits("v0", "conv", 32, 32, conv * 1024),
        LayerBits("v4", "linear", 32, 32, fc * 1024),
    )
    assert found.bit_operations == (conv + fc) * 1024
    assert found.maps == (MapBytes("x", (1, 2, 6, 6), 32, 288), MapBytes("v0", (1, 3, 4, 4), 32, 192))
    assert found.largest_map == found.maps[0]


def test_quantized_weights_and_maps_count_their_bits_and_zeros_nothing():
    net = Net(-1, 2, 6, 6)
    x = net.quantize("x", "input", 0.125, 8)
    x = net.quantize(net.add("relu", net.conv(x, "conv", 3, 3)), "map", 0.125, 3, signed=False)
    net.linear(net.flatten(net.add("max_pool", x, **POOL)), "fc", 5)
    net.constants["conv.weight"][0] = 0
    found = counted(net, bits=4)
    assert found.layers[0] == LayerBits("v1", "conv", 4, 8, found.layers[0].bit_operations)
    weight = net.constants["conv.weight"]
    nonzeros = np.count_nonzero(on_grid(weight, Grid.spanning(weight, 4), nearest=True).codes)
    assert found.layers[0].bit_operations == 4 * 8 * 16 * nonzeros <= 4 * 8 * 16 * 36
    assert (found.layers[1].weight_bits, found.layers[1].map_bits) == (4, 3)
    assert found.maps == (MapBytes("v0", (1, 2, 6, 6), 8, 72), MapBytes("v3", (1, 3, 4, 4), 3, 18))


def test_bytes_are_rounded_up():
    net = Net(-1, 3)
    net.linear(net.quantize("x", "map", 0.125, 3), "fc", 2)
    assert counted(net).maps == (MapBytes("v0", (1, 3), 3, 2),)


def test_what_is_joined_before_it_is_quantized_is_kept_once():
    net = Net(-1, 2, 6, 6)
    x = net.quantize("x", "input", 0.125, 8)
    both = net.add("concat", net.add("relu", net.conv(x, "a", 3)), net.conv(x, "b", 2), axis=1)
    net.conv(net.quantize(both, "map", 0.125, 4), "c", 2)
    assert [row.name for row in counted(net).maps] == ["v0", "v5"]
    net = Net(-1, 2, 6, 6)
    both = net.add("concat", net.add("relu", net.conv("x", "a", 3)), net.conv("x", "b", 2), axis=1)
    net.conv(both, "c", 2)
    assert [row.name for row in counted(net).maps] == ["x", "v0", "v2", "v3"]


def test_sums_and_products_of_maps():
    net = Net(-1, 4, 4)
    a, b = net.quantize("x", "a", 0.125, 5), net.quantize("x", "b", 0.25, 3)
    net.add("matmul", a, b)
    found = counted(net)
    assert found.layers == (LayerBits("v2", "matmul", 3, 5, 64 * 15, of_maps=True),)
    assert (found.bit_operations, found.map_bit_operations) == (0, 64 * 15)
    net.add("add", "v2", a)
    assert [row.name for row in counted(net).maps] == ["v0", "v1", "v2"]
    net = Net(-1, 2, 4, 8)
    x = net.quantize("x", "a", 0.125, 5)
    net.add("attention", x, x, x, scale=1.0, causal=False)
    (layer,) = counted(net).layers
    assert (layer.weight_bits, layer.map_bits) == (32, 32)


def test_a_graph_that_reads_no_map_has_no_largest():
    net = Net(-1, 4)
    net.add("sigmoid", "x")
    assert counted(net).largest_map is None


def test_what_normalizes_or_combines_two_maps_reads_them_and_a_constant_makes_none():
    net = Net(-1, 4, 4)
    net.constant("scale", np.ones(4))
    scaled = net.add("mul", "x", "scale")
    assert counted(net).maps == ()
    net.add("softmax", scaled, axis=2)
    assert counted(net).maps == (MapBytes(scaled, (1, 4, 4), 32, 64),)
    net.add("div", "x", net.nodes[-1].output)
    assert [row.name for row in counted(net).maps] == [scaled, "x", "v1"]
    net.add("mul", "v2", net.add("sigmoid", "v2"))
    assert len(counted(net).maps) == 3, "one map alone decides both"


def test_what_constants_alone_decide_is_no_map_and_a_product_with_it_no_product_of_maps():
    net = Net(-1, 4)
    net.constant("weight", [[1, 2, 3, 4], [5, 6, 7, 8]])
    net.constant("mask", [[1, 0, 1, 0], [0, 1, 0, 1]])
    net.add("linear", "x", net.add("mul", "weight", "mask"))
    found = counted(net)
    assert found.maps == (MapBytes("x", (1, 4), 32, 16),)
    assert (found.bit_operations, found.map_bit_operations) == (8 * 1024, 0)
