"""What bit widths make of a network: bit operations layer by layer, and bytes of its maps, the largest of them.

A multiply-accumulate of an m-bit weight and an n-bit map is m n bit operations (the cost in US20200293893A1 is our
reading of its terms: multiply-accumulates x density x bits x bits); what is float32 counts 32 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from secateur.ir.count import Count
from secateur.ir.formats import Quantized, Stored
from secateur.ir.graph import Graph, Node
from secateur.ir.map_names import QUANTIZERS

FLOAT_BITS = 32
KEEPERS = (
    *("relu", "relu6", "clip", "max_pool", "adaptive_max_pool"),
    *("reshape", "permute", "slice", "expand", "pad", "cast"),
)
"""Their result lies where their input did, or is computed while that is read."""
READERS = (
    *("conv", "conv_transpose", "linear", "matmul", "attention", "lstm", "gru", "rnn"),
    *("concat", "average_pool", "adaptive_average_pool", "mean", "sum"),
    *("softmax", "log_softmax", "layer_norm", "group_norm"),
)
"""What reads its inputs from memory: they are maps. All else is applied to a value while that is made."""
COMBINERS = ("add", "sub", "mul", "div")
"""They read their inputs from memory where several maps decide these; what one alone decides is computed on the way."""
VALUE_BY_VALUE = (
    *("relu", "relu6", "clip", "sigmoid", "tanh", "silu", "gelu", "hardswish", "hardsigmoid", "leaky_relu", "elu"),
    *("prelu", "batch_norm", "cast", *COMBINERS),
)
"""Every value of their result is made of the values at its place."""


@dataclass(frozen=True)
class LayerBits:
    """A layer that multiplies: bits of its weight (or of the second map) and of the map it reads, and their cost for
    one example: multiply-accumulates on weights that are not zero, or of two maps (of_maps), times both."""

    name: str
    op: str
    weight_bits: int
    map_bits: int
    bit_operations: int
    of_maps: bool = False


@dataclass(frozen=True)
class MapBytes:
    """A map of one example: elements * bits / 8 bytes, rounded up. name: the value that is kept."""

    name: str
    shape: tuple[int, ...]
    bits: int
    bytes: int


@dataclass(frozen=True)
class BitCount:
    """Layers and maps in the order of the graph."""

    layers: tuple[LayerBits, ...]
    maps: tuple[MapBytes, ...]

    @property
    def bit_operations(self) -> int:
        """On weights, as a Target's: products of maps are not in it."""
        return sum(layer.bit_operations for layer in self.layers if not layer.of_maps)

    @property
    def map_bit_operations(self) -> int:
        """Of products of maps, as of queries and keys."""
        return sum(layer.bit_operations for layer in self.layers if layer.of_maps)

    @property
    def largest_map(self) -> MapBytes | None:
        """The first of those with most bytes; None where no layer reads one."""
        return max(self.maps, key=lambda row: row.bytes, default=None)


def count_bits(graph: Graph, tensors: Mapping[str, Stored], counted: Count) -> BitCount:
    """The figures of a verified graph, for one example; `counted` is its `count`."""
    origins, sources = _origins(graph), _sources(graph)
    producers, readers, outputs = graph.producers(), graph.consumers(), frozenset(graph.outputs)
    macs = {layer.name: layer.effective_macs or layer.map_macs for layer in counted.layers}
    of_maps = {layer.name for layer in counted.layers if layer.map_macs}
    bits = {name: _bits(producers.get(name), tensors.get(name)) for name in graph.types}
    layers, maps = list[LayerBits](), dict[str, MapBytes]()
    for node in graph.nodes:
        if node.op == "concat" and _is_quantized_behind(readers, outputs, node):
            continue
        read = [name for name in node.inputs if name in origins and graph.types[origins[name]].dtype == "float32"]
        combined = node.op in COMBINERS and len({sources[name] for name in read}) > 1
        if node.op not in READERS and not combined:
            continue
        for name in (origins[name] for name in read):
            shape = graph.types[name].bind(1)
            maps.setdefault(name, MapBytes(name, shape, bits[name], -(-prod(shape) * bits[name] // 8)))
        if macs.get(node.output):
            first, second = (bits[origins.get(name, name)] for name in node.inputs[:2])
            if node.op not in ("conv", "conv_transpose", "linear", "matmul"):
                first = second = FLOAT_BITS  # attention and recurrent layers compute in float32
            cost = macs[node.output] * first * second
            layers.append(LayerBits(node.output, node.op, second, first, cost, node.output in of_maps))
    return BitCount(tuple(layers), tuple(maps.values()))


def _origins(graph: Graph) -> dict[str, str]:
    """For every value but what constants alone decide the one that it was before anything kept it."""
    origins = {name: name for name in graph.inputs}
    for node in graph.nodes:
        if any(name in origins for name in node.inputs):
            kept = node.op in KEEPERS and node.inputs[0] in origins
            origins[node.output] = origins[node.inputs[0]] if kept else node.output
    return origins


def _sources(graph: Graph) -> dict[str, str]:
    """For every value but constants the one that alone decides it, value by value; else itself."""
    sources = {name: name for name in graph.inputs}
    for node in graph.nodes:
        read = {sources[name] for name in node.inputs if name in sources}
        if read:
            one = len(read) == 1 and node.op in VALUE_BY_VALUE
            sources[node.output] = read.pop() if one else node.output
    return sources


def _bits(producer: Node | None, tensor: Stored | None) -> int:
    if isinstance(tensor, Quantized):
        return tensor.grid.bits
    if producer is not None and producer.op in QUANTIZERS:
        bits = producer.attributes["bits"]
        assert isinstance(bits, int)
        return bits
    return FLOAT_BITS


def _is_quantized_behind(readers: Mapping[str, list[Node]], outputs: frozenset[str], node: Node) -> bool:
    """Whether all that reads a value, kept or not, quantizes it: then it is codes before it is stored."""
    waiting = [node.output]
    for name in waiting:
        if name in outputs:
            return False
        for reader in readers[name]:
            if reader.op in KEEPERS:
                waiting.append(reader.output)
            elif reader.op not in QUANTIZERS:
                return False
    return True
