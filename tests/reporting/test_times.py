"""reporting.times: a layer whose multiply-accumulates fall and whose time does not is named; the table has all."""

import dataclasses
import math

import pytest
from sample_report import sample_layers, sample_report

from secateur.reporting.page import render
from secateur.reporting.report import Report
from secateur.reporting.times import LayerTime, disagreements, times_table

ROW = next(row for row in sample_layers() if row.macs_before)
FEW = dataclasses.replace(ROW, macs_before=1000, macs_after=100)


def timed(before, after, by="PyTorch"):
    return LayerTime(ROW.name, "PyTorch", by, before, after, "no kernel was faster" if by == "PyTorch" else "")


@pytest.mark.parametrize(
    ("row", "time", "named"),
    [
        (FEW, timed(50, 49), True),
        (FEW, timed(50, 60), True),
        (FEW, timed(50, 20, "sparse"), False),
        (dataclasses.replace(FEW, macs_after=900), timed(50, 50), False),
        (dataclasses.replace(FEW, macs_after=0), timed(50, 50), False),
        (FEW, timed(math.nan, 50), False),
    ],
)
def test_a_layer_with_fewer_macs_and_no_less_time_is_named(row, time, named):
    found = disagreements([row], [time])
    assert len(found) == named
    if named:
        assert "10.0 times fewer multiply-accumulates" in found[0]
        assert f"{time.us_after:.0f} us instead of 50 us" in found[0]
        assert found[0].endswith("by PyTorch: no kernel was faster")


def test_the_table_and_the_page_have_every_measured_layer():
    times = (timed(50, 20, "sparse"), LayerTime("gone.weight", "PyTorch", "PyTorch", 1.0, 1.0))
    text = times_table([FEW], times)
    assert "2.50" in text
    assert "gone" not in text
    assert times_table([FEW], ()) == ""
    report = dataclasses.replace(sample_report(), times=times)
    assert 'id="times"' in render(report)
    assert Report.from_json(report.to_json()).times == times
    assert 'id="times"' not in render(sample_report())
