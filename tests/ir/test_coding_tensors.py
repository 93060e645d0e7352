"""A record says form, dtype, positions, values; each form has its number for good."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.artifact import encoded_bytes
from secateur.ir.coding.tensors import FORMS, Form, decode_tensor, encode_tensor, held_bytes, split_record
from secateur.ir.formats import Dense, Quantized, Sparse
from secateur.ir.grid import Grid

SPARSE = Sparse((3, 4), np.array([1, 7, 11]), np.array([1, -2, np.nan], dtype=np.float16))


def test_forms_are_part_of_the_format():
    named = [(form.kind.__name__, form.dtype, form.positions, form.scales) for form in FORMS]
    widths = [f"int{bits}" for bits in range(2, 9)]
    assert named == [
        *(("Sparse", "float16", True, False), ("Sparse", "float32", True, False)),
        *(("Dense", dtype, False, False) for dtype in ("float16", "float32", "int64", "bool")),
        *(("Quantized", dtype, True, False) for dtype in widths),
        *(("Quantized", dtype, True, True) for dtype in widths),
        *(("Quantized", dtype, False, False) for dtype in widths),
        *(("Quantized", dtype, False, True) for dtype in widths),
    ]


def test_a_sparse_record():
    streams = encode_tensor(SPARSE)
    assert (streams.sizes().positions_code, streams.sizes().values_code) == ("contexts", "floats")
    record = streams.record()
    assert decode_tensor(split_record(record), (3, 4)) == SPARSE
    assert encoded_bytes(SPARSE) == len(record) + 1
    assert len(record) == 2 + len(streams.positions) + len(streams.values)


def test_a_dense_record_has_no_positions():
    tensor = Dense(np.array(7.0, dtype=np.float32))
    assert encode_tensor(tensor).sizes().positions_code == "dense"
    assert decode_tensor(encode_tensor(tensor), ()) == tensor


def test_arrays_in_any_memory_order_are_stored_alike():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert encode_tensor(Dense(np.asfortranarray(array))) == encode_tensor(Dense(array))
    assert encode_tensor(Dense(array[:, ::-1])) == encode_tensor(Dense(array[:, ::-1].copy()))


def test_a_quantized_record_has_positions_where_there_are_many_zeros():
    codes = np.zeros((30, 40), dtype=np.int8)
    codes[::7, 3::9] = np.arange(5) - 7
    grid = Grid(4, np.array(0.25, np.float16))
    few, all_ones = encode_tensor(Quantized(codes, grid)), encode_tensor(Quantized(np.ones_like(codes), grid))
    assert FORMS[few.form] == Form(Quantized, "int4", positions=True)
    assert FORMS[all_ones.form] == Form(Quantized, "int4", positions=False)
    assert (few.sizes().scales, few.sizes().framing) == (2, 3)
    assert (all_ones.sizes().scales, all_ones.sizes().framing) == (2, 2)
    by_channel = Quantized(codes, Grid(4, np.ones(40, np.float16), axis=1))
    assert FORMS[encode_tensor(by_channel).form].scales
    assert encode_tensor(Quantized(np.asfortranarray(codes), grid)) == few


def test_what_a_quantized_record_announces_is_known_before_it_is_decoded():
    codes = np.where(np.arange(1000) % 90 == 5, np.arange(1000) % 7 + 1, 0).astype(np.int8)
    assert held_bytes(encode_tensor(Quantized(codes, Grid(4, np.array(1, np.float16)))), (1000,)) == 1000 + 9 * 12


@pytest.mark.parametrize(
    "record", [b"", b"\x22", b"\x06", b"\x06\x00", b"\x0d\x00\x00", b"\x00", b"\x00\x7f", b"\x00\x02\x00\x00\x01"]
)
def test_hostile_records_are_refused(record: bytes):
    with pytest.raises(ArtifactError):
        decode_tensor(split_record(record), (3, 4))


def test_zeros_among_the_non_zeros_are_refused():
    zeros = encode_tensor(Dense(np.array([1, 0, 2], dtype=np.float16))).values
    streams = encode_tensor(SPARSE)
    record = streams.record()[: -len(streams.values)] + zeros
    with pytest.raises(ArtifactError, match="lists a zero"):
        decode_tensor(split_record(record), (3, 4))
