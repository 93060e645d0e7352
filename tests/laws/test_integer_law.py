"""Every operation with a rule for integers computes what it means: on random cases, where float32 is exact as well.

Scales are powers of two and integers small, so that sums and products are exact in float32 and both arithmetics give
the same bits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from op_cases import TWINS

from secateur.ir.formats import Dense, Stored, on_grid
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.grid import Grid
from secateur.ir.integer import run
from secateur.ir.integer.dynamic import DYNAMIC
from secateur.ir.integer.lower import FLOAT, RULES, Program, lower
from secateur.ir.integer.run import run_integers
from secateur.ir.integer.site import Lowered
from secateur.ir.interpret import run_graph
from secateur.ir.ops import OPS
from secateur.ir.verify import verify

CASES = 40
LAYERS = ("conv", "conv_transpose", "linear")
MEANS = ("average_pool", "adaptive_average_pool", "mean")


class Case:
    """Quantizer, operation, quantizer: a random node whose inputs are codes, and whose weights lie on a grid."""

    def __init__(self, op: str, seed: int) -> None:
        self.rng = np.random.default_rng([seed, *op.encode()])
        self.types: dict[str, ValueType] = {}
        self.tensors: dict[str, Stored] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        drawn, attributes = TWINS[op].draw(self.rng)
        while {kind.dtype for kind in drawn} != {"float32"} or not any(s < 0 for kind in drawn for s in kind.shape):
            drawn, attributes = TWINS[op].draw(self.rng)
        if op == "pad":
            attributes = attributes | {"value": float(self.rng.integers(-2, 3)) if attributes["value"] else 0.0}
        if op == "clip":
            low, high = sorted(self.rng.integers(-3, 9, 2).tolist())
            attributes = {"low": float(low) if self.rng.random() < 0.7 else -np.inf, "high": float(high)}
        names = [
            self._parameter(f"p{place}", op, place, kind) if op in LAYERS and place else self._codes(f"x{place}", kind)
            for place, kind in enumerate(drawn if op != "fake_quantize" else drawn[:1])
        ]
        self.result = self._quantized(names[0]) if op == "fake_quantize" else self._add(op, names, attributes)
        self.outputs = (self.result, self._quantized(self.result))

    def graph(self) -> Graph:
        graph = Graph(tuple(self.inputs), self.outputs, tuple(self.tensors), tuple(self.nodes), self.types)
        verify(graph)
        return graph

    def arrays(self, batch: int) -> list[np.ndarray]:
        """Numbers in quarters: some lie between two codes, at a half too, and some beyond the last."""
        shapes = [self.types[name].bind(batch) for name in self.inputs]
        return [np.asarray(self.rng.integers(-40, 41, shape) / 4, np.float32) for shape in shapes]

    def _codes(self, name: str, kind: ValueType) -> str:
        self.types[name] = kind
        if all(size > 0 for size in kind.shape):  # an input all the same: a constant is not quantized when it is packed
            self.types[name] = ValueType(kind.shape)
        self.inputs.append(name)
        return self._quantized(name)

    def _quantized(self, name: str) -> str:
        """At a power of two; 3 or 4 bits, so that codes saturate too."""
        scale = f"s{len(self.nodes)}"
        self.tensors[scale] = Dense(np.array(2.0 ** self.rng.integers(-2, 2), np.float16))
        self.types[scale] = ValueType(())
        return self._add(
            "fake_quantize", [name, scale], {"bits": int(self.rng.integers(3, 5)), "signed": bool(self.rng.integers(2))}
        )

    def _parameter(self, name: str, op: str, place: int, kind: ValueType) -> str:
        self.types[name] = kind
        if place == 2:
            self.tensors[name] = Dense((2.0 * self.rng.integers(-4, 5, kind.shape)).astype(np.float32))
            return name
        axis = int(op == "conv_transpose")
        scale = 2.0 ** self.rng.integers(-2, 1, kind.shape[axis] if self.rng.random() < 0.6 else ())
        grid = Grid(4, np.asarray(scale, np.float16), axis)
        codes = self.rng.integers(-3, 4, kind.shape).astype(np.int8)
        self.tensors[name] = on_grid(grid.real(codes), grid)
        return name

    def _add(self, op: str, names: list[str], attributes: dict[str, Any]) -> str:
        name = f"v{len(self.nodes)}"
        self.types[name] = OPS[op].shape([self.types[n] for n in names], attributes)
        self.nodes.append(Node(op, tuple(names), name, attributes))
        return name


def compare(op: str, seed: int) -> bool:
    """Checks one case; whether its operation ran in integers."""
    case = Case(op, seed)
    graph, inputs = case.graph(), case.arrays((0, 1, 2, 3)[seed % 4])
    program = lower(graph, case.tensors)
    constants = {name: tensor.to_dense() for name, tensor in case.tensors.items()}
    expected = run_graph(graph, constants, inputs)
    found = run_integers(program, constants, inputs)
    assert [(a.shape, a.dtype) for a in found] == [(a.shape, a.dtype) for a in expected]
    (step,) = [step for step in program.steps if step.node.output == case.result]
    if step.arithmetic == "float" or op not in MEANS:
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], np.nan_to_num(expected[1]))  # a NaN has no code: 0
    else:
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
        np.testing.assert_array_equal(found[1], expected[1])
    check_ranges(program, constants, inputs)
    return step.arithmetic == "integer"


def compare_all(op: str) -> list[bool]:
    return [compare(op, seed) for seed in range(CASES)]


def check_ranges(program: Program, constants: dict[str, np.ndarray], inputs: list[np.ndarray]) -> None:
    """Integers stay within what was proved of them."""
    everything = tuple(dict.fromkeys((*program.graph.outputs, *program.held)))
    whole = replace(program, graph=replace(program.graph, outputs=everything), held={})
    values = dict(zip(everything, run_watched(whole, program, constants, inputs), strict=True))
    for name, held in program.held.items():
        array = values[name]
        assert array.dtype == held.dtype
        if array.size:
            assert held.low <= int(array.min())
            assert int(array.max()) <= held.high


def run_watched(
    whole: Program, program: Program, constants: dict[str, np.ndarray], inputs: list[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """The integers themselves, of every value."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_run", lambda _, *arguments, inner=run._run: inner(program, *arguments))
        return run_integers(whole, constants, inputs)


@pytest.mark.parametrize("op", RULES)
def test_integers_compute_what_the_operation_means(op: str):
    ran = compare_all(op)
    assert sum(ran) >= CASES // 8, "hardly any case ran in integers"


def test_every_operation_has_a_rule_or_a_reason():
    assert sorted((*RULES, *FLOAT, "dynamic_quantize")) == sorted(OPS)
    assert set(DYNAMIC) - set(RULES) == {"dynamic_quantize"}
    assert all(FLOAT.values())


@pytest.mark.parametrize("op", ["conv", "max_pool", "add", "mean", "concat", "relu6"])
def test_a_wrong_integer_is_noticed(op: str, monkeypatch: pytest.MonkeyPatch):
    rule = RULES[op]

    def wrong(arrays: list[np.ndarray], node: Node, lowered: Lowered, batch: int) -> np.ndarray:
        y = rule.run(arrays, node, lowered, batch).copy()
        y[(-1,) * y.ndim if y.size else ...] += lowered.result.bound // 8 + 1
        return y

    monkeypatch.setitem(RULES, op, rule._replace(run=wrong))  # pyright: ignore[reportArgumentType]
    with pytest.raises(AssertionError):
        compare_all(op)
