"""Signs coded by their neighbours': every value comes back, smooth filters cost less, and bad streams are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import ArtifactError
from secateur.ir.coding import signs
from secateur.ir.coding.floats import encode_floats
from secateur.ir.coding.signs import Where, decode_signs, encode_signs
from secateur.ir.formats import same_bits


def coded(values: np.ndarray, where: Where) -> bytes:
    stream = encode_signs(values, where)
    assert stream is not None
    assert same_bits(decode_signs(stream, values.dtype.name, values.size, where), values)
    return stream


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float16", "float32"]))
def test_every_tensor_comes_back(seed: int, dtype: str):
    rng = np.random.default_rng(seed)
    shape = [(9, 16), (4, 3, 3, 3), (30,), (20, 1)][seed % 4]
    positions = np.flatnonzero(rng.random(shape) < 0.4)
    if positions.size:
        coded(rng.standard_normal(positions.size).astype(dtype), (positions, shape))


def filters(neurons: int, side: int, smooth: float) -> tuple[np.ndarray, Where]:
    """Non-zeros of filters whose sign follows the one to the left with this probability; 1: the same all through."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], (neurons, 1, 1)) * np.ones((neurons, side, side))
    for x in range(1, side):
        sign[:, :, x] = sign[:, :, x - 1] * np.where(rng.random((neurons, 1)) < smooth, 1, -1)
    positions = np.flatnonzero(rng.random(sign.shape) < 0.6)
    values = (np.abs(rng.standard_normal(positions.size)) * sign.reshape(-1)[positions]).astype(np.float16)
    return values, (positions, (neurons, 1, side, side))


def test_smooth_filters_cost_fewer_bits_than_a_sign_each():
    values, where = filters(100, 5, 0.8)
    plain = encode_floats(values)
    assert plain is not None
    assert len(coded(values, where)) < len(plain) - values.size / 8 * 0.2


def test_rows_of_one_sign():
    values, where = filters(100, 5, 1.0)
    assert len(coded(values, where)) < len(encode_floats(values) or b"") - values.size / 8 * 0.5


def test_blind_to_neighbours_the_gain_is_gone(monkeypatch: pytest.MonkeyPatch):
    """The oracle of the tests above can fail."""
    values, where = filters(100, 5, 0.8)
    monkeypatch.setattr(signs._Contexts, "at", lambda self, position: 0)
    assert len(coded(values, where)) > len(encode_floats(values) or b"") - values.size / 8 * 0.1


def test_what_is_too_much_or_no_float_is_left_to_others(monkeypatch: pytest.MonkeyPatch):
    values, where = filters(4, 5, 0.9)
    stream = coded(values, where)
    assert encode_signs(values.astype(np.int64), where) is None
    monkeypatch.setattr(signs, "MOST_VALUES", 10)
    assert encode_signs(values, where) is None
    with pytest.raises(ArtifactError, match="signs apart"):
        decode_signs(stream, "float16", values.size, where)


def test_a_magnitude_with_a_sign_is_refused():
    values, where = filters(4, 5, 0.9)
    magnitudes = encode_floats(-np.abs(values))
    assert magnitudes is not None
    forged = bytes([5, 25, len(magnitudes)]) + magnitudes + coded(values, where)[-20:]
    with pytest.raises(ArtifactError):
        decode_signs(forged, "float16", values.size, where)


def test_a_few_bytes_cannot_ask_for_long_work():
    with pytest.raises(ArtifactError, match="too few"):
        decode_signs(bytes(60), "float32", 40_000, (np.arange(40_000), (200, 200)))


def test_random_changes_give_values_or_artifact_errors():
    values, where = filters(3, 4, 0.8)
    stream, rng, outcomes = coded(values, where), np.random.default_rng(0), set()
    for _ in range(1500):
        changed = bytearray(stream)
        changed[rng.integers(len(changed))] ^= int(rng.integers(1, 256))
        try:
            found = decode_signs(
                bytes(changed[: int(rng.integers(1, len(changed) + 2))]), "float16", values.size, where
            )
        except ArtifactError:
            outcomes.add("refused")
            continue
        outcomes.add("decoded")
        assert found.shape == values.shape
        assert found.dtype == values.dtype
    assert outcomes == {"refused", "decoded"}
