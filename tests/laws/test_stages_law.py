"""Laws every pruning stage obeys; they run over the table of stages, every form and granularity."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.formats import from_dense
from secateur.ir.plan import FORMS, GRANULARITIES, Prune
from secateur.nn.transform import STAGES

RULES = [Prune(*rule) for rule in itertools.product(STAGES, FORMS, GRANULARITIES)]
rules = pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.method}-{r.form}-{r.granularity}")
shapes = st.sampled_from([(1, 1), (3, 1), (5, 7), (4, 2, 3), (3, 2, 3, 3), (2, 130)])


def stage_and_weight(rule, shape, seed):
    w = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return STAGES[rule.method](w, rule), w.requires_grad_()


@rules
@settings(deadline=None, max_examples=15)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_soft_weights_never_grow_and_never_change_sign(rule, shape, seed):
    stage, w = stage_and_weight(rule, shape, seed)
    pruned, count = stage.soft(w)
    assert (pruned.abs() <= w.abs() + 1e-7).all()
    assert (pruned * w >= 0).all()
    assert 0 <= count <= w.numel() + 1e-3


@rules
@settings(deadline=None, max_examples=15)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_soft_and_hard_gradients_are_finite_and_count_is_differentiable(rule, shape, seed):
    stage, w = stage_and_weight(rule, shape, seed)
    pruned, count = stage.soft(w)
    (pruned.square().sum() + count).backward()
    assert w.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters())


@rules
@settings(deadline=None, max_examples=15)
@given(shape=shapes, seed=st.integers(0, 2**16), factor=st.floats(0.01, 4))
def test_hard_forward_is_exactly_what_a_file_gives_back(rule, shape, seed, factor):
    """decode(encode(w)) == forward(w), bit for bit."""
    stage, w = stage_and_weight(rule, shape, seed)
    stage.harden(stage.score(w) > factor)
    kept = stage(w).detach()
    assert int(stage.count(w)) == int(stage.mask.sum())
    decoded = from_dense(kept.numpy(), "float32").to_dense()
    np.testing.assert_array_equal(decoded, kept.numpy())


@rules
@settings(deadline=None, max_examples=15)
@given(shape=st.sampled_from([(3, 1), (5, 7), (4, 2, 3), (3, 2, 3, 3), (2, 130)]), seed=st.integers(0, 2**16))
def test_channels_on_axis_1_are_those_of_the_transposed_weight(rule, shape, seed):
    """Value, count and gradients; with one threshold a tensor the axis means nothing."""
    found = []
    for axis in (1, 0):
        w = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        w = (w if axis else w.swapaxes(0, 1).contiguous()).requires_grad_()
        stage = STAGES[rule.method](w, rule, axis)
        assert stage.alpha().shape == torch.broadcast_shapes(stage.alpha().shape, (1,) * w.dim())
        assert stage.alpha().numel() == (1 if rule.granularity == "tensor" else shape[1])
        pruned, count = stage.soft(w)
        (pruned.square().sum() + count).backward()
        mask = stage.score(w) > 1
        parts = [pruned, w.grad, mask, *(p.grad for p in stage.parameters())]
        found.append([count, *(part if axis else part.swapaxes(0, 1) for part in parts)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@rules
def test_sharpening_brings_the_soft_forward_to_the_hard_one(rule):
    stage, w = stage_and_weight(rule, (40, 30), 0)
    stage.floor.fill_(50.0)
    soft = stage.soft(w)[0].detach()
    hard = torch.where(w.abs() > stage.alpha(), w, 0.0).detach()
    clear = (stage.score(w) - 1).abs() > 0.2
    torch.testing.assert_close(soft[clear], hard[clear], atol=1e-3, rtol=1e-3)


@rules
def test_raising_the_threshold_prunes_more(rule):
    stage, w = stage_and_weight(rule, (40, 30), 0)
    before = float(stage.soft(w)[1].detach())
    with torch.no_grad():
        stage.alpha_raw.add_(0.5)
    assert float(stage.soft(w)[1].detach()) < before
