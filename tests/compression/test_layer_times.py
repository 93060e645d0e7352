"""compression.layer_times: a time for every layer of both networks, whoever computes it; asked for by compress."""

import copy
import dataclasses
import json

import torch
from tiny_task import OPTIONS, tiny_task
from torch import nn

from secateur.compression.compress import compress
from secateur.compression.layer_times import layer_times
from secateur.compression.options import MacAwareOptions
from secateur.compression.result import Compression
from secateur.ir.target import Target


def test_every_layer_has_times_and_the_models_stay():
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10)).eval()
    cut = copy.deepcopy(dense)
    with torch.no_grad():
        cut[0].weight.mul_(torch.rand_like(cut[0].weight) < 0.1)
    before = copy.deepcopy(cut.state_dict())
    found = layer_times(dense, cut, torch.randn(1, 4, 8, 8))
    assert [time.tensor for time in found] == ["0.weight", "3.weight"]
    assert all(time.us_before > 0 and time.us_after > 0 for time in found)
    assert all(torch.equal(before[key], value) for key, value in cut.state_dict().items())
    linear = found[1]
    assert (linear.by_before, linear.by_after) == ("PyTorch", "PyTorch")  # it has no zeros
    assert linear.reason


def test_a_run_measures_when_it_was_asked_to(tmp_path):
    options = dataclasses.replace(
        OPTIONS, prune_epochs=None, finetune_epochs=0, mac_aware=MacAwareOptions(), times=True
    )
    result = compress(tiny_task(), Target(density=0.5, max_drop=None), out=tmp_path / "run", options=options)
    assert {time.tensor for time in result.times} == {"0.weight", "4.weight", "6.weight"}
    assert Compression.from_json(result.to_json()).times == result.times
    assert json.loads((tmp_path / "run" / "report.json").read_text())["times"]
    assert "us now" in str(result)
