"""What bench_sparse_conv.py rests on: pruned weights, layers with a stride, and tables of what is right."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import bench_sparse_conv
import sparse_table
from bench_accelerate import with_zeros
from conv_layers import PRUNED_LAYERS, Layer, arrays, pruned, reference
from conv_peers import ZEROS, Job, sparse

STRIDED = Layer(4, 6, 7, 9, 3, 2)


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
def test_pruned_by_magnitude(zeros):
    weight = np.random.default_rng(0).standard_normal((10, 10, 3, 3)).astype(np.float32)
    found = pruned(weight, zeros)
    assert np.count_nonzero(found == 0) == round(zeros * 900)
    kept = found != 0
    assert np.array_equal(found[kept], weight[kept])
    assert np.abs(weight[~kept]).max(initial=0) < np.abs(weight[kept]).min()


def test_a_layer_with_a_stride():
    assert STRIDED.name == "3x3 4-6@7x9/2"
    x, weight, bias = arrays(STRIDED, 2)
    given = [torch.from_numpy(np.ascontiguousarray(a)).double() for a in (x.transpose(0, 3, 1, 2), weight, bias)]
    found = nn.functional.conv2d(*given, stride=2, padding=1).numpy().transpose(0, 2, 3, 1)
    assert np.abs(found - reference(STRIDED, x, weight, bias)).max() < 1e-12
    assert any(layer.stride == 2 for layer in PRUNED_LAYERS.values())


def test_every_way_of_ours_computes_its_own_weights(tmp_path):
    x, weight, bias = arrays(STRIDED, 1)
    for zeros in ZEROS:
        np.save(tmp_path / f"weight-{zeros}.npy", pruned(weight, zeros / 100))
        np.save(tmp_path / f"wanted-{zeros}.npy", reference(STRIDED, x, pruned(weight, zeros / 100), bias))
    np.save(tmp_path / "wanted.npy", np.load(tmp_path / "wanted-90.npy"))
    job = Job(STRIDED, 1, x, pruned(weight, 0.9), bias, tmp_path)
    forms = list(sparse(job))
    assert [form.competitor for form in forms] == ["dense", *ZEROS.values()]
    for form in forms:
        form.run()
        assert np.abs(form.result() - np.load(tmp_path / form.wanted)).max() < 1e-4


def row_with(layer, gains, wrong=()):
    competitors = {name: {"ms": [1, 2, 3], "wrong": name in wrong} for name in ("dense", *ZEROS.values(), "torch")}
    ratios = {name: {"torch": [1, gain, 9], "dense": [1, 1.5, 9]} for name, gain in gains.items()}
    return {"layer": layer, "batch": 1, "machine": "m", "competitors": competitors, "ratios": ratios}


def test_tables(tmp_path):
    path = tmp_path / "rows.jsonl"
    first, again = (row_with("1x1 64-256@56", dict.fromkeys(ZEROS.values(), gain)) for gain in (2.0, 4.0))
    other = {**first, "machine": "other"}
    path.write_text("\n".join(map(json.dumps, (first, again, other))))
    rows = sparse_table.read_rows(path, "m")
    assert list(rows.values()) == [again]
    assert sparse_table.best_ratio(again, "90 % zeros", ("torch", "ncnn")) == 4.0
    assert sparse_table.best_ratio(again, "90 % zeros", ("ncnn",)) == 0.0
    text = bench_sparse_conv.summary(rows)
    assert "| 1x1 | 90 % zeros | 4.00 | 1.50 | 1 |" in text
    assert "wrong" not in text
    assert "2 wrong" in bench_sparse_conv.summary(
        {("1x1 64-256@56", 1): row_with(*[again["layer"], {}], wrong=("torch",))}
    )


def test_networks_with_zeros():
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Linear(20, 10))
    with_zeros(model, 0.9)
    parts = [float((module.weight == 0).float().mean()) for module in model]
    assert parts == pytest.approx([0.9, 0.0, 0.9], abs=0.01)
