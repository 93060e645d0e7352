"""Memory for generated code: arrays at cache-line boundaries, and workspaces that layers lend one another."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

CACHE_LINE_BYTES = 64
LARGE_BYTES = 1 << 20
PAGE_BYTES = 2 << 20
"""A large page: fewer misses of the address cache where the system grants one."""


def aligned(shape: tuple[int, ...] | int) -> np.ndarray:
    """A float32 array of zeros that starts at a cache line; a large one at a large page, and in such pages."""
    count = int(np.prod(shape))
    if 4 * count >= LARGE_BYTES:
        space = _map(4 * count)
        offset = _large_page(space) - _address(space)
        return np.frombuffer(space, np.float32, count, offset).reshape(shape)
    room = np.zeros(count + CACHE_LINE_BYTES // 4, np.float32)
    start = -room.ctypes.data % CACHE_LINE_BYTES // 4
    return room[start : start + count].reshape(shape)


def _map(size_bytes: int) -> mmap.mmap:
    space = mmap.mmap(-1, (-(-size_bytes // PAGE_BYTES) + 1) * PAGE_BYTES)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        space.madvise(mmap.MADV_HUGEPAGE)
    return space


def _address(space: mmap.mmap) -> int:
    return np.frombuffer(space, np.uint8, 1).__array_interface__["data"][0]


def _large_page(space: mmap.mmap) -> int:
    """The first address in it where a large page can begin."""
    return -(-_address(space) // PAGE_BYTES) * PAGE_BYTES


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
        try:
            yield _large_page(space)
        finally:
            self._free.append(space)


WORKSPACES = Workspaces()
