"""The axes carry every tick's value and their title."""

import pytest

from secateur.reporting.charts.axes import SMALL, WIDE, Axis, bottom_axis, left_axis
from secateur.reporting.charts.svg import Scale
from secateur.reporting.numbers import brief_bytes


def test_left_axis_writes_values_in_its_own_way():
    drawn = "".join(left_axis(Scale(0, 1, 100.0, 0.0), Axis("share & more", lambda value: f"{value:.0%}")))
    assert all(f">{share}<" in drawn for share in ("0%", "20%", "100%"))
    assert "share &amp; more" in drawn


def test_bottom_axis_writes_its_values():
    drawn = "".join(bottom_axis(Scale(0, 10, 0.0, 100.0), [0.0, 2.5], "weight"))
    assert ">0<" in drawn
    assert ">2.5<" in drawn
    assert ">weight<" in drawn


def test_bottom_axis_writes_its_values_in_its_own_way():
    assert ">27 kB<" in "".join(bottom_axis(Scale(0, 1e5, 0.0, 1.0), [27_000.0], "bytes", write=brief_bytes))


@pytest.mark.parametrize("frame", [WIDE, SMALL])
def test_frames_hold_their_plot(frame):
    assert 0 < frame.left < frame.right < frame.width
    assert 0 < frame.top < frame.bottom < frame.height
