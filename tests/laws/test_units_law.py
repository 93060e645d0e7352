"""Every row of OPS has a rule for units or is a barrier; rules follow what ops do; NaN marks what is not constant."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import TWINS

from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.ops import OPS
from secateur.ir.units.layout import LAYERS, Layout, UnitFlow
from secateur.ir.units.rules import BARRIERS, PARAMETRIC, RULES

CASES = 40
MOVERS = sorted(set(RULES) - set(LAYERS))


def test_every_op_has_a_rule_or_is_a_barrier():
    assert sorted((*RULES, *BARRIERS)) == sorted(OPS)


def float_case(op: str, seed: int) -> tuple[list[ValueType], dict, np.random.Generator] | None:
    rng = np.random.default_rng(seed)
    types, attributes = TWINS[op].draw(rng)
    result = OPS[op].shape(types, attributes)
    return (types, attributes, rng) if {value.dtype for value in (*types, result)} == {"float32"} else None


def poisons(op: str, seed: int, marker: float) -> int:
    """Checks that what a `marker` in the inputs leaves finite does not depend on the marked elements at all."""
    case = float_case(op, seed)
    if case is None:
        return 0
    types, attributes, rng = case
    shapes = [value.bind(2) for value in types]
    one, other = (TWINS[op].fill(rng, shapes) for _ in range(2))
    marks = [rng.random(shape) < rng.choice([0.1, 0.5]) for shape in shapes]
    mixed = [np.where(mark, b, a) for mark, a, b in zip(marks, one, other, strict=True)]
    marked = [np.where(mark, np.float32(marker), a) for mark, a in zip(marks, one, strict=True)]
    with np.errstate(all="ignore"):
        first, second, probe = (OPS[op].run(arrays, attributes, 2) for arrays in (one, mixed, marked))
    finite = np.isfinite(probe)
    np.testing.assert_array_equal(first[finite], second[finite])
    return 1


@pytest.mark.parametrize("op", MOVERS)
def test_a_finite_result_has_not_read_a_nan(op: str):
    assert sum(poisons(op, seed, np.nan) for seed in range(CASES)) > 0


def test_the_nan_law_can_fail():
    with pytest.raises(AssertionError):
        sum(poisons("relu", seed, -np.inf) for seed in range(CASES))


def follows(op: str, seed: int) -> int:
    """Checks on one random node that a unit's elements reach only that unit's places; counts free units."""
    case = float_case(op, seed)
    if case is None:
        return 0
    types, attributes, rng = case
    names = tuple(f"i{k}" for k in range(len(types)))
    arrays = dict(zip(names, TWINS[op].fill(rng, [value.bind(2) for value in types]), strict=True))
    node = Node(op, names, "y", attributes)
    known = dict(zip(names, types, strict=True)) | {"y": OPS[op].shape(types, attributes)}
    constants = names[1:] if op in PARAMETRIC else ()
    graph = Graph(names[: len(names) - len(constants)], ("y",), constants, (node,), known)
    flow = UnitFlow(graph, {name: arrays[name] for name in constants})
    for name in graph.inputs:
        axes = [axis for axis, size in enumerate(known[name].shape) if size > 0]
        if axes and rng.random() < 0.8:
            axis = int(rng.choice(axes))
            flow.layouts[name] = Layout(axis, flow.fresh(known[name].shape[axis]))
    layout = RULES[op](flow, node)
    roots, pinned = flow.roots(), flow.pinned()
    before = OPS[op].run(list(arrays.values()), attributes, 2)
    checked = 0
    for name, source in flow.layouts.items():
        for position, root in enumerate(roots[source.units]):
            if root in pinned:
                continue
            checked += 1
            moved = arrays[name].copy()
            moved[(slice(None),) * source.axis + (position,)] += 100
            after = OPS[op].run([moved if other == name else arrays[other] for other in names], attributes, 2)
            assert layout is not None, "a unit that no one pinned was lost"
            assert len(layout.units) == known["y"].shape[layout.axis]
            changed = np.moveaxis(after != before, layout.axis, 0).reshape(len(layout.units), -1).any(axis=1)
            assert (roots[layout.units[changed]] == root).all()
    return checked


@pytest.mark.parametrize("op", sorted(set(MOVERS) - {"div"}))
def test_a_unit_reaches_only_its_own_places(op: str):
    assert sum(follows(op, seed) for seed in range(CASES)) > 0


def test_the_unit_law_can_fail(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RULES, "permute", lambda flow, node: flow.layouts.get(node.inputs[0]))
    with pytest.raises(AssertionError):
        sum(follows("permute", seed) for seed in range(CASES))
