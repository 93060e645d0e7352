"""Ascending floats: every one comes back, a set costs less than a list, and bad streams are refused."""

from __future__ import annotations

from math import lgamma, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import ArtifactError
from secateur.ir.coding import ascending
from secateur.ir.coding.ascending import decode_ascending, encode_ascending
from secateur.ir.coding.floats import encode_floats
from secateur.ir.formats import same_bits


def coded(values: np.ndarray) -> bytes:
    stream = encode_ascending(values)
    assert stream is not None
    assert same_bits(decode_ascending(stream, values.dtype.name, values.size), values)
    return stream


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, width=16), min_size=2, max_size=40), st.sampled_from(["float16", "float32"]))
def test_every_sorted_list_comes_back(numbers: list[float], dtype: str):
    coded(np.array(sorted(numbers, key=lambda x: (x, np.copysign(1, x))), dtype=dtype))


def test_all_of_float16_in_order():
    patterns = np.concatenate([np.arange(0xFFFF, 0x7FFF, -1), np.arange(0x8000)]).astype(np.uint16)
    coded(patterns[::7].view(np.float16))
    coded(np.array([np.finfo(np.float32).min, -0.0, 0.0, 1e-45, np.finfo(np.float32).max], dtype=np.float32))


@pytest.mark.parametrize("count", [50, 300, 3000])
def test_a_set_costs_less_than_a_list(count: int):
    values = np.sort(np.random.default_rng(count).standard_normal(count) * 0.1).astype(np.float16)
    as_list = encode_floats(values)
    assert as_list is not None
    saved = lgamma(count + 1) / log(2) / 8
    assert len(coded(values)) < len(as_list) - 0.9 * saved


@pytest.mark.parametrize(
    "values",
    [
        np.array([2.0, 1.0], np.float32),
        np.array([0.0, -0.0], np.float16),
        np.array([1, 2], np.int64),
        np.array([1.0], np.float32),
        np.empty(0, np.float32),
    ],
)
def test_what_does_not_ascend_is_left_to_others(values: np.ndarray):
    assert encode_ascending(values) is None


def test_what_is_too_much_for_python_is_left_to_others(monkeypatch: pytest.MonkeyPatch):
    values = np.arange(20, dtype=np.float32)
    stream = coded(values)
    monkeypatch.setattr(ascending, "MOST_VALUES", 10)
    assert encode_ascending(values) is None
    with pytest.raises(ArtifactError, match="not coded as ascending"):
        decode_ascending(stream, "float32", 20)


@pytest.mark.parametrize(("dtype", "count"), [("int64", 5), ("bool", 5), ("float32", 1), ("float32", 0)])
def test_other_tensors_are_refused(dtype: str, count: int):
    with pytest.raises(ArtifactError, match="not coded as ascending"):
        decode_ascending(bytes(8), dtype, count)


def test_a_few_bytes_cannot_ask_for_long_work():
    with pytest.raises(ArtifactError, match="too few"):
        decode_ascending(bytes(20), "float32", 49_000)


def test_random_streams_give_values_or_artifact_errors():
    rng, outcomes = np.random.default_rng(0), set()
    for _ in range(1000):
        dtype, count = str(rng.choice(["float16", "float32"])), int(rng.integers(2, 9))
        try:
            values = decode_ascending(rng.bytes(int(rng.integers(0, 16))), dtype, count)
        except ArtifactError:
            outcomes.add("refused")
            continue
        outcomes.add("decoded")
        assert values.dtype == dtype
        assert values.shape == (count,)
    assert outcomes == {"refused", "decoded"}
