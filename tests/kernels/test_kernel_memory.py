"""Memory for kernels: where it starts, who has it, and that a forked child has its own."""

import os

import numpy as np

from secateur.kernels.memory import LARGE_BYTES, PAGE_BYTES, Workspaces, aligned


def test_arrays_start_at_a_cache_line_and_hold_zeros():
    for shape in (1, 7, (3, 5), LARGE_BYTES // 4, (2, LARGE_BYTES // 4 + 3)):
        found = aligned(shape)
        assert found.shape == (shape if isinstance(shape, tuple) else (shape,))
        assert found.dtype == np.float32
        assert found.ctypes.data % (PAGE_BYTES if found.nbytes >= LARGE_BYTES else 64) == 0
        assert not found.any()
        found[...] = 1


def test_a_forked_child_writes_into_its_own_copy():
    large = aligned(LARGE_BYTES // 4)
    child = os.fork()
    if child == 0:
        large[:] = 7
        os._exit(0)
    os.waitpid(child, 0)
    assert not large.any()


def test_workspaces_are_lent_to_one_at_a_time_and_grow():
    spaces = Workspaces()
    first, second = spaces.take(100), spaces.take(100)
    assert first.address != second.address
    assert first.address % PAGE_BYTES == 0
    spaces.give_back(first)
    assert spaces.take(200) is first
    spaces.give_back(first)
    larger = spaces.take(3 * PAGE_BYTES)
    assert larger.size_bytes >= 3 * PAGE_BYTES
    spaces.give_back(larger)
    assert spaces.take(100) is larger
