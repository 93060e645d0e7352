"""bridge.acceleration: the report as people and programs see it."""

import json
from dataclasses import replace

from secateur.kernels.acceleration import Acceleration, LayerReport, gain_of

FAST = LayerReport("conv1", "1x3x8x8, 4x3x3x3", "F(4x4,3x3)", ("batch norm", "relu"), 200.0, 80.0, 1e-6, 2e-6)
SPARSE = LayerReport("conv2", "1x4x8x8, 4x4x3x3", "sparse", (), 300.0, 50.0, zeros="93%")
LEFT = LayerReport("up", "", reason="kernels compute Conv1d and Conv2d, not ConvTranspose2d")


def test_as_a_table():
    text = str(Acceleration("default", 1.5e-5, 2, (FAST, LEFT), 500.0, 250.0, 3e-7, ("a note",)))
    lines = text.splitlines()
    assert lines[0] == "1 of 2 layers replaced, accuracy 'default' (error of a layer at most 1.5e-05), 2 threads"
    assert lines[1].split()[:2] == ["layer", "shape"]
    for word in ("F(4x4,3x3)", "batch norm, relu", "200", "80", "2.50", "1.0e-06"):
        assert word in lines[3]
    assert lines[4].endswith(LEFT.reason)
    assert "2.00 x" in lines[5]
    assert lines[-1] == "a note"


def test_zeros_are_told():
    lines = str(Acceleration("default", 1.5e-5, 1, (FAST, SPARSE))).splitlines()
    assert lines[1].split()[:4] == ["layer", "shape", "zeros", "algorithm"]
    assert lines[3].split()[3:5] == ["-", "F(4x4,3x3)"]
    assert lines[4].split()[3:5] == ["93%", "sparse"]
    assert "6.00" in lines[4]


def test_without_layers_or_times():
    text = str(Acceleration("fast", 1e-4, 1, ()))
    assert text.startswith("0 of 0 layers")
    assert "whole model" not in text


def test_maps_are_told():
    chained = replace(FAST, maps="bytes in, bytes out")
    lines = str(Acceleration("int8", 5e-2, 1, (chained, LEFT))).splitlines()
    assert lines[1].endswith("maps")
    assert lines[3].endswith(chained.maps)
    assert lines[4].endswith("-")


def test_as_json():
    found = json.loads(Acceleration("default", 1.5e-5, 2, (FAST, LEFT)).to_json())
    assert found["replaced"] == 1
    assert found["layers"][0]["class_error"] == 2e-6
    assert found["layers"][1]["algorithm"] is None


def test_a_gain_needs_both_times():
    assert (gain_of(3.0, 2.0), gain_of(None, 2.0), gain_of(3.0, None), gain_of(0.0, 2.0)) == (1.5, None, None, None)
