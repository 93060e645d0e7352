"""Memory for generated code: arrays at cache-line boundaries, and workspaces that layers lend one another."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from math import prod

import numpy as np

CACHE_LINE_BYTES = 64
LARGE_BYTES = 1 << 20
PAGE_BYTES = 2 << 20
"""A large page: fewer misses of the address cache where the system grants one."""

ORDER_NUMBERS, WORKSPACE_NUMBER = 11, 4
"""Of an order (pool_code.ORDER), and which of them is the workspace."""


def aligned(shape: tuple[int, ...] | int) -> np.ndarray:
    """A float32 array of zeros that starts at a cache line; a large one at a large page, and in such pages."""
    count = prod(shape) if isinstance(shape, tuple) else shape
    if 4 * count >= LARGE_BYTES:
        space = _map(4 * count)
        offset = _large_page(space) - _address(space)
        return np.frombuffer(space, np.float32, count, offset).reshape(shape)
    room = np.zeros(count + CACHE_LINE_BYTES // 4, np.float32)
    start = -_address(room) % CACHE_LINE_BYTES // 4
    return room[start : start + count].reshape(shape)


def _map(size_bytes: int) -> mmap.mmap:
    """Memory with room for size_bytes from its first large page on; of this process alone, also after a fork."""
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    space = mmap.mmap(-1, (-(-size_bytes // PAGE_BYTES) + 1) * PAGE_BYTES, **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        space.madvise(mmap.MADV_HUGEPAGE)
    return space


def _address(space: mmap.mmap | np.ndarray) -> int:
    return np.frombuffer(space, np.uint8, 1).__array_interface__["data"][0]


def _large_page(space: mmap.mmap) -> int:
    """The first address in it where a large page can begin."""
    return -(-_address(space) // PAGE_BYTES) * PAGE_BYTES


@dataclass(frozen=True)
class Workspace:
    """Scratch memory: size_bytes from `address` on, at a large page; and room for an order, which knows the address."""

    address: int
    size_bytes: int
    memory: mmap.mmap
    order: ctypes.Array[ctypes.c_int64]
    order_address: int


class Workspaces:
    """Scratch memory that all layers share, so that it stays in the cache from layer to layer.

    `take` hands out the one given back last, or a new one where it is too small; threads that work at the same time
    have one each. Whoever takes one gives it back.
    """

    def __init__(self) -> None:
        self._free: list[Workspace] = []
        self.give_back = self._free.append
        """For the next."""

    def take(self, size_bytes: int) -> Workspace:
        """At least size_bytes for the caller alone."""
        try:
            found = self._free.pop()
        except IndexError:
            return self._new(size_bytes)
        return found if found.size_bytes >= size_bytes else self._new(size_bytes)

    def _new(self, size_bytes: int) -> Workspace:
        memory, order = _map(size_bytes), (ctypes.c_int64 * ORDER_NUMBERS)()
        order[WORKSPACE_NUMBER] = _large_page(memory)
        return Workspace(order[WORKSPACE_NUMBER], max(size_bytes, PAGE_BYTES), memory, order, ctypes.addressof(order))


WORKSPACES = Workspaces()
