"""Modelled floats: every bit pattern comes back, trained weights cost about their exponent's entropy and the noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import ArtifactError
from secateur.ir.coding import floats
from secateur.ir.coding.floats import SIGN_MODELLED, decode_floats, encode_floats
from secateur.ir.formats import same_bits

MANTISSA = {"float16": 10, "float32": 23}
UNSIGNED = {"float16": np.uint16, "float32": np.uint32}


def coded(values: np.ndarray) -> bytes:
    stream = encode_floats(values)
    assert stream is not None
    assert same_bits(decode_floats(stream, values.dtype.name, values.size), values)
    return stream


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40), st.sampled_from(["float16", "float32"]))
def test_every_bit_pattern_comes_back(patterns: list[int], dtype: str):
    bits = 8 * np.dtype(dtype).itemsize
    coded(np.array([pattern % 2**bits for pattern in patterns], dtype=UNSIGNED[dtype]).view(dtype))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_surviving_weights_cost_less_than_sign_exponent_and_mantissa(dtype: str):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(60_000) * 0.05
    values = values[np.abs(values) > 0.11][:3000].astype(dtype)
    exponents = np.frexp(values.astype(np.float64))[1]
    shares = np.unique(exponents, return_counts=True)[1] / values.size
    entropy = -(shares * np.log2(shares)).sum()
    assert len(coded(values)) * 8 / values.size < 1 + entropy + MANTISSA[dtype]


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -2.5, np.nan, np.inf, 1e-7])
def test_constants_cost_a_few_bytes(value: float):
    assert len(coded(np.full(500, value, dtype=np.float32))) <= 10


def test_zeros_that_end_every_value_are_dropped():
    rng = np.random.default_rng(0)
    halves = rng.standard_normal(2000).astype(np.float16)
    assert abs(len(coded(halves.astype(np.float32))) - len(coded(halves))) < 60


def test_signs_are_modelled_where_that_pays():
    values = np.random.default_rng(0).random(1000).astype(np.float32)
    signed = values * np.random.default_rng(1).choice([-1, 1], 1000).astype(np.float32)
    assert len(coded(signed)) - len(coded(values)) > 100


def test_other_dtypes_and_sizes_are_left_to_others(monkeypatch: pytest.MonkeyPatch):
    assert encode_floats(np.arange(3)) is None
    assert encode_floats(np.zeros(0, dtype=np.float32)) is None
    monkeypatch.setattr(floats, "MOST_VALUES", 10)
    assert encode_floats(np.ones(11, dtype=np.float32)) is None
    with pytest.raises(ArtifactError, match="not coded as modelled floats"):
        decode_floats(bytes(9), "float32", 11)
    with pytest.raises(ArtifactError, match="int64"):
        decode_floats(bytes(9), "int64", 1)


@pytest.mark.parametrize(
    "head",
    [(0, 0, 11, 0), (0, 16, 0, 1), (20, 12, 0, 0), (31, 0, 0, 1), (0, 255, 0, 0), (0, 0, 0, 0xFF, 0xFF, 0xFF, 0x7F)],
    ids=["tree", "drop", "low and drop", "noise", "all dropped", "base"],
)
def test_values_that_do_not_fit_their_dtype_are_refused(head: tuple[int, ...]):
    with pytest.raises(ArtifactError):
        decode_floats(bytes(head) + bytes(40), "float16", 3)


def test_a_few_bytes_cannot_ask_for_long_work():
    stream = bytes((SIGN_MODELLED, 0, 10, 0)) + bytes(2000)
    with pytest.raises(ArtifactError, match="too few"):
        decode_floats(stream, "float16", 100_000)


def test_almost_constant_values_are_left_to_zstd():
    values = np.ones(100_000, dtype=np.float32)
    values[7] = 2
    assert encode_floats(values) is None


def test_random_streams_give_values_or_artifact_errors():
    rng = np.random.default_rng(0)
    decoded = 0
    for _ in range(3000):
        count, dtype = int(rng.integers(1, 6)), str(rng.choice(["float16", "float32"]))
        head = bytes([int(rng.integers(0, 40)), int(rng.integers(0, 6)), int(rng.integers(0, 12))])
        try:
            values = decode_floats(head + rng.bytes(int(rng.integers(0, 20))), dtype, count)
        except ArtifactError:
            continue
        decoded += 1
        assert (values.dtype.name, values.shape) == (dtype, (count,))
    assert decoded
