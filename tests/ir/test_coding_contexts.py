"""Row and column contexts: what they cost against what is known of a mask, and what their decoder refuses."""

from __future__ import annotations

import numpy as np
import pytest
from sample_artifacts import entropy_bytes, pruned

from secateur.errors import ArtifactError
from secateur.ir.coding import contexts
from secateur.ir.coding.contexts import decode_contexts, encode_contexts
from secateur.ir.coding.positions import POSITION_CODES

CODES = {code.name: code for code in POSITION_CODES}


def coded(mask: np.ndarray) -> bytes:
    stream = encode_contexts(np.flatnonzero(mask), mask.shape)
    assert stream is not None
    assert np.array_equal(decode_contexts(stream, mask.shape, int(mask.sum())), np.flatnonzero(mask))
    return stream


@pytest.mark.parametrize(
    ("rows", "columns", "nonzeros"), [(500, 800, 1200), (500, 800, 4000), (300, 784, 3000), (50, 500, 700)]
)
def test_uneven_masks_cost_far_less_than_their_density(rows: int, columns: int, nonzeros: int):
    mask = pruned(rows, columns, nonzeros)
    size = len(coded(mask))
    assert size < 0.85 * entropy_bytes(mask)
    for other in ("gaps", "mask"):
        stream = CODES[other].encode(np.flatnonzero(mask), mask.shape)
        assert stream is not None
        assert size < len(stream)


@pytest.mark.parametrize("nonzeros", [50, 500, 5000, 10000, 15000])
def test_even_masks_cost_what_their_density_asks(nonzeros: int):
    mask = pruned(100, 200, nonzeros, even=True)
    assert len(coded(mask)) <= 1.01 * entropy_bytes(mask) + 4


def test_large_even_masks_are_left_to_zstd():
    even = pruned(400, 400, 66_000, even=True)
    assert encode_contexts(np.flatnonzero(even), even.shape) is None
    assert len(CODES["mask"].encode(np.flatnonzero(even), even.shape) or b"") < 1.01 * entropy_bytes(even)
    uneven = pruned(400, 400, 66_000)
    assert encode_contexts(np.flatnonzero(uneven), uneven.shape) is not None


def test_empty_rows_and_columns_cost_a_map():
    mask = np.zeros((400, 400), dtype=np.bool_)
    mask[::4, ::4] = pruned(100, 100, 1000, even=True)
    inside = entropy_bytes(mask[::4, ::4])
    assert len(coded(mask)) < inside + 2 * 400 * 0.82 / 8 + 10


def test_neighbours_predict_classes():
    """A border of empty pixels is one run, not many surprises."""
    mask = np.zeros((60, 400), dtype=np.bool_)
    mask[:, 150:250] = pruned(60, 100, 600, even=True)
    scattered = mask[:, np.random.default_rng(0).permutation(400)]
    assert len(coded(mask)) + 20 < len(coded(scattered))


def test_without_class_edges_the_gain_is_gone(monkeypatch: pytest.MonkeyPatch):
    """The oracle of the tests above can fail: with one class the price is that of the density."""
    mask = pruned(500, 800, 1200)
    monkeypatch.setattr(contexts, "_class_edges", lambda counts: counts[:0])
    assert len(coded(mask)) > 0.97 * entropy_bytes(mask)


def test_a_tensor_is_outputs_by_all_else():
    mask = pruned(20, 150, 300)
    positions = np.flatnonzero(mask)
    streams = {encode_contexts(positions, shape) for shape in [(20, 150), (20, 6, 25), (20, 6, 5, 5)]}
    assert len(streams) == 1
    assert encode_contexts(positions, (3000,)) not in streams


def test_what_is_too_much_for_python_is_left_to_others(monkeypatch: pytest.MonkeyPatch):
    mask = pruned(10, 10, 20)
    stream = coded(mask)
    monkeypatch.setattr(contexts, "MOST_NONZEROS", 10)
    assert encode_contexts(np.flatnonzero(mask), mask.shape) is None
    with pytest.raises(ArtifactError, match="not coded with contexts"):
        decode_contexts(stream, mask.shape, 20)
    assert encode_contexts(np.array([0]), (2_000_000, 1)) is None
    assert encode_contexts(np.arange(0), (10, 10)) is None


def test_a_few_bytes_cannot_ask_for_long_work():
    with pytest.raises(ArtifactError, match="not coded with contexts"):
        decode_contexts(bytes(20), (900_000, 1), 900)
    with pytest.raises(ArtifactError, match="not coded with contexts"):
        decode_contexts(bytes(20), (3000, 3000), 100_000)


def test_random_streams_give_positions_or_artifact_errors():
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(2000):
        shape = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
        nonzeros = int(rng.integers(1, shape[0] * shape[1] + 1))
        try:
            positions = decode_contexts(rng.bytes(int(rng.integers(0, 12))), shape, nonzeros)
        except ArtifactError:
            outcomes.add("refused")
            continue
        outcomes.add("decoded")
        assert positions.size == nonzeros
        assert (np.diff(positions) > 0).all()
        assert 0 <= positions[0] <= positions[-1] < shape[0] * shape[1]
    assert outcomes == {"refused", "decoded"}


def test_many_rows_are_kept_in_little_memory(monkeypatch: pytest.MonkeyPatch):
    """Both ways of keeping where rows begin decode to the same; more rows than an encoder takes are refused."""
    mask = pruned(300, 40, 200)
    positions = np.flatnonzero(mask)
    stream = encode_contexts(positions, mask.shape)
    assert stream is not None
    monkeypatch.setattr(contexts, "LONG_LINES", 10)
    np.testing.assert_array_equal(decode_contexts(stream, mask.shape, positions.size), positions)
    with pytest.raises(ArtifactError, match="not coded with contexts"):
        decode_contexts(stream + bytes(50_000), (contexts.MOST_LINES, 1), 200)
