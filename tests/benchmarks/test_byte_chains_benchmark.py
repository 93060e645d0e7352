"""bench_byte_chains.py: what it compares is one network, and a wrong way is seen before anything is timed."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import bench_byte_chains
from bench_byte_chains import FASTEST, timed
from secateur.nn.map_quantize import FrozenMap

pytestmark = pytest.mark.filterwarnings("ignore:the feature maps of this model are float again")  # as they are to be
OPTIONS = Namespace(width=1, batch=1, rounds=2)


def tiny(_):
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())


@pytest.fixture
def told(monkeypatch):
    """On a tiny network, nothing compiled or accelerated: every way is the module it is given. What is recorded."""

    def as_it_is(module, x, **_):
        found = nn.Sequential(module)
        found.report = SimpleNamespace(layers=[], difference=0.0)
        return found

    recorded = []
    monkeypatch.setattr(bench_byte_chains, "resnet20", tiny)
    monkeypatch.setattr(bench_byte_chains.sct, "accelerate", as_it_is)
    monkeypatch.setattr(torch, "compile", lambda module: module)
    monkeypatch.setattr(bench_byte_chains, "record", lambda _, **row: recorded.append(row))
    return recorded


def test_both_networks_have_the_same_weights_and_one_quantizes_its_maps(told):
    model, floats, x = bench_byte_chains.quantized(1, 2)
    assert x.shape == (2, 3, 32, 32)
    assert any(isinstance(module, FrozenMap) for module in model.modules())
    assert not any(isinstance(module, FrozenMap) for module in floats.modules())
    weights = {name: value for name, value in model.state_dict().items() if name.endswith("weight")}
    assert weights.keys() == {"0.weight", "2.weight"}
    for name, weight in weights.items():
        torch.testing.assert_close(weight, floats.state_dict()[name])
    kept = (weights["2.weight"] != 0).permute(0, 2, 3, 1).reshape(-1, 16).sum(1)
    assert int(kept.max()) <= 4


def test_every_way_gets_its_times(told):
    timed(OPTIONS)
    (row,) = told
    assert len(row["processor_ms"]) == 5
    assert row["ratios"].keys() == row["processor_ms"].keys() - {FASTEST}
    assert row["rounds"] == 2


@pytest.mark.parametrize(("number", "name"), [(0, FASTEST), (1, "accelerate int8 4:16, maps of float32")])
def test_a_wrong_way_is_seen_before_anything_is_timed(told, monkeypatch, number, name):
    calls, right = [], bench_byte_chains.sct.accelerate

    def one_is_wrong(module, x, **options):
        found = right(module, x, **options)
        if len(calls) == number:
            found.append(Larger())
        calls.append(options)
        return found

    def clock():
        raise AssertionError("timed")

    monkeypatch.setattr(bench_byte_chains.sct, "accelerate", one_is_wrong)
    monkeypatch.setattr(bench_byte_chains, "process_time", clock)
    with pytest.raises(SystemExit, match=f"{name}: outputs differ by 1.0e-01 of the largest, more than 0.05"):
        timed(OPTIONS)
    assert told == []


class Larger(nn.Module):
    """A tenth more than is right."""

    def forward(self, x):
        return 1.1 * x
