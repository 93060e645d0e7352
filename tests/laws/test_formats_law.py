"""decode(encode(x)) == x, bit for bit, for every row of the tables of forms, position codes and value codes.

Also for every damaged record: an ArtifactError, or a tensor of the announced shape; never anything else.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import ArtifactError
from secateur.ir.coding.positions import POSITION_CODES, PositionCode, decode_positions, encode_positions
from secateur.ir.coding.tensors import FORMS, decode_tensor, encode_tensor, split_record
from secateur.ir.coding.values import VALUE_CODES, ValueCode, decode_values, encode_values
from secateur.ir.formats import Dense, Sparse, from_dense, same_bits

ODD = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-8, 65504.0, 0.1]
TAKES = {  # value code -> the dtypes it is for
    "floats": ("float16", "float32"),
    "planes": ("float16", "float32", "int64"),
    "steps": ("int64",),
    "bits": ("bool",),
    "ascending": ("float16", "float32"),
    "signs": ("float16", "float32"),
    "leading": ("float16", "float32"),
}
shapes = st.lists(st.integers(0, 6), max_size=5).map(tuple) | st.sampled_from([(1, 90), (90, 1), (90,), (40, 40), ()])
seeds = st.integers(0, 2**32 - 1)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    """Nothing, everything, or any density, with whole rows and columns empty or full."""
    shape = draw(shapes)
    rng = np.random.default_rng(draw(seeds))
    mask = rng.random(shape) < draw(st.sampled_from([0.0, 0.03, 0.3, 0.9, 1.0]))
    if mask.ndim > 1 and draw(st.booleans()):
        mask[rng.random(shape[0]) < 0.5] = draw(st.booleans())
        mask[:, rng.random(shape[1]) < 0.5] = draw(st.booleans())
    return mask


@st.composite
def arrays(draw: st.DrawFn, dtype: str) -> np.ndarray:
    """Noise of any scale, sorted or not, odd numbers, or one number throughout."""
    mask = draw(masks())
    rng = np.random.default_rng(draw(seeds))
    array = rng.standard_normal(mask.shape) * draw(st.sampled_from([1e-6, 0.05, 1.0, 1000.0]))
    kind = draw(st.sampled_from(["noise", "sorted", "odd", "constant"]))
    if kind == "sorted":
        array = np.sort(array, axis=None).reshape(mask.shape)
    if kind == "odd":
        array = rng.choice(ODD, mask.shape)
    if kind == "constant":
        array = np.full(mask.shape, draw(st.sampled_from(ODD)))
    array = np.where(np.isfinite(array), array, 0) if dtype in ("int64", "bool") else array
    return (array * mask if kind == "noise" else array).astype(dtype)


def check_positions(code: PositionCode, mask: np.ndarray) -> bool:
    """Whether the code took this mask; if so, the law holds."""
    positions = np.flatnonzero(mask)
    stream = code.encode(positions, mask.shape)
    if stream is None:
        return False
    found = code.decode(stream, mask.shape, positions.size)
    assert same_bits(found, positions)
    return True


def check_values(code: ValueCode, values: np.ndarray) -> bool:
    where = ((np.arange(values.size) * 2, (2, values.size)),) if code.placed else ()
    if code.name == "leading":
        values = values.copy()
        values[[0, (values.size + 1) // 2 % values.size]] = [-0.25, 2.0]
    stream = code.encode(values, *where)
    if stream is None:
        return False
    assert same_bits(code.decode(stream, values.dtype.name, values.size, *where), values)
    return True


def as_form(form: type, array: np.ndarray) -> Dense | Sparse:
    if form is Dense:
        return Dense(array)
    positions = np.flatnonzero(array)
    return Sparse(array.shape, positions, array.reshape(-1)[positions])


@pytest.mark.parametrize("code", POSITION_CODES, ids=lambda code: code.name)
def test_position_codes(code: PositionCode):
    taken = []

    @settings(max_examples=80, deadline=None)
    @given(masks())
    def law(mask: np.ndarray) -> None:
        taken.append(check_positions(code, mask))

    law()
    assert any(taken)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "bool"])
@pytest.mark.parametrize("code", VALUE_CODES, ids=lambda code: code.name)
def test_value_codes(code: ValueCode, dtype: str):
    taken = []

    @settings(max_examples=40, deadline=None)
    @given(arrays(dtype).filter(lambda array: array.size))
    def law(array: np.ndarray) -> None:
        taken.append(check_values(code, array.reshape(-1)))

    law()
    assert any(taken) == (dtype in TAKES[code.name])


@pytest.mark.parametrize(("form", "dtype"), FORMS, ids=lambda part: getattr(part, "__name__", part))
def test_forms(form: type, dtype: str):
    @settings(max_examples=50, deadline=None)
    @given(arrays(dtype))
    def law(array: np.ndarray) -> None:
        tensor = as_form(form, array)
        found = decode_tensor(split_record(encode_tensor(tensor).record()), array.shape)
        assert found == tensor
        assert found.shape == array.shape
        dense = found.to_dense()
        assert dense.dtype.name == {"float16": "float32"}.get(dtype, dtype)
        if form is Dense:
            assert same_bits(dense, tensor.to_dense())
        assert np.array_equal(dense, array.astype(dense.dtype), equal_nan=dtype.startswith("float"))

    law()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_from_dense_decodes_to_the_values(dtype: str):
    @settings(max_examples=50, deadline=None)
    @given(arrays(dtype))
    def law(array: np.ndarray) -> None:
        assert np.array_equal(from_dense(array).to_dense(), array.astype(np.float32), equal_nan=True)

    law()


@settings(max_examples=80, deadline=None)
@given(masks())
def test_the_chosen_streams_come_back(mask: np.ndarray):
    positions = np.flatnonzero(mask)
    assert same_bits(decode_positions(encode_positions(positions, mask.shape), mask.shape), positions)
    values = mask.reshape(-1)
    assert same_bits(decode_values(encode_values(values), "bool", values.size), values)


@pytest.mark.parametrize(("form", "dtype"), FORMS, ids=lambda part: getattr(part, "__name__", part))
def test_damaged_records(form: type, dtype: str):
    refused = []

    @settings(max_examples=100, deadline=None)
    @given(arrays(dtype), st.data())
    def law(array: np.ndarray, data: st.DataObject) -> None:
        record = bytearray(encode_tensor(as_form(form, array)).record())
        place = data.draw(st.integers(0, len(record) - 1))
        kind = data.draw(st.sampled_from(["cut", "change", "insert"]))
        if kind == "cut":
            del record[place:]
        elif kind == "change":
            record[place] ^= data.draw(st.integers(1, 255))
        else:
            record.insert(place, data.draw(st.integers(0, 255)))
        shape = data.draw(st.sampled_from([array.shape, (prod(array.shape), 2), (3, 3)]))
        try:
            tensor = decode_tensor(split_record(bytes(record)), shape)
        except ArtifactError:
            refused.append(True)
            return
        assert tensor.shape == shape
        assert tensor.to_dense().shape == shape

    law()
    assert refused


def test_the_laws_notice_a_fault():
    mask = np.arange(12).reshape(3, 4) % 3 == 1
    shifted = replace(POSITION_CODES[1], decode=lambda *given: POSITION_CODES[1].decode(*given) + 1)
    with pytest.raises(AssertionError):
        check_positions(shifted, mask)
    unsigned = replace(VALUE_CODES[0], decode=lambda *given: np.abs(VALUE_CODES[0].decode(*given)))
    with pytest.raises(AssertionError):
        check_values(unsigned, np.array([1, -0.0], dtype=np.float32))
