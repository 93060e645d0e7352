"""Integer arithmetic as docs/integer.md says it, in Python's integers and fractions, element by element: slow, plain,
and written apart from what it judges. For graphs of convolutions, linear layers, sums, means, pools and concats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import product
from math import floor
from typing import Any

import numpy as np

from secateur.ir.formats import Quantized, Stored
from secateur.ir.graph import Graph, Node

Held = tuple[np.ndarray, list[Fraction]]
"""Python integers in an object array, and the scale of each channel (axis 1), or one of all."""


def nearest(number: Fraction) -> int:
    return floor(number + Fraction(1, 2))


def fixed_point(ratio: Fraction) -> tuple[int, int]:
    """M of 31 bits and s with ratio ~ M / 2^s: the first s that is large enough."""
    shift = 1
    while nearest(ratio * 2**shift) < 2**30:
        shift += 1
    return nearest(ratio * 2**shift), shift


def scale_at(scales: list[Fraction], place: tuple[int, ...]) -> Fraction:
    return scales[0] if len(scales) == 1 else scales[place[1]]


def run_literally(
    graph: Graph, tensors: Mapping[str, Stored], x: np.ndarray, bounds: Mapping[str, int]
) -> dict[str, Held]:
    """Every value but the input and the constants, as integers. bounds: the largest |integer| of every value, which
    the requantizing makes up for; that no integer is larger is for others to prove."""
    found: dict[str, Held] = {}
    for node in graph.nodes:
        inputs = [found[name] for name in node.inputs if name in found]
        if node.op == "fake_quantize" and not inputs:
            found[node.output] = codes_of(node, tensors, x)
        elif node.op == "fake_quantize":
            found[node.output] = requantized(graph, node, tensors, *inputs, bounds[node.inputs[0]])
        else:
            found[node.output] = OPERATIONS[node.op](graph, node, tensors, *inputs)
    return found


def codes_of(node: Node, tensors: Mapping[str, Stored], x: np.ndarray) -> Held:
    """Of float32: the division and the addition are float32's."""
    low, high = code_ends(node)
    scale = tensors[node.inputs[1]].to_dense()
    places = np.floor(x / scale + np.float32(0.5))
    return np.vectorize(lambda place: min(max(int(place), low), high), otypes=[object])(places), [
        Fraction(float(scale))
    ]


