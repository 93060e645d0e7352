"""decode(encode(x)) == x, bit for bit, for every row of the tables of forms, position codes, value codes and ways of
codes.

Also for every damaged record: an ArtifactError, or a tensor of the announced shape; never anything else.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import ArtifactError
from secateur.ir.coding.alphabet import Alphabet, Places
from secateur.ir.coding.codes import WAYS, Way
from secateur.ir.coding.positions import POSITION_CODES, PositionCode, decode_positions, encode_positions
from secateur.ir.coding.tensors import (
    FORMS,
    Form,
    decode_tensor,
    encode_tensor,
    quantized_streams,
    record_bytes,
    split_record,
)
from secateur.ir.coding.values import VALUE_CODES, ValueCode, decode_values, encode_values
from secateur.ir.formats import CODE_DTYPES, Dense, Quantized, Sparse, Stored, from_dense, on_grid, same_bits
from secateur.ir.grid import SCALE_DTYPES, Grid

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
FLOAT_FORMS = [form for form in FORMS if form.kind is not Quantized]
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


@st.composite
def quantized(draw: st.DrawFn, bits: int) -> Quantized:
    """Codes of any density and spread, at one scale or one a channel, some of which are zero."""
    mask = draw(masks())
    rng = np.random.default_rng(draw(seeds))
    axis = draw(st.sampled_from([None, *range(mask.ndim)]))
    scale = rng.random(() if axis is None else mask.shape[axis]) + 0.01
    if axis is not None:
        scale *= rng.random(scale.shape) < draw(st.sampled_from([0.5, 1.0]))
    grid = Grid(bits, scale.astype(draw(st.sampled_from(SCALE_DTYPES))), axis or 0)
    spread = draw(st.sampled_from([0.2, 1.0, 10.0])) * grid.largest
    codes = np.clip(np.rint(rng.standard_normal(mask.shape) * spread), -grid.largest, grid.largest)
    codes = np.where(codes == 0, draw(st.sampled_from([0, 1, -1])), codes) * mask * (grid.steps(mask.ndim) > 0)
    return Quantized(codes.astype(np.int8), grid)


def name_of(form: Form) -> str:
    return f"{form.kind.__name__}-{form.dtype}"


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


def check_codes(way: Way, codes: np.ndarray, alphabet: Alphabet, where: Places) -> bool:
    stream = way.encode(codes, alphabet, where)
    if stream is None:
        return False
    assert same_bits(way.decode(stream, codes.size, alphabet, where), codes)
    return True


def as_form(form: Form, array: np.ndarray) -> Stored:
    if form.kind is Dense:
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


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_ways_of_codes(way: Way, bits: int):
    taken = []

    @settings(max_examples=40, deadline=None)
    @given(quantized(bits).filter(lambda tensor: tensor.nonzeros))
    def law(tensor: Quantized) -> None:
        flat, places = tensor.codes.reshape(-1), np.flatnonzero(tensor.codes)
        for codes, where in ((flat, None), (flat[places], places), (np.sort(flat), None)):
            taken.append(check_codes(way, codes, Alphabet(bits, where is None), (where, tensor.shape)))

    law()
    assert any(taken)


@pytest.mark.parametrize("form", FLOAT_FORMS, ids=name_of)
def test_forms(form: Form):
    dtype = form.dtype

    @settings(max_examples=50, deadline=None)
    @given(arrays(dtype))
    def law(array: np.ndarray) -> None:
        tensor = as_form(form, array)
        found = decode_tensor(split_record(encode_tensor(tensor).record()), array.shape)
        assert found == tensor
        assert found.shape == array.shape
        dense = found.to_dense()
        assert dense.dtype.name == {"float16": "float32"}.get(dtype, dtype)
        if form.kind is Dense:
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


@pytest.mark.parametrize("dtype", CODE_DTYPES)
def test_quantized_tensors(dtype: str):
    forms = set()

    @settings(max_examples=120, deadline=None)
    @given(quantized(int(dtype.removeprefix("int"))))
    def law(tensor: Quantized) -> None:
        assert on_grid(tensor.to_dense(), tensor.grid) == tensor
        for streams in quantized_streams(tensor):
            record = streams.record()
            assert decode_tensor(split_record(record), tensor.shape) == tensor
            assert encode_tensor(tensor).sizes().total <= streams.sizes().total == record_bytes(record)
            forms.add(streams.form)

    law()
    assert forms == {index for index, form in enumerate(FORMS) if form.dtype == dtype}


@pytest.mark.parametrize("form", FLOAT_FORMS, ids=name_of)
def test_damaged_records(form: Form):
    refuses_damage(arrays(form.dtype).map(lambda array: as_form(form, array)))


@pytest.mark.parametrize("dtype", CODE_DTYPES)
def test_damaged_records_of_codes(dtype: str):
    refuses_damage(quantized(int(dtype.removeprefix("int"))))


def refuses_damage(tensors: st.SearchStrategy[Stored]) -> None:
    refused = []

    @settings(max_examples=100, deadline=None)
    @given(tensors, st.data())
    def law(tensor: Stored, data: st.DataObject) -> None:
        record = bytearray(encode_tensor(tensor).record())
        place = data.draw(st.integers(0, len(record) - 1))
        kind = data.draw(st.sampled_from(["cut", "change", "insert"]))
        if kind == "cut":
            del record[place:]
        elif kind == "change":
            record[place] ^= data.draw(st.integers(1, 255))
        else:
            record.insert(place, data.draw(st.integers(0, 255)))
        shape = data.draw(st.sampled_from([tensor.shape, (tensor.size, 2), (3, 3)]))
        try:
            found = decode_tensor(split_record(bytes(record)), shape)
        except ArtifactError:
            refused.append(True)
            return
        assert found.shape == shape
        assert found.to_dense().shape == shape

    law()
    assert refused


def test_the_laws_notice_a_fault():
    mask = np.arange(12).reshape(3, 4) % 3 == 1
    shifted = replace(POSITION_CODES[1], decode=lambda *given: POSITION_CODES[1].decode(*given) + 1)
    with pytest.raises(AssertionError):
        check_positions(shifted, mask)
    turned = replace(WAYS[0], decode=lambda *given: -WAYS[0].decode(*given))
    with pytest.raises(AssertionError):
        check_codes(turned, np.array([1, -2], dtype=np.int8), Alphabet(3, zero=False), (None, (2,)))
    unsigned = replace(VALUE_CODES[0], decode=lambda *given: np.abs(VALUE_CODES[0].decode(*given)))
    with pytest.raises(AssertionError):
        check_values(unsigned, np.array([1, -0.0], dtype=np.float32))
