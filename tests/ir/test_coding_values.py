"""The smallest value code is taken; the others refuse dtypes and bytes that are not theirs."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding import values as coding
from secateur.ir.coding.squeeze import squeeze
from secateur.ir.coding.values import VALUE_CODES, decode_values, encode_values, value_code
from secateur.ir.coding.varint import varint
from secateur.ir.formats import same_bits

CODES = [code.name for code in VALUE_CODES]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "code", "most"),
    [
        (RNG.standard_normal(1000).astype(np.float16), "floats", 1800),
        (RNG.standard_normal(300_000).astype(np.float16), "planes", 520_000),
        (np.sort(RNG.standard_normal(1000)).astype(np.float16), "ascending", 800),
        (np.tile(RNG.standard_normal(50), 200).astype(np.float32), "planes", 600),
        (np.arange(512), "steps", 150),
        (RNG.integers(0, 200, 500), "planes", 700),
        (RNG.random(800) < 0.5, "bits", 120),
        (np.zeros(0, dtype=np.float32), "none", 0),
    ],
    ids=["few", "many", "sorted", "repeated", "index", "integers", "bool", "none"],
)
def test_the_smallest_code_is_taken(values: np.ndarray, code: str, most: int):
    stream = encode_values(values)
    assert value_code(stream) == code
    assert len(stream) <= most
    assert same_bits(decode_values(stream, values.dtype.name, values.size), values)


def test_the_order_of_codes_is_part_of_the_format():
    assert CODES == ["floats", "planes", "steps", "bits", "ascending", "signs", "leading"]


@pytest.mark.parametrize("size", [1, 9, 10, 11, 20, 35])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int64"])
def test_planes_come_in_blocks(monkeypatch: pytest.MonkeyPatch, size: int, dtype: str):
    monkeypatch.setattr(coding, "BLOCK_VALUES", 10)
    values = (RNG.standard_normal(size) * 1000).astype(dtype)
    for name in ("planes", "steps") if dtype == "int64" else ("planes",):
        code = VALUE_CODES[CODES.index(name)]
        stream = code.encode(values)
        assert stream is not None
        assert same_bits(code.decode(stream, dtype, size), values)
        with pytest.raises(ArtifactError):
            code.decode(stream + b"x", dtype, size)


def test_steps_wrap_round():
    values = np.array([2**63 - 1, -(2**63), 0, 5, -1])
    assert same_bits(decode_values(encode_values(values), "int64", 5), values)


@pytest.mark.parametrize(
    ("name", "dtype", "stream"),
    [
        ("planes", "bool", varint(1) + b"x"),
        ("steps", "float32", bytes(8)),
        ("bits", "float32", squeeze(b"\x01")),
        ("floats", "bool", bytes(8)),
        ("planes", "float32", b"\x00\x00\x00"),
        ("planes", "float32", b"\x09\x00\x00\x00"),
        ("bits", "bool", squeeze(b"\x01\x02")),
    ],
)
def test_hostile_streams_are_refused(name: str, dtype: str, stream: bytes):
    with pytest.raises(ArtifactError):
        decode_values(bytes([CODES.index(name)]) + stream, dtype, 3)


def test_bytes_for_no_values_and_unknown_codes_are_refused():
    with pytest.raises(ArtifactError, match="follow where none belong"):
        decode_values(b"\x00", "float32", 0)
    with pytest.raises(ArtifactError, match="no value code 77"):
        decode_values(b"\x4d", "float32", 1)
