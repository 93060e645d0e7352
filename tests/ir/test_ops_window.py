"""The number of positions of a window, against counting them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from secateur.ir.ops.window import Window


def positions(size: int, window: Window) -> int:
    """Count starts; ceil_mode keeps one whose window runs over the right edge, unless it is in the right padding."""
    (pad,), (step,), (reach,) = window.padding, window.stride, window.reach
    starts = range(-pad, size + pad, step)
    whole = [start for start in starts if start + reach <= size + pad]
    if not window.ceil_mode:
        return len(whole)
    last = whole[-1] if whole else -pad
    partly = [start for start in starts if start > last and start < size and last + reach < size + pad][:1]
    return len(whole) + len(partly)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_outputs_by_counting(ceil_mode: bool) -> None:
    for size, taps, step, dilation in itertools.product(range(4, 10), range(1, 4), range(1, 5), range(1, 3)):
        for pad in range(taps // 2 + 1):
            window = Window((taps,), (step,), (pad,), (dilation,), ceil_mode)
            if window.reach[0] <= size + 2 * pad:
                assert window.outputs((size,)) == (positions(size, window),)


def test_padded_adds_what_the_last_window_needs() -> None:
    window = Window((2,), (2,), (0,), (1,), ceil_mode=True)
    x = np.ones((1, 1, 5), np.float32)
    np.testing.assert_array_equal(window.padded(x, -1.0), [[[1, 1, 1, 1, 1, -1]]])


def test_nothing_to_pad_is_no_copy() -> None:
    x = np.ones((1, 1, 4), np.float32)
    assert Window((2,), (2,), (0,), (1,)).padded(x, 0.0) is x
