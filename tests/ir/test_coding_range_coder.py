"""The range coder gives back every decision, spends what entropy asks, and never reads past its bytes."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import ArtifactError
from secateur.ir.coding.range_coder import INTERVAL_LIMIT, TOTAL_LIMIT, Decoder, Encoder, Models, affordable

MOST = 40
step = st.one_of(
    st.tuples(st.just("misses"), st.integers(0, 2), st.integers(0, MOST)),
    st.tuples(st.just("symbols"), st.integers(0, 5), st.integers(0, 31)),
    st.tuples(st.just("interval"), st.integers(1, INTERVAL_LIMIT), st.integers(0, INTERVAL_LIMIT)),
)


def encode(steps: list[tuple[str, int, int]]) -> bytes:
    encoder, models, tree = Encoder(), Models(3), Models(32)
    for kind, a, b in steps:
        if kind == "misses":
            encoder.misses(models, a, b)
        elif kind == "symbols":
            encoder.symbols(tree, a, [b % (1 << a)])
        else:
            encoder.interval(b % a, 1, a)
    return encoder.finish()


def decode(stream: bytes, steps: list[tuple[str, int, int]]) -> list[int]:
    """The numbers in `stream`, if it holds steps of these kinds."""
    decoder, models, tree, found = Decoder(stream), Models(3), Models(32), []
    for kind, a, _ in steps:
        if kind == "misses":
            found.append(decoder.misses(models, a, MOST))
        elif kind == "symbols":
            found += decoder.symbols(tree, a, 1)
        else:
            found.append(decoder.uniform(a))
    decoder.finish()
    return found


def numbers(steps: list[tuple[str, int, int]]) -> list[int]:
    return [b if kind == "misses" else b % (1 << a) if kind == "symbols" else b % a for kind, a, b in steps]


@settings(deadline=None)
@given(st.lists(step, max_size=60))
def test_everything_comes_back(steps: list[tuple[str, int, int]]):
    assert decode(encode(steps), steps) == numbers(steps)


def test_carries_run_through_full_bytes():
    """Top intervals keep low just under a power of two; the last step decides whether a carry runs back."""
    for last in (0, INTERVAL_LIMIT - 1):
        steps = [("interval", INTERVAL_LIMIT, INTERVAL_LIMIT - 1)] * 30 + [("interval", INTERVAL_LIMIT, last)]
        assert decode(encode(steps), steps) == numbers(steps)


def test_random_intervals_with_carries():
    rng = np.random.default_rng(0)
    for _ in range(200):
        totals = rng.integers(1, INTERVAL_LIMIT, 50)
        steps = [("interval", int(total), int(total - 1 - rng.integers(0, 2) % total)) for total in totals]
        assert decode(encode(steps), steps) == numbers(steps)


@pytest.mark.parametrize("chance", [0.5, 0.1, 0.01])
def test_the_price_is_the_entropy(chance: float):
    """Within the cost of learning, log2(n) / 2 bits, and two bytes of ending."""
    bits = (np.random.default_rng(0).random(5000) < chance).astype(int).tolist()
    encoder, models = Encoder(), Models(1)
    for bit in bits:
        encoder.bit(models, 0, bit)
    share = sum(bits) / len(bits)
    entropy = -len(bits) * (share * log2(share) + (1 - share) * log2(1 - share))
    assert entropy / 8 - 1 <= len(encoder.finish()) <= (entropy + log2(len(bits)) / 2) / 8 * 1.001 + 3


def test_counts_stay_below_their_limit():
    models = Models(1)
    for _ in range(2 * TOTAL_LIMIT):
        models.learn(0, 1)
    assert 0 < models.zeros[0] < models.ones[0]
    assert models.zeros[0] + models.ones[0] <= TOTAL_LIMIT


def test_nothing_takes_no_bytes():
    assert encode([]) == b""
    assert decode(b"", []) == []


def test_streams_that_end_early_or_late_are_refused():
    steps = [("interval", INTERVAL_LIMIT, 12345)] * 50
    stream = encode(steps)
    with pytest.raises(ArtifactError, match="ends too early"):
        decode(stream[:60], steps)
    with pytest.raises(ArtifactError, match="nothing reads"):
        decode(stream + bytes(5), steps)


def test_more_misses_than_possible_are_refused():
    encoder, models = Encoder(), Models(1)
    encoder.misses(models, 0, 5)
    with pytest.raises(ArtifactError, match="leaves its tensor"):
        Decoder(encoder.finish()).misses(Models(1), 0, 4)


def test_work_is_bounded_by_bytes():
    assert affordable(2000, 0)
    assert not affordable(10_000, 10)
    assert affordable(10_000, 1000)
