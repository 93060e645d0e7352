"""Gaps as bytes: escapes, announced sizes, and what an adaptive histogram of gaps is for."""

from __future__ import annotations

import numpy as np
import pytest
from sample_artifacts import entropy_bytes, pruned

from secateur.errors import ArtifactError
from secateur.ir.coding import gaps
from secateur.ir.coding.contexts import encode_contexts
from secateur.ir.coding.gaps import decode_adaptive_gaps, decode_gaps, encode_adaptive_gaps, encode_gaps
from secateur.ir.coding.varint import varint

BOTH = [(encode_gaps, decode_gaps), (encode_adaptive_gaps, decode_adaptive_gaps)]


@pytest.mark.parametrize("gap", [0, 1, 254, 255, 256, 509, 510, 511, 70_000])
@pytest.mark.parametrize(("encode", "decode"), BOTH)
def test_long_gaps_are_escaped(encode, decode, gap: int):
    positions = np.array([gap, 2 * gap + 1, 2 * gap + 2])
    stream = encode(positions, (200_000,))
    assert np.array_equal(decode(stream, (200_000,), 3), positions)


def clusters(neurons: int, side: int) -> np.ndarray:
    """Each neuron keeps a blob of pixels somewhere in its image."""
    rng = np.random.default_rng(0)
    place = np.indices((side, side)).reshape(2, -1).T
    centres = rng.uniform(0, side, (neurons, 2))
    near = np.exp(-((place[None] - centres[:, None]) ** 2).sum(2) / 4)
    return rng.random((neurons, side * side)) < 0.7 * near


def test_clusters_of_pixels_are_seen_by_a_histogram_of_gaps():
    mask = clusters(200, 28)
    positions = np.flatnonzero(mask)
    adaptive, contexts = encode_adaptive_gaps(positions, mask.shape), encode_contexts(positions, mask.shape)
    assert adaptive
    assert contexts
    assert len(adaptive) < 0.9 * len(contexts)
    assert len(adaptive) < 0.97 * len(encode_gaps(positions, mask.shape))


def test_even_masks_cost_about_their_entropy():
    mask = pruned(100, 200, 1000, even=True)
    stream = encode_adaptive_gaps(np.flatnonzero(mask), mask.shape)
    assert stream
    assert len(stream) < 1.1 * entropy_bytes(mask)


def test_large_even_masks_are_left_to_zstd():
    even = pruned(400, 400, 66_000, even=True)
    assert encode_adaptive_gaps(np.flatnonzero(even), even.shape) is None
    pairs = np.repeat(pruned(400, 200, 33_000, even=True), 2, axis=1)
    assert encode_adaptive_gaps(np.flatnonzero(pairs), pairs.shape) is not None


@pytest.mark.parametrize(("encode", "decode"), BOTH)
def test_other_numbers_than_announced_are_refused(encode, decode):
    stream = encode(np.array([3, 400, 999]), (1000,))
    for shape, nonzeros in [((999,), 3), ((1000,), 2), ((1000,), 4), ((10,), 3)]:
        with pytest.raises(ArtifactError):
            decode(stream, shape, nonzeros)
    with pytest.raises(ArtifactError, match="longer than their tensor"):
        decode(varint(2**40) + stream[1:], (1000,), 3)


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ArtifactError, match="not coded with an adaptive model"):
        decode_adaptive_gaps(varint(0) + bytes(10), (100_000,), 5000)
    assert encode_adaptive_gaps(np.arange(50_000), (50_000,)) is None
    positions = np.flatnonzero(pruned(40, 40, 200))
    stream = encode_adaptive_gaps(positions, (1600,))
    assert stream
    monkeypatch.setattr(gaps, "MOST_GAPS", 100)
    assert encode_adaptive_gaps(positions, (1600,)) is None
    with pytest.raises(ArtifactError, match="not coded with an adaptive model"):
        decode_adaptive_gaps(stream, (1600,), 200)
