"""Runs in integers equal a literal implementation in Python's integers, every value; and float32 within a step."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integer_networks import POOL, residual, stored
from literal_integers import run_literally
from random_networks import Net

from secateur.errors import DataError
from secateur.ir.artifact import Artifact
from secateur.ir.effort import effort_of
from secateur.ir.execute import interpret
from secateur.ir.integer import pointwise, products, requantize, run
from secateur.ir.integer.integers import Integers, half_up
from secateur.ir.integer.lower import Program, lower
from secateur.ir.integer.requantize import Requantize
from secateur.ir.integer.run import run_integers
from secateur.ir.interpret import run_graph

GOLDEN = Path(__file__).parents[1] / "golden"


def integers_of(program: Program, constants: dict[str, np.ndarray], x: np.ndarray, monkeypatch: Any) -> dict[str, Any]:
    """The integers of every value, seen while they are made."""
    seen: dict[str, np.ndarray] = {}

    def watched(program: Program, step: Any, *arguments: Any, inner: Any = run._run) -> np.ndarray:
        seen[step.node.output] = inner(program, step, *arguments)
        return seen[step.node.output]

    with monkeypatch.context() as patch:
        patch.setattr(run, "_run", watched)
        run_integers(program, constants, [x])
    return seen


def compare(seed: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Checks every value of a network bit for bit; how many numbers that were."""
    graph, tensors = residual(seed)
    program = lower(graph, tensors)
    assert {step.arithmetic for step in program.steps[1:]} == {"integer"}
    x = np.random.default_rng(seed).standard_normal((2, 3, 6, 6)).astype(np.float32)
    found = integers_of(program, {name: tensor.to_dense() for name, tensor in tensors.items()}, x, monkeypatch)
    expected = run_literally(graph, tensors, x, {name: held.bound for name, held in program.held.items()})
    assert found.keys() == expected.keys()
    for name, (integers, scales) in expected.items():
        np.testing.assert_array_equal(found[name], integers.astype(np.int64), err_msg=name)
        assert set(program.held[name].scales) == set(scales)
    return sum(array.size for array in found.values())


@pytest.mark.parametrize("seed", range(4))
def test_every_integer_equals_that_of_a_literal_implementation(seed: int, monkeypatch: pytest.MonkeyPatch):
    assert compare(seed, monkeypatch) > 3000


def shifted_too_far(self: Requantize, array: np.ndarray) -> np.ndarray:
    return RIGHT(replace(self, shift=np.asarray(self.shift + 1)), array)


def truncated(self: Requantize, array: np.ndarray) -> np.ndarray:
    return np.clip(array.astype(np.int64) * self.multiplier >> self.shift, self.low, self.high)


def to_even(self: Requantize, array: np.ndarray) -> np.ndarray:
    """Halves go to the even neighbour, as numpy's rint does; all else alike."""
    product = array.astype(object) * self.multiplier.astype(object)
    place = product / 2.0 ** self.shift.astype(np.float64)
    return np.clip(np.rint(place.astype(np.float64)), self.low, self.high).astype(np.int64)


def from_zero(self: Requantize, array: np.ndarray) -> np.ndarray:
    """Halves away from zero: the magnitude is rounded, the sign put back."""
    return np.sign(array) * np.abs(RIGHT(replace(self, low=0), np.abs(array)))


def unclipped(self: Requantize, array: np.ndarray) -> np.ndarray:
    return RIGHT(replace(self, low=-(2**31), high=2**31), array)


def exact_halves_forgotten(self: Requantize, array: np.ndarray) -> np.ndarray:
    return RIGHT(replace(self, addend=np.asarray(np.left_shift(np.int64(1), self.shift - 1))), array)


RIGHT = Requantize.__call__


@pytest.mark.parametrize("fault", [shifted_too_far, truncated, unclipped])
def test_a_wrong_requantizing_is_noticed(fault: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Requantize, "__call__", fault)
    with pytest.raises(AssertionError):
        compare(0, monkeypatch)


def test_forgotten_halves_are_noticed(monkeypatch: pytest.MonkeyPatch):
    """3 / 6 is a half, of which the nearest multiple of 2^-33 to 1 / 6 gives less."""
    sixth = requantize.requantize(Integers((Fraction(1, 6),), -255, 255), Fraction(1), (-127, 127), 1)
    assert isinstance(sixth, Requantize)
    threes = np.array([-9, -3, 3, 9, 15], np.int32)
    np.testing.assert_array_equal(sixth(threes), [-1, 0, 1, 2, 3])
    monkeypatch.setattr(Requantize, "__call__", exact_halves_forgotten)
    assert not np.array_equal(sixth(threes), [-1, 0, 1, 2, 3])


@pytest.mark.parametrize("fault", [to_even, from_zero, truncated])
def test_what_becomes_of_a_half_is_noticed(fault: Any, monkeypatch: pytest.MonkeyPatch):
    """Halves are rare among random numbers, so here they are all: -3/2 ... 3/2."""
    halves = Requantize(np.array(2**30), np.array(2**30), np.array(31), -7, 7)
    array = np.array([-5, -3, -1, 1, 3, 5], np.int32)
    np.testing.assert_array_equal(halves(array), [-2, -1, 0, 1, 2, 3])
    monkeypatch.setattr(Requantize, "__call__", fault)
    assert not np.array_equal(halves(array), [-2, -1, 0, 1, 2, 3])


