"""zstd frames hold exactly what was announced, or raise."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard

from fuzz_file import zeros_frame
from secateur.errors import ArtifactError
from secateur.ir.coding.squeeze import SMALL_BYTES, squeeze, unsqueeze


@pytest.mark.parametrize("size", [0, 1, 2, 100, SMALL_BYTES, SMALL_BYTES + 1, 300_000])
def test_bytes_come_back(size: int):
    data = np.random.default_rng(size).bytes(size // 2) + bytes(size - size // 2)
    assert unsqueeze(squeeze(data), size) == data


@pytest.mark.parametrize("size", [0, 79, 81, 2**20])
def test_other_sizes_than_announced_are_refused(size: int):
    with pytest.raises(ArtifactError):
        unsqueeze(squeeze(b"abcabcabcdefdefg" * 5), size)


def test_a_frame_that_announces_more_is_refused_before_it_is_decoded():
    parameters = zstandard.ZstdCompressionParameters(format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=1)
    bomb = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(10_000_000))
    with pytest.raises(ArtifactError, match="announces 10000000 bytes where 100 belong"):
        unsqueeze(bomb, 100)


def test_large_noise_costs_about_its_entropy():
    shares = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    data = np.random.default_rng(0).choice(6, 200_000, p=shares).astype(np.uint8).tobytes()
    entropy = -len(data) * (shares * np.log2(shares)).sum() / 8
    assert len(squeeze(data)) < 1.1 * entropy


def test_damage_is_an_artifact_error():
    rng, frame = np.random.default_rng(0), squeeze(b"abcabcabcdefdefg" * 5)
    refused = 0
    for _ in range(2000):
        hurt = bytearray(frame)
        hurt[rng.integers(len(hurt))] = rng.integers(256)
        try:
            assert len(unsqueeze(bytes(hurt), 80)) == 80
        except ArtifactError:
            refused += 1
    assert refused > 500
    for bad in (b"", frame + b"x", frame[:-1]):
        with pytest.raises(ArtifactError):
            unsqueeze(bad, 80)


def test_windows_are_no_larger_than_anything_written_needs():
    assert unsqueeze(zeros_frame(100), 100) == bytes(100)
    with pytest.raises(ArtifactError, match="asks for 1073741824 of memory"):
        unsqueeze(zeros_frame(100, window_log=30), 100)
