"""Memory for generated code: arrays at cache-line boundaries, and workspaces that layers lend one another."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

CACHE_LINE_BYTES = 64
PAGE_BYTES = 2 << 20
"""A large page: fewer misses of the address cache where the system grants one."""


def aligned(shape: tuple[int, ...] | int) -> np.ndarray:
    """A float32 array of zeros that starts at a cache line."""
    count = int(np.prod(shape))
    room = np.zeros(count + CACHE_LINE_BYTES // 4, np.float32)
    start = -room.ctypes.data % CACHE_LINE_BYTES // 4
    return room[start : start + count].reshape(shape)


class Workspaces:
    """Scratch memory that all layers share, so that it stays in the cache from layer to layer.

    `lend` hands out the one used last and grown to the size asked for; threads that ask at the same time get their own.
    """

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    @contextmanager
    def lend(self, size_bytes: int) -> Iterator[int]:
        """The address of at least size_bytes at a multiple of a large page."""
        try:
            space = self._free.pop()
        except IndexError:
            space = _map(size_bytes)
        if len(space) < size_bytes + PAGE_BYTES:
            space = _map(size_bytes)
        address = np.frombuffer(space, np.uint8, 1).__array_interface__["data"][0]
        try:
            yield -(-address // PAGE_BYTES) * PAGE_BYTES
        finally:
            self._free.append(space)


def _map(size_bytes: int) -> mmap.mmap:
    space = mmap.mmap(-1, (-(-size_bytes // PAGE_BYTES) + 1) * PAGE_BYTES)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        space.madvise(mmap.MADV_HUGEPAGE)
    return space


WORKSPACES = Workspaces()