@pytest.mark.parametrize(
    ("module", "name", "fault"),
    [
        (products, "_fixed", lambda sums, bias: (0, np.rint(bias).astype(np.int64))),
        (requantize, "multiplier", lambda ratio, bits: (int(ratio * 2**31), 31)),
        (pointwise, "half_up", lambda number: half_up(number) + 2**22),
        (products, "exact_float", lambda bound: np.float16),
    ],
)
def test_other_wrong_numbers_are_noticed(module: Any, name: str, fault: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, name, fault)
    with pytest.raises((AssertionError, OverflowError)):
        compare(0, monkeypatch)


@pytest.mark.parametrize("seed", range(8))
def test_integers_and_floats_differ_by_single_codes_only(seed: int):
    """Codes differ where the two meet different sides of a half, by one, and rarely."""
    graph, tensors = residual(seed)
    quantizers = [node.output for node in graph.nodes if node.op == "fake_quantize"]
    whole = type(graph)(graph.inputs, (*quantizers, *graph.outputs), graph.constants, graph.nodes, graph.types)
    constants = {name: tensor.to_dense() for name, tensor in tensors.items()}
    x = np.random.default_rng(seed).standard_normal((50, 3, 6, 6)).astype(np.float32)
    floats = run_graph(whole, constants, [x])
    found = run_integers(lower(whole, tensors), constants, [x])
    apart = total = 0
    for name, ours, theirs in zip(quantizers, found, floats, strict=False):
        scale = tensors[graph.producers()[name].inputs[1]].to_dense()
        steps = np.abs(ours - theirs) / scale
        assert steps.max() <= 1.001 * (1 if name == quantizers[1] else 3)  # what is behind a difference may add to it
        apart, total = apart + int((steps > 0.5).sum()), total + steps.size
    assert apart < total / 100


def test_limits_of_memory_and_time_hold_before_anything_is_computed():
    graph, tensors = residual()
    constants = {name: tensor.to_dense() for name, tensor in tensors.items()}
    x = np.zeros((2, 3, 6, 6), np.float32)
    for limit in ({"max_bytes": 10_000}, {"max_seconds": 1e-6}):
        with pytest.raises(DataError, match="would take"):
            run_integers(lower(graph, tensors), constants, [x], **limit)
    with pytest.raises(DataError, match="expected float32"):
        run_integers(lower(graph, tensors), constants, [x[:, :2]])
    assert [y.shape for y in run_integers(lower(graph, tensors), constants, [x[:0]])] == [(0, 3), (0, 5)]


def large(kind: str) -> Net:
    """A network of one operation between quantizers, so large that arrays outweigh everything else."""
    net = Net(-1, 8, 60, 60)
    x = net.quantize("x", "a", 0.125)
    if kind == "conv":
        x = net.conv(x, "c", 8, 3, padding=1)
    elif kind == "conv_transpose":
        x = net.conv_transpose(x, "c", 8, 3, stride=2)
    elif kind == "linear":
        x = net.linear(x, "c", 90)
    elif kind == "matmul":
        x = net.add("matmul", x, x)
    elif kind == "add":
        x = net.add("relu", net.add("add", x, net.quantize("x", "b", 0.25)))
    elif kind == "concat":
        x = net.add("concat", x, net.quantize("x", "b", 0.25), axis=1)
    elif kind == "max_pool":
        x = net.add(kind, x, **(POOL | {"stride": (1, 1), "dilation": (1, 1)}))
    elif kind == "average_pool":
        x = net.add(kind, x, **(POOL | {"stride": (1, 1), "count_include_pad": True}))
    elif kind == "softmax":
        x = net.add(kind, x, axis=1)
    net.quantize(x, "y", 0.125)
    return net


@pytest.mark.parametrize(
    "kind",
    ["conv", "conv_transpose", "linear", "matmul", "add", "concat", "max_pool", "average_pool", "softmax", "quantize"],
)
def test_no_operation_takes_more_memory_than_is_counted(kind: str):
    net = large(kind)
    graph, tensors = net.graph(net.nodes[-1].output), stored(net, np.random.default_rng(0), by_channel=0)
    constants = {name: tensor.to_dense() for name, tensor in tensors.items()}
    program = lower(graph, tensors)
    assert [step.arithmetic == "float" for step in program.steps].count(True) == (kind == "softmax")
    x = np.random.default_rng(0).standard_normal((20, 8, 60, 60)).astype(np.float32)
    says, _ = effort_of(graph, 20, integers=True)
    tracemalloc.start()
    try:
        run_integers(program, constants, [x])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= says + 300_000
    assert says <= 12 * peak  # and a limit that is meant is not far off


def test_a_file_computes_the_same_bits_for_good():
    """Integers, and one float32 division before and multiplication behind them: the same on every machine."""
    golden = bytes.fromhex((GOLDEN / "maps-v1.secat.hex").read_text(encoding="ascii"))
    artifact = Artifact.from_bytes(golden)
    assert artifact.to_bytes() == golden
    x = (np.arange(108).reshape(1, 3, 6, 6) % 19 / 8 - 1).astype(np.float32)
    flat, head = interpret(artifact, x)
    assert flat.tobytes().hex() == "560d0540e66e74bdd0a924c0"
    assert head.tobytes().hex() == "511551be6be0eebe639c19bf4d12a33e1eccba3e"
