"""Numbers on axes are short and carry their unit."""

import math

import pytest

from secateur.reporting.numbers import brief, brief_bytes, percent, short


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (short, 0.012345, "0.0123"),
        (percent, 0.0299, "2.99 %"),
        (brief, 2_293_000, "2.29 M"),
        (brief, 999, "999"),
        (brief, -5e9, "-5 G"),
        (brief, 3e13, "30 T"),
        (brief, math.inf, "inf"),
        (brief_bytes, 27_009, "27 kB"),
        (brief_bytes, 12, "12 B"),
        (brief_bytes, math.nan, "nan B"),
    ],
)
def test_text(write, value, text):
    assert write(value) == text
