"""Small networks with quantized maps and weights on grids, for the tests of integer arithmetic."""

from __future__ import annotations

import numpy as np
from random_networks import Net

from secateur.ir.formats import Dense, Stored, on_grid
from secateur.ir.graph import Graph
from secateur.ir.grid import Grid

POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}


def half(number: float) -> float:
    """A number that float16 holds."""
    return float(np.float16(number))


def stored(net: Net, rng: np.random.Generator, by_channel: float = 0.5) -> dict[str, Stored]:
    """Weights on grids of 2 to 8 bits, that share of them with a scale a row; biases and scales of maps as they are."""
    tensors: dict[str, Stored] = {}
    for name, array in net.constants.items():
        if array.ndim < 2:
            tensors[name] = Dense(array)
            continue
        grid = Grid.spanning(array, int(rng.integers(2, 9)))
        if rng.random() < by_channel:
            grid = Grid(grid.bits, (grid.scale * rng.uniform(0.5, 1.5, len(array))).astype(np.float16))
        tensors[name] = on_grid(array, grid, nearest=True)
    return tensors


def residual(seed: int = 0) -> tuple[Graph, dict[str, Stored]]:
    """Quantized input, convolutions (one depthwise), a residual sum, a concatenation, poolings, a mean, a classifier;
    scales of maps are no powers of two."""
    rng = np.random.default_rng(seed)
    net = Net(-1, 3, 6, 6, seed=seed)

    def quantize(x: str, *, signed: bool = False) -> str:
        return net.quantize(
            x, f"map{len(net.nodes)}", half(rng.uniform(0.01, 0.2)), int(rng.integers(3, 9)), signed=signed
        )

    def conv(x: str, name: str, outputs: int, kernel: int = 3, **options: int) -> str:
        return net.conv(x, name, outputs, kernel, padding=kernel // 2, **options)

    x = quantize("x", signed=True)
    x = quantize(net.add("relu", conv(x, "stem", 4)))
    y = quantize(net.add("relu", conv(x, "depthwise", 4, groups=4)))
    y = quantize(conv(y, "point", 4, 1, bias=False), signed=True)
    x = quantize(net.add("relu", net.add("add", x, y)))
    x = net.add("max_pool", x, dilation=(1, 1), **POOL)
    x = quantize(net.add("concat", net.add("relu", conv(x, "left", 3)), conv(x, "right", 2, 1), axis=1), signed=True)
    y = quantize(net.add("average_pool", x, count_include_pad=True, **(POOL | {"stride": (1, 1)})), signed=True)
    y = net.linear(net.flatten(y), "flat", 3)
    x = quantize(net.add("mean", x, axes=(2, 3), keepdims=False), signed=True)
    net.linear(x, "head", 5)
    return net.graph(y, net.nodes[-1].output), stored(net, rng)
