"""Rows that begin with a power of two: every value comes back, their mantissas are free, bad streams are refused."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding.floats import encode_floats
from secateur.ir.coding.leading import decode_leading, encode_leading
from secateur.ir.coding.signs import Where
from secateur.ir.formats import same_bits


def rows(count: int, columns: int, density: float, dtype: str = "float16") -> tuple[np.ndarray, Where]:
    """Values of which the first in every row is a power of two."""
    rng = np.random.default_rng(count)
    mask = rng.random((count, columns)) < density
    values = rng.standard_normal(mask.shape)
    first = np.argmax(mask, axis=1)
    leading = values[np.arange(count), first]
    values[np.arange(count), first] = np.sign(leading) * 2.0 ** np.round(np.log2(np.abs(leading)))
    positions = np.flatnonzero(mask)
    return values.reshape(-1)[positions].astype(dtype), (positions, mask.shape)


def coded(values: np.ndarray, where: Where) -> bytes:
    stream = encode_leading(values, where)
    assert stream is not None
    assert same_bits(decode_leading(stream, values.dtype.name, values.size, where), values)
    return stream


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("count", "columns", "density"), [(1, 1, 1.0), (5, 1, 1.0), (40, 16, 0.3), (300, 50, 0.1)])
def test_every_tensor_comes_back(count: int, columns: int, density: float, dtype: str):
    coded(*rows(count, columns, density, dtype))


def test_a_mantissa_less_a_row():
    values, where = rows(300, 50, 0.1)
    plain = encode_floats(values)
    assert plain is not None
    assert len(coded(values, where)) < len(plain) - 300 * 8 / 8


@pytest.mark.parametrize("wrong", [0.3, np.nan, np.inf])
def test_other_tensors_are_left_to_others(wrong: float):
    values, where = rows(10, 16, 0.5)
    values[0] = wrong
    assert encode_leading(values, where) is None
    assert encode_leading(np.ones(values.size, dtype=np.int64), where) is None


def test_streams_of_other_kinds_are_refused():
    values, where = rows(10, 16, 0.5)
    stream = bytearray(coded(values, where))
    kind = 1 + stream[0]
    assert stream[kind] in (0, 1)
    stream[kind] = 2
    with pytest.raises(ArtifactError, match="not coded as 2"):
        decode_leading(bytes(stream), "float16", values.size, where)
    for dtype, count in (("int64", 5), ("float16", 0)):
        with pytest.raises(ArtifactError, match="by their rows"):
            decode_leading(bytes(stream), dtype, count, (where[0][:count], where[1]))


def test_random_changes_give_values_or_artifact_errors():
    values, where = rows(6, 16, 0.4)
    stream, rng, outcomes = coded(values, where), np.random.default_rng(0), set()
    for _ in range(1500):
        changed = bytearray(stream)
        changed[rng.integers(len(changed))] ^= int(rng.integers(1, 256))
        try:
            found = decode_leading(
                bytes(changed[: int(rng.integers(0, len(changed) + 2))]), "float16", values.size, where
            )
        except ArtifactError:
            outcomes.add("refused")
            continue
        outcomes.add("decoded")
        assert found.shape == values.shape
        assert found.dtype == values.dtype
    assert outcomes == {"refused", "decoded"}
