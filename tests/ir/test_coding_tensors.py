"""A record says form, dtype, positions, values; each form has its number for good."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.artifact import encoded_bytes
from secateur.ir.coding.tensors import FORMS, decode_tensor, encode_tensor, split_record
from secateur.ir.formats import Dense, Sparse

SPARSE = Sparse((3, 4), np.array([1, 7, 11]), np.array([1, -2, np.nan], dtype=np.float16))


def test_forms_are_part_of_the_format():
    named = [(form.__name__, dtype) for form, dtype in FORMS]
    assert named == [
        *(("Sparse", "float16"), ("Sparse", "float32"), ("Dense", "float16"), ("Dense", "float32")),
        *(("Dense", "int64"), ("Dense", "bool")),
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


@pytest.mark.parametrize("record", [b"", b"\x06", b"\x00", b"\x00\x7f", b"\x00\x02\x00\x00\x01"])
def test_hostile_records_are_refused(record: bytes):
    with pytest.raises(ArtifactError):
        decode_tensor(split_record(record), (3, 4))


def test_zeros_among_the_non_zeros_are_refused():
    zeros = encode_tensor(Dense(np.array([1, 0, 2], dtype=np.float16))).values
    streams = encode_tensor(SPARSE)
    record = streams.record()[: -len(streams.values)] + zeros
    with pytest.raises(ArtifactError, match="lists a zero"):
        decode_tensor(split_record(record), (3, 4))
