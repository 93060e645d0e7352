"""ir.integer.dynamic: sums of codes at found scales equal those of floats; what has no one scale is listed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_networks import Net

from secateur.ir.formats import Dense, Quantized, Stored
from secateur.ir.grid import Grid
from secateur.ir.integer import dynamic
from secateur.ir.integer.lower import Program, lower
from secateur.ir.integer.run import run_integers
from secateur.ir.interpret import run_graph

LEAST = 2.0**-24


class Found(Net):
    """A network whose maps find their scales, and whose weights lie on grids of one scale an output channel."""

    def find(self, x: str, *axes: int, signed: bool = True) -> str:
        least = self.constant(f"least{len(self.nodes)}", LEAST)
        return self.add("dynamic_quantize", x, least, bits=8, signed=signed, axes=axes)

    def tensors(self, *floats: str, transposed: bool = False) -> dict[str, Stored]:
        made: dict[str, Stored] = {}
        for name, array in self.constants.items():
            if not name.endswith(".weight") or name in floats:
                made[name] = Dense(array)
                continue
            codes = np.clip(np.rint(array * 50), -127, 127).astype(np.int8)
            scale = self.rng.uniform(0.01, 0.03, array.shape[int(transposed)]).astype(np.float16)
            made[name] = Quantized(codes, Grid(8, scale, int(transposed)))
        return made


def both(net: Found, output: str, tensors: dict[str, Stored], batch: int = 3) -> tuple[Program, Any, Any]:
    graph = net.graph(output)
    program = lower(graph, tensors)
    constants = {name: tensor.to_dense() for name, tensor in tensors.items()}
    shape = graph.types["x"].bind(batch)
    x = (net.rng.standard_normal(shape) * 10.0 ** net.rng.integers(-3, 4, (*shape[:-1], 1))).astype(np.float32)
    return program, run_integers(program, constants, [x])[0], run_graph(graph, constants, [x])[0]


def reason_of(program: Program, op: str) -> str:
    return next(step.reason for step in program.steps if step.node.op == op)


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max())


def linear_of_moved_rows(net: Found) -> str:
    """Rows are split into heads, moved and joined again: one scale holds along each."""
    q = net.find("x", 2)
    heads = net.add("permute", net.add("reshape", q, shape=(-1, 5, 2, 4)), axes=(0, 2, 1, 3))
    kept = net.add("slice", net.add("relu", heads), axis=2, start=1, stop=4, step=1)
    return net.linear(kept, "fc", 6)


def product_of_rows(net: Found) -> str:
    q, k = net.find("x", 2), net.find("x", 2)
    return net.add("matmul", q, net.add("permute", k, axes=(0, 2, 1)))


def product_with_stored_codes(net: Found) -> str:
    q, k = net.find("x", 2), net.quantize("x", "k", 0.25)
    return net.add("matmul", q, net.add("permute", k, axes=(0, 2, 1)))


def pooled_convolution(net: Found) -> str:
    image = net.add("reshape", "x", shape=(-1, 2, 5, 4))
    q = net.add("pad", net.find(image, 1, 2, 3), pads=(0, 0, 0, 0, 1, 1, 1, 1), mode="constant", value=0.0)
    window = {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "ceil_mode": False}
    return net.conv(net.add("max_pool", q, **window), "conv", 4, 3)


@pytest.mark.parametrize("make", [linear_of_moved_rows, product_of_rows, product_with_stored_codes])
def test_sums_along_one_scale_are_integers(make: Any) -> None:
    net = Found(-1, 5, 8)
    program, found, expected = both(net, make(net), net.tensors())
    assert all(step.arithmetic in ("integer", "quantize") for step in program.steps)
    assert close(found, expected)


def test_convolutions_of_examples_are_integers_behind_pooling_and_padding() -> None:
    net = Found(-1, 40)
    program, found, expected = both(net, pooled_convolution(net), net.tensors())
    assert [step.node.op for step in program.steps if step.arithmetic == "float"] == ["reshape"]
    assert close(found, expected)


def test_transposed_convolutions_have_their_scales_on_the_other_axis() -> None:
    net = Found(-1, 3, 6)
    y = net.conv_transpose(net.find("x", 1, 2), "up", 4)
    program, found, expected = both(net, y, net.tensors(transposed=True))
    assert all(step.arithmetic != "float" for step in program.steps)
    assert close(found, expected)


def test_what_has_no_one_scale_is_float_and_says_why() -> None:
    net = Found(-1, 5, 8)
    columns = net.add("permute", net.find("x", 2), axes=(0, 2, 1))
    program, found, expected = both(net, net.linear(columns, "fc", 3), net.tensors())
    assert reason_of(program, "linear") == dynamic.DIFFERENT
    assert close(found, expected)
    net = Found(-1, 5, 8)
    q = net.find("x", 2)
    program, *_ = both(net, net.add("add", q, net.find("x", 2)), net.tensors())
    assert "whose scales are found at run time" in reason_of(program, "add")
    net = Found(-1, 5, 8)
    y = net.linear(net.find("x", 2), "fc", 3)
    program, *_ = both(net, y, net.tensors("fc.weight"))
    assert "on no grid" in reason_of(program, "linear")
    net = Found(-1, 5, 8)
    joined = net.add("reshape", net.find("x", 2), shape=(-1, 40))
    program, *_ = both(net, net.linear(joined, "fc", 3), net.tensors())
    assert reason_of(program, "linear") == dynamic.DIFFERENT
    net = Found(-1, 5, 8)
    q = net.add("pad", net.find("x", 2), pads=(0, 0, 0, 0, 1, 1), mode="constant", value=1.0)
    program, found, expected = both(net, q, net.tensors())
    assert "no code" in reason_of(program, "pad")
    assert close(found, expected)


def test_sums_beyond_int32_are_refused() -> None:
    net = Found(-1, 200_000)
    net.constant("fc.weight", np.full((1, 200_000), 2.0))
    y = net.add("linear", net.find("x", 1), "fc.weight")
    program = lower(net.graph(y), net.tensors())
    assert "beyond int32" in reason_of(program, "linear")


def test_examples_do_not_depend_on_those_beside_them_and_none_is_fine() -> None:
    net = Found(-1, 5, 8)
    tensors = net.tensors()
    y = linear_of_moved_rows(net)
    tensors = net.tensors()
    assert both(net, y, tensors, batch=0)[1].shape[0] == 0
    program = lower(net.graph(y), tensors)
    constants = {name: tensor.to_dense() for name, tensor in tensors.items()}
    x = net.rng.standard_normal((2, 5, 8)).astype(np.float32)
    (one,), (two,) = (run_integers(program, constants, [part]) for part in (x[:1], np.stack([x[0], 1e4 * x[1]])))
    np.testing.assert_array_equal(one[0], two[0])


@pytest.mark.parametrize("fault", ["no bias", "one scale for all", "a code too many"])
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = dynamic.DYNAMIC["linear"]

    def wrong(inputs: list[Any], node: Any, lowered: Any, batch: int) -> Any:
        codes, scales = inputs[0]
        if fault == "no bias":
            lowered = lowered._replace(parts={**lowered.parts, "bias": None})
        elif fault == "one scale for all":
            inputs = [dynamic.Scaled(codes, np.full_like(scales, scales.mean())), *inputs[1:]]
        else:
            inputs = [dynamic.Scaled(codes + (codes == codes.max()), scales), *inputs[1:]]
        return rule.run(inputs, node, lowered, batch)

    monkeypatch.setitem(dynamic.DYNAMIC, "linear", rule._replace(run=wrong))  # pyright: ignore[reportArgumentType]
    net = Found(-1, 5, 8)
    _, found, expected = both(net, net.linear(net.find("x", 2), "fc", 6), net.tensors())
    assert not close(found, expected)
