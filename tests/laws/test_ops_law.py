"""Every row of OPS means what torch means, gives the shape its rule announces, and leaves its inputs alone.

torch computes in float64, so that the tolerance is the float32 rounding of numpy alone. A new row is tested as soon as
it has a twin in op_cases.py, and refused until it has one.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from op_cases import TWINS, Twin

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.ops import OPS, Op
from secateur.ir.verify import check_type

CASES = 100
BATCHES = (0, 1, 2, 3)
MULTIPLY = ("conv", "conv_transpose", "linear", "matmul", "attention", "lstm", "gru", "rnn")


def arrays_for(twin: Twin, types: list[ValueType], batch: int, rng: np.random.Generator) -> list[np.ndarray]:
    arrays = twin.fill(rng, [value.bind(batch) for value in types])
    result = []
    for array, value in zip(arrays, types, strict=True):
        if array.dtype != value.dtype:
            array = array > -0.3 if value.dtype == "bool" else (array * 3).astype(value.dtype)
        result.append(np.array(array))
        result[-1].flags.writeable = False  # an op that writes into its inputs raises
    return result


def bound(attributes: dict[str, Any], batch: int) -> dict[str, Any]:
    return {name: ValueType(v).bind(batch) if name == "shape" else v for name, v in attributes.items()}


def expected_for(twin: Twin, arrays: list[np.ndarray], attributes: dict[str, Any], batch: int) -> np.ndarray:
    tensors = [torch.from_numpy(array.copy()) for array in arrays]
    wide = [tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors]
    return twin.torch(*wide, **bound(attributes, batch)).numpy()


def check(op: Op, twin: Twin, seed: int) -> None:
    rng = np.random.default_rng(seed)
    types, attributes = twin.draw(rng)
    batch = BATCHES[seed % len(BATCHES)]
    arrays = arrays_for(twin, types, batch, rng)
    result = op.run(arrays, attributes, batch)
    announced = OPS[op.name].shape(types, attributes)
    assert isinstance(result, np.ndarray)
    assert (result.shape, str(result.dtype)) == (announced.bind(batch), announced.dtype)
    expected = expected_for(twin, arrays, attributes, batch)
    assert result.shape == expected.shape
    if twin.exact:
        np.testing.assert_array_equal(result, expected)
    else:
        finite = np.abs(expected[np.isfinite(expected)])
        np.testing.assert_allclose(result, expected, rtol=3e-6, atol=1e-6 * min(10.0, max(1.0, finite.max(initial=0))))


def check_all(op: Op) -> None:
    for seed in range(CASES):
        check(op, TWINS[op.name], seed)


def test_every_row_has_a_twin() -> None:
    assert set(TWINS) == set(OPS)


@pytest.mark.parametrize("name", OPS)
def test_row_equals_torch(name: str) -> None:
    check_all(OPS[name])


@pytest.mark.parametrize("name", OPS)
def test_a_wrong_number_is_noticed(name: str) -> None:
    op = OPS[name]

    def nearly(*arrays: np.ndarray, **attributes: Any) -> np.ndarray:
        result = np.array(op.meaning(*arrays, **attributes))
        if result.size:
            last = result.reshape(-1)[-1:]
            last[:] = ~last if result.dtype == bool else last + 1 if result.dtype == np.int64 else last * 1.0001 + 2e-5
        return result

    with pytest.raises(AssertionError):
        check_all(replace(op, meaning=nearly))


@pytest.mark.parametrize("name", OPS)
def test_a_wrong_shape_is_noticed(name: str) -> None:
    broken = replace(OPS[name], meaning=lambda *arrays, **attributes: OPS[name].meaning(*arrays, **attributes)[None])
    with pytest.raises(AssertionError):
        check(broken, TWINS[name], 1)


def other(value: Any, kind: Any) -> Any:
    """A value that differs, of the same kind."""
    if isinstance(kind, tuple):
        return kind[(kind.index(value) + 1) % len(kind)]
    if kind == "bool":
        return not value
    if kind in ("int", "float"):
        return value + (1 if kind == "int" else 0.3)
    return (*value[:-1], value[-1] + 1)


@pytest.mark.parametrize(("name", "attribute"), [(op.name, name) for op in OPS.values() for name in op.attributes])
def test_every_attribute_matters(name: str, attribute: str) -> None:
    """The cases exercise each attribute: a meaning that reads another value of it fails somewhere."""
    op = OPS[name]

    def misread(*arrays: np.ndarray, **attributes: Any) -> np.ndarray:
        return op.meaning(*arrays, **attributes | {attribute: other(attributes[attribute], op.attributes[attribute])})

    with pytest.raises((AssertionError, ValueError, IndexError)):
        check_all(replace(op, meaning=misread))


@pytest.mark.parametrize("name", OPS)
def test_the_row_lists_the_attributes_its_functions_take(name: str) -> None:
    op = OPS[name]
    parameters = inspect.signature(op.meaning).parameters.values()
    keywords = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    assert keywords == set(op.attributes)


@pytest.mark.parametrize("name", OPS)
def test_macs_are_a_count(name: str) -> None:
    for seed in range(CASES):
        types, attributes = TWINS[name].draw(np.random.default_rng(seed))
        macs = OPS[name].macs(types, attributes)
        assert type(macs) is int
        assert (macs > 0) == (name in MULTIPLY)


@pytest.mark.parametrize("name", OPS)
def test_the_signature_can_be_checked(name: str) -> None:
    """The import hook of conftest.py checks array shapes, but passes over annotations that it cannot resolve."""
    assert "return" in get_type_hints(OPS[name].meaning)


HOSTILE = (-1, 0, 1, 2**40, 2**63, 1.5, float("nan"), float("inf"), True, "", None)
HOSTILE_TUPLES = ((), (0,), (1, 1), (2**40,), (2**40,) * 3, (2**63, 1), (-(2**40), 1, 1), (1,) * 40, (1.0, 2), ("a",))
HOSTILE_SHAPES = ((), (1,), (-1,), (2**40,), (-1, 2**20, 2**20), (-(2**40),), (1,) * 16, (3, -1, 2), (2, 3, -4, 5))


@pytest.mark.parametrize("name", OPS)
def test_a_stranger_s_node_gives_a_sane_type_or_a_graph_error(name: str) -> None:
    """Attributes and input types that check_type lets through, one replaced at a time; nothing is computed."""
    refused = 0
    for seed in range(6):
        types, attributes = TWINS[name].draw(np.random.default_rng(seed))
        cases = [(types, attributes | {key: value}) for key in attributes for value in (*HOSTILE, *HOSTILE_TUPLES)]
        for place in range(len(types)):
            for shape in HOSTILE_SHAPES:
                for dtype in ("float32", "int64", "bool"):
                    cases.append(([*types[:place], ValueType(shape, dtype), *types[place + 1 :]], attributes))
        cases += [(types[:-1], attributes), ([*types, types[-1]], attributes), ([], attributes)]
        for inputs, given in cases:
            try:
                check_type("y", OPS[name].shape(inputs, given))
                assert type(OPS[name].macs(inputs, given)) is int
            except GraphError:
                refused += 1
    assert refused > 6
