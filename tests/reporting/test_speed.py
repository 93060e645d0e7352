"""reporting.speed: what accelerate wrote is read, strictly, and gains are times over times."""

import dataclasses
import json

import pytest
from sample_report import sample_report, sample_speed

from secateur.bridge.acceleration import Acceleration, LayerReport
from secateur.errors import DataError
from secateur.reporting.report import Report
from secateur.reporting.speed import KernelRow, Speed, gain_of


def test_what_accelerate_writes_is_read():
    """Field for field, though neither package knows the other."""
    row = LayerReport("conv", "1x4x6x6, 8x4x3x3", "sparse", ("relu",), 10.0, 4.0, 1e-7, 2e-7, "today", "", "92%")
    left = LayerReport("fc", "", reason="it has hooks")
    made = Acceleration("strict", 3e-6, 2, (row, left), 20.0, 8.0, 1e-7, ("a note",))
    found = Speed.from_json(made.to_json())
    assert dataclasses.asdict(found) == dataclasses.asdict(made)
    assert (found.replaced, found.gain, found.layers[0].gain, found.layers[1].gain) == (1, 2.5, 2.5, None)
    for ours, theirs in ((KernelRow, LayerReport), (Speed, Acceleration)):
        assert [field.name for field in dataclasses.fields(ours)] == [
            field.name for field in dataclasses.fields(theirs)
        ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"threads": -1}, "threads is -1"),
        ({"layers": [{"shape": ""}]}, "lacks 'name'"),
        ({"layers": 3}, "layers is 3"),
        ({"quick": True}, "unknown entry 'quick'"),
    ],
)
def test_what_is_no_account_is_refused(change, told):
    with pytest.raises(DataError, match=told):
        Speed.of({**sample_speed(), **change})
    with pytest.raises(DataError):
        Speed.from_json("not json")


def test_a_gain_needs_both_times():
    assert (gain_of(3.0, 2.0), gain_of(None, 2.0), gain_of(3.0, None), gain_of(0.0, 2.0)) == (1.5, None, None, None)


def test_a_report_keeps_it():
    made = sample_report()
    assert Report.from_json(made.to_json()).speed == made.speed
    old = json.loads(made.to_json())
    del old["speed"]
    assert Report.from_json(json.dumps(old)).speed is None
