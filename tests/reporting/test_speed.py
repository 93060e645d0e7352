"""reporting.speed: what accelerate wrote is read, strictly."""

import dataclasses
import json

import pytest
from sample_report import sample_report, sample_speed

from secateur.errors import DataError
from secateur.kernels.acceleration import Acceleration, LayerReport
from secateur.reporting.report import Report
from secateur.reporting.speed import speed_from_json, speed_of


def test_what_accelerate_writes_is_read():
    """Field for field."""
    row = LayerReport("conv", "1x4x6x6, 8x4x3x3", "sparse", ("relu",), 10.0, 4.0, 1e-7, 2e-7, "today", "", "92%")
    left = LayerReport("fc", "", reason="it has hooks")
    made = Acceleration("strict", 3e-6, 2, (row, left), 20.0, 8.0, 1e-7, ("a note",))
    found = speed_from_json(made.to_json())
    assert dataclasses.asdict(found) == dataclasses.asdict(made)
    assert (found.replaced, found.gain, found.layers[0].gain, found.layers[1].gain) == (1, 2.5, 2.5, None)


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
        speed_of({**sample_speed(), **change})
    with pytest.raises(DataError):
        speed_from_json("not json")


def test_a_report_keeps_it():
    made = sample_report()
    assert Report.from_json(made.to_json()).speed == made.speed
    old = json.loads(made.to_json())
    del old["speed"]
    assert Report.from_json(json.dumps(old)).speed is None
