"""What bench_linear.py rests on: the right matrices, a float64 result, the fastest peer of the right precision."""

from argparse import Namespace

import numpy as np
import pytest

import bench_linear
from bench_linear import AGAINST, OURS, THROUGH, best, rates, shares, summary
from conv_peers import Form
from linear_matrices import BYTE_FORM, CODE_FORM, balanced_forms, dense_bytes, matrices
from linear_peers import LIMITS, LinearJob, ours, precision_of, torch_forms
from linear_worker import COLD_CALLS, LinearWorker, _error
from secateur.ir.balanced_format import pattern
from secateur.kernels.linear import LinearKernel
from secateur.kernels.memory import aligned

DENSE, SPARSE = matrices(48, 256)


def job(folder) -> LinearJob:
    x = aligned((3, 256))
    x[:] = np.random.default_rng(2).standard_normal(x.shape)
    return LinearJob(x, DENSE, SPARSE, 1, folder)


def test_matrices():
    assert pattern(SPARSE) == 4
    assert np.count_nonzero(SPARSE) == SPARSE.size // 4
    assert np.array_equal(SPARSE[SPARSE != 0], DENSE[SPARSE != 0])
    assert abs(dense_bytes(DENSE).to_dense() - DENSE).max() < DENSE.max() / 200
    for name, weight in balanced_forms(SPARSE).items():
        step = 0 if name.startswith("float32") else SPARSE.max() / (200 if name == BYTE_FORM else 10)
        assert abs(weight.to_dense() - SPARSE).max() <= step


def test_forms_compute_the_layer_they_are_checked_against(tmp_path):
    made = job(tmp_path)
    wide = made.x.astype(np.float64)
    wanted = {"4:16": wide @ SPARSE.T.astype(np.float64), "": wide @ DENSE.T.astype(np.float64)}
    found = {form.competitor: form for form in (*ours(made), *torch_forms(made))}
    assert {*OURS, *THROUGH, "torch float32", "torch int8 dynamic"} == found.keys()
    for name, form in found.items():
        error = _error(form, wanted["4:16" if "4:16" in name else ""])
        assert error < LIMITS[precision_of(name)], name
        assert _error(form, wanted["" if "4:16" in name else "4:16"]) > 0.1, "a wrong matrix shows"


def test_the_best_peer_is_of_the_precision_that_is_compared():
    peers = {"torch float32": [0, 2.0, 0], "onnxruntime int8 dynamic": [0, 1.5, 0], "openvino int4": [0, 1.2, 0]}
    row = {"ratios": dict.fromkeys(AGAINST, peers), "batch": 1, "shape": "48x256", "shares": {}}
    assert best(row, "ours float32 4:16") == ("torch float32", 2.0)
    assert best(row, f"ours {BYTE_FORM}") == ("onnxruntime int8 dynamic", 1.5)
    assert best(row, f"ours {CODE_FORM}") == ("openvino int4", 1.2)
    assert f"ours {CODE_FORM}, batch 1: 1.20: 48x256 1.20 (openvino int4)" in summary([row])


def test_shares_are_of_what_is_measured(monkeypatch):
    monkeypatch.setattr(bench_linear, "bandwidth", lambda size: 1e9)
    times = {f"ours {name}": [1e-3] for name in balanced_forms(SPARSE)}
    peak = dict.fromkeys(times, 1e9)
    found = shares((1, 48, 256), SPARSE, times, Namespace(peak=peak, cold=False))
    for name, weight in balanced_forms(SPARSE).items():
        assert found[f"ours {name}"] == pytest.approx(weight.nbytes / 1e9 / 1e-3, abs=1e-3)
    many = shares((1000, 48, 256), SPARSE, times, Namespace(peak=peak, cold=False))
    assert many[f"ours {BYTE_FORM}"] == pytest.approx(1000 * 48 * 64 / 1e9 / 1e-3, abs=1e-3)


def test_rates_are_of_our_kernels(monkeypatch):
    monkeypatch.setattr(bench_linear, "fastest", lambda run: run() or 2.0)
    assert set(rates()) == {f"ours {name}" for name in balanced_forms(SPARSE)}
    assert all(rate == 100 * 1024 * 256 / 4 / 2.0 for rate in rates().values())
    assert LinearKernel(1, dense_bytes(DENSE)).name == "dense int8"


def test_cold_calls_come_after_other_data(monkeypatch):
    worker, seen = LinearWorker("secateur", 1), []
    monkeypatch.setattr("linear_worker.COLD_BYTES", 1 << 20)
    layer = Form("layer", "layer", lambda: seen.append(worker.other.size), lambda: np.zeros(1))
    times, mean = worker._cold(layer)
    assert seen == [(1 << 20) // 4] * COLD_CALLS
    assert mean == pytest.approx(sum(times) / COLD_CALLS)


def test_of_equal_weights_a_group_keeps_no_more_than_it_may(monkeypatch):
    monkeypatch.setattr("linear_matrices.np.random.default_rng", lambda seed: Equal())
    assert np.count_nonzero(matrices(2, 16)[1]) == 8


class Equal:
    """Draws ones."""

    def standard_normal(self, shape, dtype):
        return np.ones(shape, dtype)
