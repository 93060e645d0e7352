"""Small networks for tests of graph rewrites: a builder that infers types, and random networks with dead units."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.interpret import run_graph
from secateur.ir.ops import OPS
from secateur.ir.verify import verify


class Net:
    """Adds nodes one after another; `integers` draws small whole numbers, whose sums are exact in any order."""

    def __init__(self, *shape: int, seed: int = 0, integers: bool = False, sparsity: float = 0.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.integers, self.sparsity = integers, sparsity
        self.types = {"x": ValueType(shape)}
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[Node] = []

    def shape(self, name: str) -> tuple[int, ...]:
        return self.types[name].shape

    def numbers(self, *shape: int) -> np.ndarray:
        drawn = self.rng.integers(-2, 3, shape) if self.integers else self.rng.standard_normal(shape)
        return drawn.astype(np.float32)

    def constant(self, name: str, array: Any) -> str:
        self.constants[name] = np.asarray(array, np.float32)
        self.types[name] = ValueType(self.constants[name].shape)
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.types[name] = OPS[op].shape([self.types[i] for i in inputs], attributes)
        self.nodes.append(Node(op, inputs, name, attributes))
        return name

    def weight(self, name: str, *shape: int) -> str:
        """Weights scaled to keep variances, with rows and columns of zeros and single zeros as `sparsity` says."""
        array = self.numbers(*shape)
        if not self.integers:
            array /= np.float32(np.sqrt(max(1, np.prod(shape[1:]))))
        array[self.rng.random(shape[0]) < self.sparsity] = 0
        array[:, self.rng.random(shape[1]) < self.sparsity] = 0
        array[self.rng.random(shape) < self.sparsity] = 0
        return self.constant(name, array)

    def biases(self, layer: str, size: int, bias: bool) -> tuple[str, ...]:
        if not bias:
            return ()
        array = self.numbers(size)
        array[self.rng.random(size) < self.sparsity] = 0
        return (self.constant(f"{layer}.bias", array),)

    def conv(self, x: str, layer: str, outputs: int, kernel: int = 1, bias: bool = True, **options: Any) -> str:
        rank = len(self.shape(x)) - 2
        groups = options.pop("groups", 1)
        attributes = {"stride": 1, "padding": 0, "dilation": 1} | options
        weight = self.weight(f"{layer}.weight", outputs, self.shape(x)[1] // groups, *(kernel,) * rank)
        tuples = {key: (value,) * rank for key, value in attributes.items()}
        return self.add("conv", x, weight, *self.biases(layer, outputs, bias), groups=groups, **tuples)

    def conv_transpose(
        self, x: str, layer: str, outputs: int, kernel: int = 2, bias: bool = True, **options: Any
    ) -> str:
        rank = len(self.shape(x)) - 2
        groups = options.pop("groups", 1)
        attributes = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1} | options
        weight = self.weight(f"{layer}.weight", self.shape(x)[1], outputs // groups, *(kernel,) * rank)
        tuples = {key: (value,) * rank for key, value in attributes.items()}
        return self.add("conv_transpose", x, weight, *self.biases(layer, outputs, bias), groups=groups, **tuples)

    def linear(self, x: str, layer: str, outputs: int, bias: bool = True) -> str:
        weight = self.weight(f"{layer}.weight", outputs, self.shape(x)[-1])
        return self.add("linear", x, weight, *self.biases(layer, outputs, bias))

    def batch_norm(self, x: str, layer: str, eps: float = 1e-3) -> str:
        channels = self.shape(x)[1]
        names = [self.constant(f"{layer}.{part}", self.numbers(channels)) for part in ("weight", "bias")]
        names.append(self.constant(f"{layer}.running_mean", self.numbers(channels)))
        names.append(self.constant(f"{layer}.running_var", self.rng.uniform(0.5, 2, channels)))
        return self.add("batch_norm", x, *names, eps=eps)

    def quantize(self, x: str, layer: str, scale: float, bits: int = 8, *, signed: bool = True) -> str:
        return self.add("fake_quantize", x, self.constant(f"{layer}.scale", scale), bits=bits, signed=signed)

    def flatten(self, x: str) -> str:
        batch, *rest = self.shape(x)
        return self.add("reshape", x, shape=(batch, int(np.prod(rest))))

    def graph(self, *outputs: str) -> Graph:
        graph = Graph(("x",), outputs, tuple(self.constants), tuple(self.nodes), dict(self.types))
        check_valid(graph, self.constants)
        return graph


def check_valid(graph: Graph, constants: dict[str, np.ndarray]) -> None:
    assert set(constants) == set(graph.constants)
    verify(graph, {name: ValueType(array.shape, str(array.dtype)) for name, array in constants.items()})


def outputs_of(
    graph: Graph, constants: dict[str, np.ndarray], *, batch: int = 3, seed: int = 0, integers: bool = False
):
    rng = np.random.default_rng(seed)
    shape = graph.types["x"].bind(batch)
    x = rng.integers(-3, 4, shape) if integers else rng.standard_normal(shape)
    return run_graph(graph, constants, [x.astype(np.float32)])


def assert_close(left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...], tolerance: float = 3e-5) -> None:
    """Equal within float32 rounding, measured against the largest output."""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.shape == other.shape
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1.0, float(np.abs(one).max())))


ACTIVATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("relu", {}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("silu", {}),
    ("hardswish", {}),
    ("leaky_relu", {"slope": 0.1}),
    ("clip", {"low": -1.0, "high": 1.0}),
    ("gelu", {"approximate": "none"}),
)
EXACT_ACTIVATIONS = tuple(row for row in ACTIVATIONS if row[0] in ("relu", "clip"))


class Grower:
    """Grows a random network by one step a method; every step takes and gives an image (n, c, h, w)."""

    def __init__(self, net: Net, draw: Any) -> None:
        self.net, self.draw, self.count = net, draw, 0

    def name(self) -> str:
        self.count += 1
        return f"m{self.count}"

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def activate(self, x: str) -> str:
        op, attributes = self.draw(st.sampled_from(EXACT_ACTIVATIONS if self.net.integers else ACTIVATIONS))
        return self.net.add(op, x, **attributes)

    def conv(self, x: str, outputs: int | None = None) -> str:
        kernel = self.draw(st.sampled_from((1, 3)))
        padding = kernel // 2 if outputs else self.draw(st.integers(0, 1))
        outputs = outputs or self.draw(st.integers(1, 5))
        if min(self.net.shape(x)[2:]) + 2 * padding < kernel:
            kernel, padding = 1, 0
        y = self.net.conv(x, self.name(), outputs, kernel, self.flag(), padding=padding)
        return self.activate(y) if self.flag() else y

    def depthwise(self, x: str) -> str:
        channels = self.net.shape(x)[1]
        outputs = channels * self.draw(st.integers(1, 2))
        return self.net.conv(x, self.name(), outputs, 3, self.flag(), padding=1, groups=channels)

    def grouped(self, x: str) -> str:
        x = self.net.conv(x, self.name(), 4)
        return self.net.conv(x, self.name(), 6, 1, self.flag(), groups=2)

    def transposed(self, x: str) -> str:
        """Dense, depthwise, or in two groups."""
        channels = self.net.shape(x)[1]
        outputs = self.draw(st.integers(1, 5))
        if self.flag():
            outputs, groups = channels, channels
        elif channels % 2 == 0 and self.flag():
            outputs, groups = 4, 2
        else:
            groups = 1
        padding = self.draw(st.integers(0, 1))
        return self.net.conv_transpose(x, self.name(), outputs, 3, self.flag(), padding=padding, groups=groups)

    def norm(self, x: str) -> str:
        return self.net.batch_norm(x, self.name())

    def quantize(self, x: str) -> str:
        """Of whole numbers only: there no rounding of the sums before it can turn one code into the next."""
        scale, bits = self.draw(st.sampled_from((1.0, 2.0))), self.draw(st.integers(2, 8))
        return self.net.quantize(x, self.name(), scale, bits, signed=self.flag())

    def residual(self, x: str) -> str:
        y = self.conv(self.conv(x), outputs=None)
        y = self.net.conv(self._resized(y, x), self.name(), self.net.shape(x)[1])
        return self.net.add(self.draw(st.sampled_from(("add", "sub", "mul"))), x, y)

    def gate(self, x: str) -> str:
        pooled = self.net.add("mean", x, axes=(2, 3), keepdims=True)
        hidden = self.activate(self.net.conv(pooled, self.name(), 3))
        return self.net.add("mul", x, self.activate(self.net.conv(hidden, self.name(), self.net.shape(x)[1])))

    def concat(self, x: str) -> str:
        kinds = self.draw(st.lists(st.booleans(), min_size=1, max_size=3))
        branches = [self._resized(self.conv(x), x) if makes else x for makes in kinds]
        return self.net.add("concat", *branches, axis=1)

    def pool(self, x: str) -> str:
        options = {"kernel": (2, 2), "stride": (1, 1), "padding": (1, 1), "ceil_mode": False}
        if self.flag():
            return self.net.add("max_pool", x, dilation=(1, 1), **options)
        if self.net.integers:
            return x
        return self.net.add("average_pool", x, count_include_pad=self.flag(), **options)

    def split(self, x: str) -> str:
        channels = self.net.shape(x)[1]
        if channels < 2:
            return x
        cut = self.draw(st.integers(1, channels - 1))
        left = self.net.add("slice", x, axis=1, start=0, stop=cut, step=1)
        right = self.net.add("slice", x, axis=1, start=cut, stop=channels, step=1)
        return self.net.add("concat", self.activate(right), left, axis=1)

    def pad(self, x: str) -> str:
        return self.net.add("pad", x, pads=(0, 0, 0, 0, 1, 0, 0, 1), mode="constant", value=0.0)

    def shift(self, x: str) -> str:
        return self.net.add(
            "add", x, self.net.constant(f"{self.name()}.shift", self.net.numbers(self.net.shape(x)[1], 1, 1))
        )

    def channels_last(self, x: str) -> str:
        y = self.net.add("permute", x, axes=(0, 2, 3, 1))
        y = self.activate(self.net.linear(y, self.name(), self.draw(st.integers(1, 5)), self.flag()))
        return self.net.add("permute", y, axes=(0, 3, 1, 2))

    def shuffle(self, x: str) -> str:
        batch, channels, *spatial = self.net.shape(x)
        if channels % 2:
            return x
        y = self.net.add("reshape", x, shape=(batch, 2, channels // 2, *spatial))
        y = self.net.add("permute", y, axes=(0, 2, 1, 3, 4))
        return self.net.add("reshape", y, shape=(batch, channels, *spatial))

    def head(self, x: str) -> str:
        if self.flag():
            x = self.net.add(
                "adaptive_average_pool" if not self.net.integers else "adaptive_max_pool", x, output=(2, 2)
            )
        if self.flag():
            x = self.net.add("permute", x, axes=(0, 2, 3, 1))
        x = self.activate(self.net.linear(self.net.flatten(x), self.name(), self.draw(st.integers(1, 6)), self.flag()))
        return self.net.linear(x, self.name(), 3, self.flag())

    def _resized(self, x: str, like: str) -> str:
        """x cropped or padded to the height and width of `like`."""
        for axis, size in ((2, self.net.shape(like)[2]), (3, self.net.shape(like)[3])):
            missing = size - self.net.shape(x)[axis]
            if missing > 0:
                pads = [0] * 8
                pads[2 * axis + 1] = missing
                x = self.net.add("pad", x, pads=tuple(pads), mode="constant", value=0.0)
            elif missing < 0:
                x = self.net.add("slice", x, axis=axis, start=0, stop=size, step=1)
        return x


STEPS = (
    Grower.conv,
    Grower.conv,
    Grower.depthwise,
    Grower.grouped,
    Grower.transposed,
    Grower.norm,
    Grower.residual,
    Grower.gate,
    Grower.concat,
    Grower.pool,
    Grower.split,
    Grower.pad,
    Grower.shift,
    Grower.channels_last,
    Grower.shuffle,
)
WHOLE = (
    Grower.conv,
    Grower.depthwise,
    Grower.transposed,
    Grower.quantize,
    Grower.residual,
    Grower.concat,
    Grower.pool,
    Grower.split,
    Grower.pad,
)


@st.composite
def networks(draw: Any, *, integers: bool = False) -> Net:
    """A random network with single zeros, dead rows and dead columns; its last value is the result."""
    sparsity = draw(st.sampled_from((0.1, 0.25, 0.4)))
    net = Net(-1, 2, 5, 5, seed=draw(st.integers(0, 2**32 - 1)), integers=integers, sparsity=sparsity)
    grower = Grower(net, draw)
    x = grower.conv("x")
    for step in draw(st.lists(st.sampled_from(WHOLE if integers else STEPS), min_size=1, max_size=4)):
        x = step(grower, x)
    grower.head(x)
    return net
