"""Makes the zstd dictionary of usual header texts, which lets the header of a small network take some 200 bytes.

Usage: python tools/make_header_dictionary.py [OUTPUT]

It draws networks of the usual families, writes their headers as `secateur.ir.header` does, and trains on them. Files
hold what this dictionary compressed, so the committed one is part of the format: to train another is a new version.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from secateur.ir.container import HEADER_DICTIONARY
from secateur.ir.formats import Dense
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.header import header_bytes
from secateur.ir.ops import OPS
from secateur.ir.records import Fold

SAMPLES = 2000
DICTIONARY_BYTES = 8192
DICTIONARY_ID = 0x5EC1
OUTSIDE = "is outside the closed list of graph operations"
REASON = "they are added to units that are not dead"


class Network:
    """A network under construction: `x` is the value made last."""

    def __init__(self, seed: int, *shape: int, name: str = "input") -> None:
        self.random = random.Random(seed)
        self.inputs = {name: ValueType(shape)}
        self.types = dict(self.inputs)
        self.tensors: dict[str, Dense] = {}
        self.nodes: list[Node] = []
        self.axes: dict[str, dict[int, tuple[int, int]]] = {}
        self.folds: list[Fold] = []
        self.groups = 0
        self.x = name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.types[self.x].shape

    def constant(self, name: str, *shape: int) -> str:
        self.tensors[name] = Dense(np.broadcast_to(np.float32(0), shape))
        self.types[name] = ValueType(shape)
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        count = sum(node.op == op for node in self.nodes) + 1
        name = op if count == 1 else f"{op}_{count}"
        self.types[name] = OPS[op].shape([self.types[i] for i in inputs], attributes)
        self.nodes.append(Node(op, inputs, name, attributes))
        self.x = name
        return name

    def layer(self, op: str, name: str, outputs: int, *rest: int, bias: bool = True, **attributes: Any) -> None:
        """A convolution or linear layer, now and then with a group of its units removed."""
        names = [self.constant(f"{name}.weight", outputs, *rest)]
        if bias:
            names.append(self.constant(f"{name}.bias", outputs))
        if self.random.random() < 0.6:
            before = self.axes.get(next(reversed(self.axes), ""), {}).get(0)
            self.axes[names[0]] = {0: (self.groups, 1)}
            if before:
                self.axes[names[0]][1] = (before[0], self.random.choice([1, 1, 16, 25, 49]))
            if bias:
                self.axes[names[1]] = {0: (self.groups, 1)}
            self.groups += 1
        self.add(op, self.x, *names, **attributes)

    def conv(self, name: str, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1) -> None:
        if self.random.random() < 0.4 and not name.isdigit():
            self.folds.append(Fold(name.replace("conv", "bn"), name, 1e-5))
        pairs: dict[str, Any] = {"stride": (stride, stride), "padding": (padding, padding), "dilation": (1, 1)}
        self.layer("conv", name, outputs, self.shape[1] // groups, kernel, kernel, **pairs, groups=groups)

    def pool(self, op: str = "max_pool", size: int = 2) -> None:
        pairs: dict[str, Any] = {"kernel": (size, size), "stride": (2, 2), "padding": (0, 0)}
        last = {"dilation": (1, 1), "ceil_mode": False}
        if op == "average_pool":
            last = {"ceil_mode": False, "count_include_pad": True}
        self.add(op, self.x, **pairs, **last)

    def linear(self, name: str, outputs: int) -> None:
        self.layer("linear", name, outputs, self.shape[-1])

    def activate(self, op: str = "relu") -> None:
        self.add(op, self.x, **({"approximate": "none"} if op == "gelu" else {}))

    def flatten(self) -> None:
        features = int(np.prod(self.shape[1:]))
        self.add("reshape", self.x, shape=(-1, features))

    def _units(self, layer: str) -> list[int]:
        kept = self.tensors[f"{layer}.weight"].shape[0]
        return [kept + self.random.randint(1, 3 * kept), kept]

    def header(self) -> bytes:
        """The header as packing would write it; graph or no graph."""
        graph = Graph(tuple(self.inputs), (self.x,), tuple(self.tensors), tuple(self.nodes), self.types)
        meta: dict[str, Any] = {"secateur": "0.1.0", "values": self.random.choice(["float16", "float16", "float32"])}
        if self.random.random() < 0.1:
            meta["weights_only"] = "aten.roll.default " + OUTSIDE
            return header_bytes(None, self.tensors, {}, 0, (), meta)
        size = sum(tensor.size for tensor in self.tensors.values())
        meta["parameters"] = [self.random.randint(size, 40 * size), size]
        meta["rounding"] = float(f"{self.random.uniform(4.6e-4, 4.9e-4):.2g}")
        cut = {name.rpartition(".")[0]: shape for name, shape in self.axes.items() if 0 in shape}
        if cut:
            meta["dead_units"] = {name: self._units(name) for name in cut}
        if self.random.random() < 0.1:
            meta["notes"] = [f"{self.random.randint(1, 99)} dead units of {next(iter(self.tensors))} stay: " + REASON]
        return header_bytes(graph, self.tensors, self.axes, self.groups, tuple(self.folds), meta)


def perceptron(seed: int) -> bytes:
    """Flatten, linear layers, an activation between."""
    net = Network(seed, *random.Random(seed).choice([(-1, 1, 28, 28), (-1, 784), (-1, 3, 32, 32)]), name="x")
    if len(net.shape) > 2:
        net.flatten()
    depth, style = net.random.randint(2, 4), net.random.choice(["fc{}", "fc{}", "{}", "layers.{}", "net.{}"])
    for index in range(1, depth + 1):
        net.linear(style.format(index), 10 if index == depth else net.random.randint(10, 400))
        if index < depth:
            net.activate(net.random.choice(["relu", "relu", "relu", "gelu", "tanh", "sigmoid"]))
    return net.header()


def lenet(seed: int) -> bytes:
    """Convolutions with pooling, then linear layers."""
    side, channels = random.Random(seed).choice([(28, 1), (28, 1), (32, 3)])
    net = Network(seed, -1, channels, side, side, name=random.Random(seed).choice(["x", "input"]))
    conv, linear = net.random.choice([("conv{}", "fc{}"), ("conv{}", "fc{}"), ("features.{}", "classifier.{}")])
    kernel, padding, early = net.random.choice([3, 5, 5]), net.random.choice([0, 0, 1]), net.random.random() < 0.5
    for index in (1, 2):
        net.conv(conv.format(index), net.random.randint(4, 64), kernel, padding=padding)
        if early:
            net.activate()
        net.pool(net.random.choice(["max_pool"] * 4 + ["average_pool"]))
    net.flatten()
    net.linear(linear.format(1), net.random.randint(20, 500))
    net.activate()
    net.linear(linear.format(2), 10)
    return net.header()


def residual(seed: int) -> bytes:
    """Stages of basic blocks as torchvision names them."""
    net = Network(seed, -1, 3, 32, 32, name="x")
    net.conv("conv1", 16, 3, padding=1)
    net.activate()
    for stage in (1, 2, 3):
        for block in range(net.random.randint(1, 3)):
            name, stride, width = f"layer{stage}.{block}", 2 if stage > 1 and not block else 1, 8 << stage
            short = net.x
            net.conv(f"{name}.conv1", width, 3, stride=stride, padding=1)
            net.activate()
            net.conv(f"{name}.conv2", width, 3, padding=1)
            main = net.x
            if net.types[short].shape != net.shape:
                net.x = short
                net.conv(f"{name}.downsample.0", width, 1, stride=stride)
                short = net.x
            net.add("add", main, short)
            net.activate()
    net.add("adaptive_average_pool", net.x, output=(1, 1))
    net.flatten()
    net.linear("fc", net.random.choice([10, 100, 1000]))
    return net.header()


def separable(seed: int) -> bytes:
    """Depthwise and pointwise convolutions."""
    net = Network(seed, -1, 3, 64, 64, name="x")
    net.conv("features.0.0", 16, 3, stride=2, padding=1)
    for index in range(1, net.random.randint(3, 6)):
        net.conv(f"features.{index}.conv.0.0", net.shape[1], 3, padding=1, groups=net.shape[1])
        net.activate(net.random.choice(["relu6", "hardswish", "silu"]))
        net.conv(f"features.{index}.conv.1", net.random.randint(16, 96), 1)
    net.add("mean", net.x, axes=(2, 3), keepdims=False)
    net.linear("classifier.1", 1000)
    return net.header()


def transformer(seed: int) -> bytes:
    """Encoder layers: attention, layer norms, a feed-forward part."""
    tokens, width = random.Random(seed).choice([(128, 384), (64, 256), (197, 192)])
    net = Network(seed, -1, tokens, width, name="x")
    style = net.random.choice(["encoder.layer.{}", "layers.{}", "blocks.{}"])
    for index in range(net.random.randint(1, 4)):
        _encoder_layer(net, style.format(index), tokens, width)
    return net.header()


def _encoder_layer(net: Network, name: str, tokens: int, width: int) -> None:
    heads, start, parts = width // 32, net.x, []
    for part in ("query", "key", "value"):
        net.x = start
        net.linear(f"{name}.attention.self.{part}", width)
        net.add("reshape", net.x, shape=(-1, tokens, heads, 32))
        parts.append(net.add("permute", net.x, axes=(0, 2, 1, 3)))
    net.add("attention", *parts, scale=0.17677669529663687, causal=False)
    net.add("permute", net.x, axes=(0, 2, 1, 3))
    net.add("reshape", net.x, shape=(-1, tokens, width))
    net.linear(f"{name}.attention.output.dense", width)
    _add_and_norm(net, start, f"{name}.attention.output.LayerNorm", width)
    start = net.x
    net.linear(f"{name}.intermediate.dense", 4 * width)
    net.activate("gelu")
    net.linear(f"{name}.output.dense", width)
    _add_and_norm(net, start, f"{name}.output.LayerNorm", width)


def _add_and_norm(net: Network, other: str, name: str, width: int) -> None:
    net.add("add", net.x, other)
    parts = [net.constant(f"{name}.{part}", width) for part in ("weight", "bias")]
    net.add("layer_norm", net.x, *parts, eps=1e-12)


FAMILIES = (lenet, perceptron, lenet, residual, separable, transformer)


def samples(count: int) -> list[bytes]:
    """Headers of networks of all families in turn."""
    return [FAMILIES[seed % len(FAMILIES)](seed) for seed in range(count)]


def train() -> bytes:
    """The dictionary, entropy tables included."""
    texts: list[Any] = [*samples(SAMPLES)]
    return zstandard.train_dictionary(DICTIONARY_BYTES, texts, dict_id=DICTIONARY_ID, level=19, k=200, d=8).as_bytes()


def main(arguments: list[str]) -> int:
    output = Path(arguments[0]) if arguments else HEADER_DICTIONARY
    output.write_bytes(train())
    print(f"{output}: {output.stat().st_size} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