def code_ends(node: Node) -> tuple[int, int]:
    bits, signed = node.attributes["bits"], node.attributes["signed"]
    assert isinstance(bits, int)
    return (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def requantized(graph: Graph, node: Node, tensors: Mapping[str, Stored], x: Held, bound: int) -> Held:
    """clip((integer M + 2^(s-1) + d) >> s), Python's >> rounding down; where M is not exact d is half, rounded up, of
    the bound of the integers or of the smallest that is a step beyond all codes."""
    low, high = code_ends(node)
    scale, result = Fraction(float(tensors[node.inputs[1]].to_dense())), np.empty(x[0].shape, object)
    producer = graph.producers()
    source = node.inputs[0]
    while producer[source].op in ("relu", "max_pool"):
        source = producer[source].inputs[0]
    for place, number in cells(x[0]):
        old = scale_at(x[1], place)
        if producer[source].op == "add":  # integers at scale / 2^shift already
            shift = int(scale / old).bit_length() - 1
            multiplier = 1
            assert old * 2**shift == scale
        else:
            multiplier, shift = fixed_point(old / scale)
        exact = Fraction(multiplier, 2**shift) == old / scale
        beyond = -(-(max(-low, high) + 1) * scale // old)
        added = 2 ** (shift - 1) + (0 if exact else -(-min(bound, beyond) // 2))
        result[place] = min(max((number * multiplier + added) >> shift, low), high)
    return result, [scale]


def layer(graph: Graph, node: Node, tensors: Mapping[str, Stored], x: Held) -> Held:
    """conv (two axes, groups) and linear: sums of products of codes, plus round(bias / (s_x s_w))."""
    weight = tensors[node.inputs[1]]
    assert isinstance(weight, Quantized)
    steps = [Fraction(float(step)) for step in np.atleast_1d(weight.grid.scale).tolist()]
    codes = weight.codes.astype(object)
    scales = [x[1][0] * steps[output % len(steps)] for output in range(len(codes))]
    low, high = code_ends(source_quantizer(graph, node))
    reach = [max(-low, high) * int(abs(row).sum()) for row in codes]
    fraction, bias = 0, [0] * len(codes)
    if len(node.inputs) == 3:
        numbers = [
            Fraction(number) / s for number, s in zip(tensors[node.inputs[2]].to_dense().tolist(), scales, strict=True)
        ]
        room = max(size + abs(number) for size, number in zip(reach, numbers, strict=True)) + 1
        while fraction < 16 and room * 2 ** (fraction + 1) <= 2**31 - 1:
            fraction += 1
        bias = [nearest(number * 2**fraction) for number in numbers]
    result = np.empty(graph.types[node.output].bind(len(x[0])), object)
    for place in np.ndindex(*result.shape):
        terms = linear_terms(x[0], place) if node.op == "linear" else window_terms(node, codes, x[0], place)
        total = sum(number * codes[(place[1], *tap)] for number, tap in terms)
        result[place] = 2**fraction * total + bias[place[1]]
    return result, [scale / 2**fraction for scale in scales]


def source_quantizer(graph: Graph, node: Node, place: int = 0) -> Node:
    """The one whose codes an operation reads, moved but unchanged; sums of codes are not looked for."""
    producers = graph.producers()
    node = producers[node.inputs[place]]
    while node.op != "fake_quantize":
        node = producers[node.inputs[0]]
    return node


def linear_terms(x: np.ndarray, place: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    return ((x[(*place[:-1], column)], (column,)) for column in range(x.shape[-1]))


def window_terms(
    node: Node, codes: np.ndarray, x: np.ndarray, place: tuple[int, ...]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    attributes: Any = node.attributes
    depth = codes.shape[1]
    first = place[1] // (len(codes) // attributes["groups"]) * depth
    for channel, i, j in product(range(depth), *map(range, codes.shape[2:])):
        row, column = (
            p * stride + k * gap - pad
            for p, k, stride, gap, pad in zip(
                place[2:], (i, j), *(attributes[key] for key in ("stride", "dilation", "padding")), strict=True
            )
        )
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            yield x[place[0], first + channel, row, column], (channel, i, j)


def added(graph: Graph, node: Node, tensors: Mapping[str, Stored], a: Held, b: Held) -> Held:
    """a M_a + b M_b + d at the scale of the quantizer behind, over 2^s; d: of each M not exact, half the bound."""
    readers, name = graph.consumers(), node.output
    while (reader := readers[name][0]).op != "fake_quantize":
        name = reader.output
    scale = Fraction(float(tensors[reader.inputs[1]].to_dense()))
    ratios = a[1][0] / scale, b[1][0] / scale
    _, shift = fixed_point(max(ratios))
    if max(ratios) * 2**shift < 2**30:
        shift += 1
    first, second = (nearest(ratio * 2**shift) for ratio in ratios)
    d = 0
    for place, (ratio, factor) in enumerate(zip(ratios, (first, second), strict=True)):
        if ratio * 2**shift != factor:
            d -= -max(map(abs, code_ends(source_quantizer(graph, node, place)))) // 2
    return np.asarray(a[0] * first + b[0] * second + d), [scale / 2**shift]


def rectified(_graph: Graph, _node: Node, _tensors: Mapping[str, Stored], x: Held) -> Held:
    return np.vectorize(lambda number: max(number, 0), otypes=[object])(x[0]), x[1]


def pooled(graph: Graph, node: Node, _tensors: Mapping[str, Stored], x: Held) -> Held:
    """Largest of each window without padding; or its sum, the scale divided by the number of terms."""
    kernel, stride = node.attributes["kernel"], node.attributes["stride"]
    assert isinstance(kernel, tuple)
    assert isinstance(stride, tuple)
    result = np.empty(graph.types[node.output].bind(len(x[0])), object)
    for place in np.ndindex(*result.shape):
        rows, columns = (range(p * s, p * s + k) for p, s, k in zip(place[2:], stride, kernel, strict=True))
        seen = [x[0][place[0], place[1], i, j] for i in rows for j in columns]
        result[place] = max(seen) if node.op == "max_pool" else sum(seen)
    terms = 1 if node.op == "max_pool" else kernel[0] * kernel[1]
    return result, [scale / terms for scale in x[1]]


def averaged(_graph: Graph, node: Node, _tensors: Mapping[str, Stored], x: Held) -> Held:
    """The mean over rows and columns."""
    assert node.attributes["axes"] == (2, 3)
    terms = x[0].shape[2] * x[0].shape[3]
    return np.asarray(x[0].sum(axis=(2, 3), keepdims=bool(node.attributes["keepdims"]))), [s / terms for s in x[1]]


def joined(_graph: Graph, node: Node, _tensors: Mapping[str, Stored], *parts: Held) -> Held:
    assert node.attributes["axis"] == 1
    scales = [scale for x, known in parts for scale in (known if len(known) > 1 else known * x.shape[1])]
    return np.concatenate([x for x, _ in parts], axis=1), scales


def flattened(graph: Graph, node: Node, _tensors: Mapping[str, Stored], x: Held) -> Held:
    assert len(x[1]) == 1
    return x[0].reshape(graph.types[node.output].bind(len(x[0]))), x[1]


def cells(array: np.ndarray) -> Iterator[tuple[tuple[int, ...], int]]:
    return ((place, array[place]) for place in np.ndindex(*array.shape))


OPERATIONS: dict[str, Any] = {
    "conv": layer,
    "linear": layer,
    "add": added,
    "relu": rectified,
    "max_pool": pooled,
    "average_pool": pooled,
    "mean": averaged,
    "concat": joined,
    "reshape": flattened,
}
