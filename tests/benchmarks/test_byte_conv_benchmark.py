"""What bench_byte_conv.py rests on: weights of 4 in 16, a float64 sum that exact integers equal, wrong results seen."""

import numpy as np
import pytest

import bench_byte_conv
from bench_byte_conv import COUNT, GROUP, SCALE, Way, data_of, errors_of, ours, timed
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
    assert data.wanted[0, 1, 2, 5] == pytest.approx((padded[2:5, 4:7].transpose(2, 0, 1) * weight[5]).sum(), rel=1e-6)


def test_ours_is_right_and_a_wrong_result_ends_the_program():
    data = data_of(LAYER)
    way = ours(LAYER, data)
    assert errors_of({"secateur": way}, data.wanted)["secateur"] < 1e-6
    with pytest.raises(SystemExit, match="secateur is wrong"):
        errors_of({"secateur": Way(way.run, lambda: way.result() * 1.001)}, data.wanted)


def test_all_take_turns(monkeypatch):
    monkeypatch.setattr(bench_byte_conv, "TURN_SECONDS", 1e-9)
    calls = []
    ways = {name: Way(lambda n=name: calls.append(n), lambda: np.zeros(1)) for name in "ab"}
    found = timed(ways, 4)
    assert {name: len(times) for name, times in found.items()} == {"a": 4, "b": 4}
    assert calls[:4] == ["a", "a", "b", "b"]
    assert calls[4:6] == ["b", "b"]
