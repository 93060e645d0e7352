"""The gates of self-pruning as generated code, against the definition in numpy, on every target of this machine."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kernel_cases import GUARD, HERE, guarded
from secateur.ir.rules import FORMS
from secateur.kernels.gate import constants, gate_of
from secateur.kernels.object_cache import cache_folder
from secateur.kernels.rows import GROUP
from secateur.kernels.target import TARGETS, host_target
from secateur.maths.threshold import EDGE_CLIP, TINY_GATE, gate

COUNT_GRAD = 0.3
EACH = [(form, target) for form in FORMS for target in HERE]


class Case:
    """A weight and its upstream gradient between NaN, thresholds of one element or of one a row."""

    def __init__(self, rows, columns, *, one=False, seed=0):
        draw = np.random.default_rng(seed)
        self.w, self.upstream = (guarded((rows, columns))[1] for _ in range(2))
        self.w[:], self.upstream[:] = draw.standard_normal((2, rows, columns))
        count = 1 if one else rows
        self.alpha, self.k = draw.uniform(0.3, 1.3, count), draw.uniform(6, 7, count)
        self.gate = gate(self.w, self.alpha[:, None], self.k[:, None])

    @property
    def thresholds(self):
        if len(self.alpha) == 1:
            return float(self.alpha[0]), float(self.k[0])
        return self.alpha, self.k

    def forward(self, form, target):
        buffer, out = guarded(self.w.shape, 77.0)
        made = gate_of(form, host_target(target))
        count = made.forward((self.w.ctypes.data, out.ctypes.data), self.w.size, self.thresholds)
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()
        return out, count

    def backward(self, form, target):
        buffer, out = guarded(self.w.shape, 77.0)
        made = gate_of(form, host_target(target))
        addresses = tuple(x.ctypes.data for x in (self.w, self.upstream, out))
        alpha_grad, k_grad = made.backward(addresses, self.w.size, self.thresholds, COUNT_GRAD)
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()
        return out, alpha_grad, k_grad


def check_forward(case, form, target):
    out, count = case.forward(form, target)
    alpha = np.float32(case.alpha[:, None])
    kept = np.abs(case.w) > alpha if form == "straight_through" else case.gate.h
    np.testing.assert_allclose(out, case.w * kept, rtol=0, atol=1e-6)
    np.testing.assert_allclose(count, np.sum(kept, dtype=np.float64), rtol=1e-6, atol=1e-12)


def check_backward(case, form, target):
    w, upstream, g = case.w.astype(np.float64), case.upstream.astype(np.float64), case.gate
    w_grad, alpha_grad, k_grad = case.backward(form, target)
    with np.errstate(invalid="ignore"):
        dh_dw = np.where(w == 0, 0, g.edge / w)
    through = upstream if form == "dense" else upstream * (g.h + np.minimum(g.edge, EDGE_CLIP))
    np.testing.assert_allclose(w_grad, through + COUNT_GRAD * dh_dw, rtol=1e-5, atol=1e-5)
    pull = upstream * w + COUNT_GRAD
    axis = 1 if len(case.alpha) == len(w) else None
    for found, terms in ((alpha_grad, -pull * g.edge / case.alpha[:, None]), (k_grad, pull * g.dh_dk)):
        sizes = (np.abs(terms) + 0.03).sum(axis)  # a far gate's error is that of 1 + p
        assert (np.abs(found - terms.sum(axis)) <= 3e-6 * sizes).all()


@pytest.mark.parametrize(("form", "target"), EACH)
def test_every_size_and_one_threshold(form, target):
    lanes = TARGETS[target].lanes
    group = GROUP * lanes
    for size in (0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1, group - 1, group, group + 1, 2 * group + 1, 5000):
        case = Case(1, size, one=True, seed=size)
        check_forward(case, form, target)
        check_backward(case, form, target)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (1, 9), (3, 1), (37, 25), (5, 300)])
@pytest.mark.parametrize(("form", "target"), EACH)
def test_one_threshold_a_row(form, target, shape):
    case = Case(*shape)
    check_forward(case, form, target)
    check_backward(case, form, target)


def test_constants_of_one_threshold_are_those_of_a_row():
    rows = constants(np.array([0.7, 0.7]), np.array([6.5, 6.5]), 0.25)
    for one, others in zip(constants(0.7, 6.5, 0.25), rows, strict=True):
        np.testing.assert_allclose(others, one, rtol=1e-12)
    assert constants(0.7, 30.0).tail == 0, "nothing beside coth"
    assert np.isfinite(np.float32(constants(0.0, 60.0))).all(), "a threshold that underflowed"


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("k", [1.0, 6.0, 16.0, 60.0])
def test_sharpness_from_soft_to_a_step(k, target):
    case = Case(1, 4096, one=True)
    case.k[:] = k
    case.gate = gate(case.w, case.alpha[0], k)
    out, count = case.forward("analytic", target)
    # The exponent, up to k, is rounded to float32 before the power is taken.
    np.testing.assert_allclose(out, case.w * case.gate.h, rtol=0, atol=1e-6 * max(1, k / 4))
    np.testing.assert_allclose(count, case.gate.h.sum(), rtol=1e-5)


@pytest.mark.parametrize("target", HERE)
def test_tiny_gates_are_zero_and_nothing_is_lost_in_denormal_numbers(target):
    case = Case(1, 40, one=True)
    case.alpha[:], case.k[:] = 1.0, 30.0
    case.w[0, :5] = [1e-3, -1e-30, 0.0, 2.0, 1e30]
    out, count = case.forward("analytic", target)
    assert out[0, :3].tolist() == [0, 0, 0]
    np.testing.assert_allclose(out[0, 3:5], [2.0, 1e30])
    h = gate(case.w, 1.0, 30.0).h
    assert h.min() == 0 < TINY_GATE
    np.testing.assert_allclose(count, h.sum(), rtol=1e-6)
    w_grad, _, _ = case.backward("analytic", target)
    assert w_grad[0, 2] == 0, "the gate has no slope at weight 0"
    smallest = np.finfo(np.float32).tiny
    assert ((np.abs(out) >= smallest) | (out == 0)).all()


@pytest.mark.parametrize("form", FORMS)
def test_what_diverged_is_seen(form):
    for place in ("w", "alpha", "k"):
        case = Case(2, 70)
        getattr(case, place)[1] = np.nan
        out, count = case.forward(form, HERE[0])
        assert np.isfinite(out[0]).all()
        assert np.isnan(count)
        assert np.isnan(out[1]).all() or (form == "straight_through" and place != "w")
        case.w[0] = np.inf
        assert np.isinf(case.forward(form, HERE[0])[0][0]).all()
        w_grad, alpha_grad, k_grad = case.backward(form, HERE[0])
        assert np.isnan(w_grad[1]).all()
        assert np.isnan(alpha_grad[1])
        assert np.isnan(k_grad[1])


PRINT = """
import hashlib
import numpy as np
from secateur.kernels.gate import gate_of
from secateur.kernels.target import host_target
w, upstream = np.random.default_rng(0).standard_normal((2, 12345)).astype(np.float32)
out, w_grad, made = np.empty_like(w), np.empty_like(w), gate_of("analytic", host_target())
count = made.forward((w.ctypes.data, out.ctypes.data), w.size, (0.7, 6.5))
found = made.backward((w.ctypes.data, upstream.ctypes.data, w_grad.ctypes.data), w.size, (0.7, 6.5), 0.3)
print(hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in (out, w_grad, count, *found))).hexdigest())
"""


def test_a_process_that_compiles_and_one_that_loads_give_the_same_bits(tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}

    def answer():
        command = [sys.executable, "-c", PRINT]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    compiled = answer()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "secateur" / "kernels").iterdir()}
    assert len([path for path in kept if not path.name.startswith("sources-")]) == 1
    assert answer() == compiled
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert cache_folder() != tmp_path / "secateur" / "kernels"


def test_threads_and_a_forked_child_compute_the_same():
    case = Case(5, 3000)
    alone = case.forward("analytic", HERE[0])[0].tobytes()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: case.forward("analytic", HERE[0])[0].tobytes(), range(32)))
    assert set(found) == {alone}
    child = os.fork()
    if child == 0:
        gate_of.cache_clear()
        os._exit(0 if case.forward("analytic", HERE[0])[0].tobytes() == alone else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_planted_fault_is_seen():
    """The oracles above must be able to fail: with a threshold a little off."""
    case = Case(3, 50)
    check_forward(case, "analytic", HERE[0])
    case.alpha = case.alpha * 1.001
    with pytest.raises(AssertionError):
        check_forward(case, "analytic", HERE[0])
    with pytest.raises(AssertionError):
        check_backward(case, "analytic", HERE[0])
