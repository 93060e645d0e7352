"""The kinds of mutation, in one closed table: what a careless disk does to a file, and what somebody who knows the
format and seals it again does on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from fuzz_bodies import BODY_KINDS
from fuzz_file import Honest
from fuzz_headers import HEADER_KINDS

MOST_FLIPS = 8

Mutate = Callable[[Random, Honest, Honest], bytes]


@dataclass(frozen=True)
class Kind:
    """mutate(rng, honest file, another honest file) -> hostile file; sealed: its checksums are right again."""

    mutate: Mutate
    sealed: bool


def truncated(rng: Random, honest: Honest, _other: Honest) -> bytes:
    return honest.data[: rng.randrange(len(honest.data))]


def extended(rng: Random, honest: Honest, _other: Honest) -> bytes:
    return honest.data + rng.randbytes(rng.randint(1, 64))


def bits_flipped(rng: Random, honest: Honest, _other: Honest) -> bytes:
    return flip(rng, honest.data)


def bytes_overwritten(rng: Random, honest: Honest, _other: Honest) -> bytes:
    data, first = honest.data, rng.randrange(len(honest.data))
    return data[:first] + rng.randbytes(min(rng.randint(1, 32), len(data) - first)) + data[first + 32 :]


def piece_removed(rng: Random, honest: Honest, _other: Honest) -> bytes:
    first, last = sorted(rng.sample(range(len(honest.data) + 1), 2))
    return honest.data[:first] + honest.data[last:]


def piece_repeated(rng: Random, honest: Honest, _other: Honest) -> bytes:
    first, last = sorted(rng.sample(range(len(honest.data) + 1), 2))
    return honest.data[:last] + honest.data[first:]


def spliced(rng: Random, honest: Honest, other: Honest) -> bytes:
    return honest.data[: rng.randrange(len(honest.data))] + other.data[rng.randrange(len(other.data)) :]


def noise(rng: Random, honest: Honest, _other: Honest) -> bytes:
    return honest.data[: rng.randint(0, 12)] + rng.randbytes(rng.randint(0, 300))


def flip(rng: Random, data: bytes) -> bytes:
    """`data` with a few bits inverted."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, MOST_FLIPS)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


_UNSEALED = (
    truncated,
    extended,
    bits_flipped,
    bytes_overwritten,
    piece_removed,
    piece_repeated,
    spliced,
    noise,
)

KINDS: Mapping[str, Kind] = {
    **{mutate.__name__: Kind(mutate, sealed=False) for mutate in _UNSEALED},
    **{mutate.__name__: Kind(mutate, sealed=True) for mutate in (*HEADER_KINDS, *BODY_KINDS)},
}


def mutate(rng: Random, kind: str, files: list[Honest]) -> tuple[Honest, bytes]:
    """A file of this kind that differs from the honest one it was made of."""
    for _ in range(100):
        honest, other = rng.choice(files), rng.choice(files)
        data = KINDS[kind].mutate(rng, honest, other)
        if data != honest.data:
            return honest, data
    raise RuntimeError(f"{kind} changes nothing")
