"""The axes carry every tick's value and their title."""

from secateur.reporting.charts.axes import Axis, bottom_axis, left_axis
from secateur.reporting.charts.svg import Scale


def test_left_axis_writes_values_in_its_own_way():
    drawn = "".join(left_axis(Scale(0, 1, 100.0, 0.0), Axis("share & more", lambda value: f"{value:.0%}")))
    assert all(f">{share}<" in drawn for share in ("0%", "20%", "100%"))
    assert "share &amp; more" in drawn


def test_bottom_axis_writes_its_values():
    drawn = "".join(bottom_axis(Scale(0, 10, 0.0, 100.0), 50.0, [0.0, 2.5], "weight"))
    assert ">0<" in drawn
    assert ">2.5<" in drawn
    assert ">weight<" in drawn
