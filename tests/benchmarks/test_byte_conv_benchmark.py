"""What bench_byte_conv.py rests on: weights of 4 in 16, a float64 sum that exact integers equal, wrong results seen."""

import numpy as np
import pytest

import bench_byte_conv
from bench_byte_conv import COUNT, FLOATS, GROUP, OURS, SCALE, Way, data_of, errors_of, ours, timed
from conv_layers import Layer

LAYER = Layer(32, 20, 7, 9, 3, 2)


def test_the_data_lies_on_its_grids():
    data = data_of(LAYER)
    kept = (data.codes != 0).reshape(20, 2, GROUP, 3, 3).sum(2)
    assert kept.max() <= COUNT
    assert kept.mean() > 3.5
    assert data.x.max() <= 127
    x = SCALE * data.x.astype(np.float64)
    weight = data.codes * data.scale[:, None, None, None].astype(np.float64)
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    total = (padded[2:5, 4:7].transpose(2, 0, 1) * weight[5]).sum()
    assert data.wanted[0, 1, 2, 5] == pytest.approx(max(total, 0), rel=1e-6)
    assert data.wanted.max() == pytest.approx(255 * data.step, rel=1e-6)


def test_ours_is_right_and_a_wrong_result_ends_the_program():
    data = data_of(LAYER)
    floats, codes = (ours(LAYER, data, floats=floats) for floats in (True, False))
    assert errors_of({FLOATS: floats}, data.wanted)[FLOATS] < 1e-6
    assert 1e-4 < errors_of({OURS: codes}, data.wanted)[OURS] < 2.1e-3  # half a step of 255, and what float32 rounds
    with pytest.raises(SystemExit, match="secateur, float32 is wrong"):
        errors_of({FLOATS: Way(floats.run, lambda: floats.result() * 1.001)}, data.wanted)
    with pytest.raises(SystemExit, match="secateur is wrong"):
        errors_of({OURS: Way(codes.run, lambda: codes.result() * 1.02)}, data.wanted)


def test_all_take_turns(monkeypatch):
    monkeypatch.setattr(bench_byte_conv, "TURN_SECONDS", 1e-9)
    calls = []
    ways = {name: Way(lambda n=name: calls.append(n), lambda: np.zeros(1)) for name in "ab"}
    found = timed(ways, 4)
    assert {name: len(times) for name, times in found.items()} == {"a": 4, "b": 4}
    assert calls[:4] == ["a", "a", "b", "b"]
    assert calls[4:6] == ["b", "b"]
