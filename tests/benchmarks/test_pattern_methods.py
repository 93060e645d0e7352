"""The methods that leave n of every m weights: every group has its count, and a run goes on exactly."""

import pytest
import torch
from torch import nn

import pruning_run
from image_data import Images, Split, crop_and_flip
from methods import METHODS, PATTERNED
from pruning_run import Run, train

EVERY = {"n": 2, "m": 4}


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    )


def tiny():
    images = torch.randn(256, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    split = Split(images, (images.mean((1, 2, 3)) > 0).long() + (images[:, 0, 0, 0] > 1).long())
    return Images(split, split, split, crop_and_flip)


@pytest.mark.parametrize("method", PATTERNED)
def test_every_group_has_its_count_and_a_broken_run_ends_alike(method, tmp_path, monkeypatch):
    run, data = Run(method, "net", 0.5, False, 0, 3, 2, "float32", 1e-3, EVERY), tiny()
    whole, broken = net(), net()
    train(run, whole, data, tmp_path)
    convolution, linear = whole[2].weight != 0, whole[5].weight != 0
    assert (linear.unflatten(1, (-1, 4)).sum(2) == 2).all()
    assert (convolution[:, :4].sum(1) == 2).all()
    assert (convolution[:, 4:].sum(1) == 1).all(), "a shorter last group keeps its share"
    assert whole[0].weight.count_nonzero() == whole[0].weight.numel(), "one input: nothing that could be cut"

    calls, real = [], pruning_run.save_whole

    def save_then_stop(path, state):
        real(path, state)
        calls.append(path)
        if len(calls) in (2, 4):
            raise KeyboardInterrupt

    monkeypatch.setattr(pruning_run, "save_whole", save_then_stop)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(run, net(), data, elsewhere)
    train(run, broken, data, elsewhere)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))


def test_what_other_code_left_is_not_taken_for_a_result(tmp_path, monkeypatch):
    run, data = Run("top_n", "net", 0.5, False, 0, 1, 1, "float32", 1e-3, EVERY), tiny()
    train(run, net(), data, tmp_path)
    assert train(run, net(), data, tmp_path)["seconds"] > 0, "its own it takes"
    monkeypatch.setattr(pruning_run, "code", lambda: "changed")
    with pytest.raises(SystemExit, match="other code"):
        train(run, net(), data, tmp_path)
    (tmp_path / f"{run.name}.pt").rename(tmp_path / f"{run.name}.checkpoint")
    with pytest.raises(SystemExit, match="other code"):
        train(run, net(), data, tmp_path)


def test_magnitude_at_once_is_dense_until_then():
    model = net()
    method = METHODS["top_n"](model, torch.zeros(1, 1, 8, 8), 0.5, 10, **EVERY)
    method.step()
    assert method.densities()["5"] == 1.0
    method.harden()
    assert method.densities()["5"] == 0.5
