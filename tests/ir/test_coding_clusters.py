"""Clustered positions: what they cost against what is known of a mask, and what their decoder refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_artifacts import entropy_bytes, pruned

from secateur.errors import ArtifactError
from secateur.ir.coding import clusters
from secateur.ir.coding.clusters import decode_clusters, encode_clusters
from secateur.ir.coding.images import Image
from secateur.ir.coding.positions import POSITION_CODES

CODES = {code.name: code for code in POSITION_CODES}


def coded(mask: np.ndarray) -> bytes:
    stream = encode_clusters(np.flatnonzero(mask), mask.shape)
    assert stream is not None
    assert np.array_equal(decode_clusters(stream, mask.shape, int(mask.sum())), np.flatnonzero(mask))
    return stream


def others(mask: np.ndarray) -> int:
    streams = [code.encode(np.flatnonzero(mask), mask.shape) for name, code in CODES.items() if name != "clusters"]
    return min(len(stream) for stream in streams if stream is not None)


def smeared(rows: int, side: int, seeds: float, spread: float) -> np.ndarray:
    """Each row an image of side x side in which non-zeros grow to the right and downwards."""
    rng = np.random.default_rng(0)
    mask = rng.random((rows, side, side)) < seeds
    for y in range(side):
        for x in range(side):
            near = (mask[:, y - 1, x] if y else False) | (mask[:, y, x - 1] if x else False)
            mask[:, y, x] |= near & (rng.random(rows) < spread)
    return mask.reshape(rows, side * side)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.1, 0.5]))
def test_every_mask_comes_back(seed: int, density: float):
    rng = np.random.default_rng(seed)
    shape = [(7, 16), (30, 36), (1, 9), (40, 1), (9,), (5, 3, 3, 3), (4, 6, 5)][seed % 7]
    mask = rng.random(shape) < density
    if mask.any():
        coded(mask)


@pytest.mark.parametrize("side", [4, 12, 28])
def test_images_are_found_and_pay(side: int):
    mask = smeared(20_000 // side**2, side, 0.02, 0.3)
    stream = coded(mask)
    assert tuple(stream[2:3]) == (side,)
    assert len(stream) < 0.95 * others(mask)


def test_kernels_of_a_convolution_are_images():
    mask = smeared(400, 5, 0.02, 0.4).reshape(20, 20, 5, 5)
    assert len(coded(mask)) < 0.97 * others(mask)


def test_columns_that_were_used_are_used_again():
    mask = np.random.default_rng(0).random((300, 600)) < np.repeat([0.03, 0.001], 300)
    mask = mask[:, np.random.default_rng(1).permutation(600)]
    assert len(coded(mask)) < 0.97 * entropy_bytes(mask)


def test_even_masks_cost_little_more_than_their_density_asks():
    mask = pruned(300, 200, 900, even=True)
    assert len(coded(mask)) <= 1.02 * entropy_bytes(mask) + 20


def test_blind_to_neighbours_the_gain_is_gone(monkeypatch: pytest.MonkeyPatch):
    """The oracle of the tests above can fail."""
    mask = smeared(150, 12, 0.01, 0.3)
    monkeypatch.setattr(clusters, "best_image", lambda positions, shape: Image())
    assert len(coded(mask)) > 0.95 * others(mask)


def test_what_is_too_much_for_python_is_left_to_others(monkeypatch: pytest.MonkeyPatch):
    mask = pruned(10, 10, 20)
    stream = coded(mask)
    monkeypatch.setattr(clusters, "MOST_NONZEROS", 10)
    assert encode_clusters(np.flatnonzero(mask), mask.shape) is None
    with pytest.raises(ArtifactError, match="not coded as clusters"):
        decode_clusters(stream, mask.shape, 20)
    assert encode_clusters(np.array([0]), (1, 60_000)) is None
    assert encode_clusters(np.arange(0), (10, 10)) is None


def test_a_few_bytes_cannot_ask_for_long_work():
    with pytest.raises(ArtifactError, match="too few"):
        decode_clusters(bytes(20), (1000, 4000), 9)
    with pytest.raises(ArtifactError, match="too few"):
        decode_clusters(bytes(20), (300, 300), 15_000)


@pytest.mark.parametrize(
    "head", [bytes([9, 1, 0]), bytes([0, 60, 0]), bytes([0, 1, 1, 5]), bytes([0, 1, 6, 5]), bytes([0, 1, 4, 200, 1])]
)
def test_rules_that_do_not_fit_are_refused(head: bytes):
    with pytest.raises(ArtifactError, match="do not fit it"):
        decode_clusters(head + bytes(40), (10, 20), 5)


def test_a_stream_cannot_grow_beyond_its_non_zeros():
    mask = smeared(40, 12, 0.05, 0.5)
    stream = coded(mask)
    for nonzeros in (int(mask.sum()) - 1, int(mask.sum()) + 1, 1):
        with pytest.raises(ArtifactError, match="damaged artifact"):
            decode_clusters(stream, mask.shape, nonzeros)


def test_random_streams_give_positions_or_artifact_errors():
    rng, outcomes = np.random.default_rng(0), set()
    for _ in range(3000):
        shape = (int(rng.integers(1, 9)), int(rng.integers(1, 17)))
        nonzeros = int(rng.integers(1, shape[0] * shape[1] + 1))
        head = bytes([int(rng.integers(6)), int(rng.integers(4)), *([3, 9] if rng.random() < 0.5 else [0])])
        try:
            positions = decode_clusters(head + rng.bytes(int(rng.integers(0, 12))), shape, nonzeros)
        except ArtifactError:
            outcomes.add("refused")
            continue
        outcomes.add("decoded")
        assert positions.size == nonzeros
        assert (np.diff(positions) > 0).all()
        assert 0 <= positions[0] <= positions[-1] < shape[0] * shape[1]
    assert outcomes == {"refused", "decoded"}
