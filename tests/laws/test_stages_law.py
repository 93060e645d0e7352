"""Laws every stage obeys; they run over the tables of stages, every form, granularity and number of widths."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.formats import from_dense, on_grid
from secateur.ir.pattern import GROUPS
from secateur.ir.rules import FORMS, GRANULARITIES, PATTERNED, Prune, Quantize
from secateur.nn.threshold import ThresholdPrune
from secateur.nn.transform import PRUNING, QUANTIZING, STAGES

QUANTIZED = [
    Quantize(bits, granularity, level)
    for level, granularity, bits in itertools.product(QUANTIZING, GRANULARITIES, (2, 5, {2, 3, 6}, (2, 8)))
]
quantizers = pytest.mark.parametrize("rule", QUANTIZED, ids=lambda r: f"{r.level}-{r.granularity}-{r.bits}")
WITH_THRESHOLDS = [method for method, stage in PRUNING.items() if issubclass(stage, ThresholdPrune)]
GATED = [
    Prune(*rule, **({} if rule[0] == "threshold" else {"n": 1, "m": 3}))
    for rule in itertools.product(WITH_THRESHOLDS, FORMS, GRANULARITIES)
]
"""Rules of stages that learn a threshold."""
PATTERNS = [
    Prune(method, n=n, m=m, also=also, groups=groups)
    for method, (n, m, also), groups in itertools.product(PATTERNED, [(1, 3, None), (4, 16, "2:4")], GROUPS)
]
RULES = [*GATED, *(rule for rule in PATTERNS if rule.method != "balanced")]
gated = pytest.mark.parametrize("rule", GATED, ids=lambda r: f"{r.method}-{r.form}-{r.granularity}")
patterned = pytest.mark.parametrize("rule", PATTERNS, ids=lambda r: f"{r.method}-{r.patterns[0]}")
rules = pytest.mark.parametrize("rule", RULES, ids=str)
shapes = st.sampled_from([(1, 1), (3, 1), (5, 7), (4, 2, 3), (3, 2, 3, 3), (2, 130)])


def stage_and_weight(rule, shape, seed):
    w = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return PRUNING[rule.method](w, rule), w.requires_grad_()


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
    stage.harden(stage.score(w) > factor if not stage.patterns else stage.keeps(w))
    kept = stage(w).detach()
    assert int(stage.count(w)) == int(stage.mask.sum())
    decoded = from_dense(kept.numpy(), "float32").to_dense()
    np.testing.assert_array_equal(decoded, kept.numpy())


@gated
@settings(deadline=None, max_examples=15)
@given(shape=st.sampled_from([(3, 1), (5, 7), (4, 2, 3), (3, 2, 3, 3), (2, 130)]), seed=st.integers(0, 2**16))
def test_channels_on_axis_1_are_those_of_the_transposed_weight(rule, shape, seed):
    """Value, count and gradients; with one threshold a tensor the axis means nothing."""
    found = []
    for axis in (1, 0):
        w = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        w = (w if axis else w.swapaxes(0, 1).contiguous()).requires_grad_()
        stage = PRUNING[rule.method](w, rule, axis)
        assert stage.alpha().shape == torch.broadcast_shapes(stage.alpha().shape, (1,) * w.dim())
        assert stage.alpha().numel() == (1 if rule.granularity == "tensor" else shape[1])
        pruned, count = stage.soft(w)
        (pruned.square().sum() + count).backward()
        mask = stage.score(w) > 1
        parts = [pruned, w.grad, mask, *(p.grad for p in stage.parameters())]
        found.append([count, *(part if axis else part.swapaxes(0, 1) for part in parts)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@gated
def test_sharpening_brings_the_soft_forward_to_the_hard_one(rule):
    stage, w = stage_and_weight(rule, (40, 30), 0)
    stage.floor.fill_(50.0)
    soft = ThresholdPrune.soft(stage, w)[0].detach()
    hard = torch.where(w.abs() > stage.alpha(), w, 0.0).detach()
    clear = (stage.score(w) - 1).abs() > 0.2
    torch.testing.assert_close(soft[clear], hard[clear], atol=1e-3, rtol=1e-3)


@patterned
@settings(deadline=None, max_examples=15)
@given(shape=shapes, seed=st.integers(0, 2**16), axis=st.integers(0, 1))
def test_a_pattern_leaves_its_count_in_every_group_whatever_axis_outputs_lie_on(rule, shape, seed, axis):
    w = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    stage = PRUNING[rule.method](w, rule, axis)
    mask = stage.project(stage.score(w), rule.patterns[0])
    counts = stage.grouping.counts(mask.float())
    kept = torch.tensor(rule.patterns[0].kept(stage.grouping.length), dtype=torch.float32)
    assert torch.equal(counts, kept.expand_as(counts))
    assert stage.pattern_of(mask) == rule.patterns[0]
    swapped = PRUNING[rule.method](w.swapaxes(0, 1).contiguous(), rule, 1 - axis)
    again = swapped.project(swapped.score(w.swapaxes(0, 1)), rule.patterns[0])
    assert torch.equal(again.swapaxes(0, 1), mask)


@gated
def test_raising_the_threshold_prunes_more(rule):
    stage, w = stage_and_weight(rule, (40, 30), 0)
    before = float(stage.soft(w)[1].detach())
    with torch.no_grad():
        stage.alpha_raw.add_(0.5)
    assert float(stage.soft(w)[1].detach()) < before


def quantizing(rule, shape, seed, axis=0):
    """A stage that is on, its widths learning, and a weight with zeros in it."""
    random = torch.Generator().manual_seed(seed)
    w = torch.randn(shape, generator=random)
    stage = QUANTIZING[rule.level](w, rule, axis)
    w = torch.where(torch.rand(shape, generator=random) < 0.5, w, 0.0)
    stage.start(w)
    if stage.theta is not None:
        stage.theta.data.normal_(generator=random)
    stage.learn(0.5)
    return stage, w.requires_grad_()


@quantizers
@settings(deadline=None, max_examples=15)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_quantizing_keeps_zeros_and_survivors_and_signs(rule, shape, seed):
    stage, w = quantizing(rule, shape, seed)
    for _ in ("soft", "hard"):
        assert torch.equal(stage(w).sign(), w.sign())
        stage.harden(stage.width())


@quantizers
@settings(deadline=None, max_examples=15)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_gradients_of_quantizing_are_finite_and_reach_every_parameter(rule, shape, seed):
    stage, w = quantizing(rule, shape, seed)
    (stage(w).square().sum() + stage.expected_bits()).backward()
    assert w.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stage.parameters())


@quantizers
@settings(deadline=None, max_examples=15)
@given(shape=shapes, seed=st.integers(0, 2**16))
def test_hard_quantized_weights_are_exactly_what_a_file_gives_back(rule, shape, seed):
    """decode(encode(w)) == forward(w), bit for bit, -0.0 included; also after its range was trained."""
    stage, w = quantizing(rule, shape, seed)
    stage.harden(stage.width())
    with torch.no_grad():
        stage.log_range.add_(0.1 * torch.randn(stage.log_range.shape, generator=torch.Generator().manual_seed(seed)))
    found = stage(w).detach().numpy()
    assert on_grid(found, stage.grid()).to_dense().tobytes() == found.tobytes()
    assert len(np.unique(np.abs(on_grid(found, stage.grid()).codes))) <= 2 ** (stage.width() - 1)


@quantizers
@settings(deadline=None, max_examples=15)
@given(shape=st.sampled_from([(3, 1), (5, 7), (4, 2, 3), (3, 2, 3, 3), (2, 130)]), seed=st.integers(0, 2**16))
def test_ranges_on_axis_1_are_those_of_the_transposed_weight(rule, shape, seed):
    stage, w = quantizing(rule, shape, seed, axis=1)
    other = QUANTIZING[rule.level](w.detach().swapaxes(0, 1).contiguous(), rule)
    other.load_state_dict({k: v.swapaxes(0, 1) if v.dim() > 1 else v for k, v in stage.state_dict().items()})
    torch.testing.assert_close(other(w.swapaxes(0, 1)).swapaxes(0, 1), stage(w))
    assert stage.log_range.numel() == (1 if rule.granularity == "tensor" else shape[1])


@quantizers
def test_hardening_a_cold_stage_moves_weights_by_the_rounding_of_the_scale_alone(rule):
    stage, w = quantizing(rule, (40, 30), 0)
    stage.learn(1e-4)
    soft = stage(w).detach()
    stage.harden(stage.width())
    scale = float(stage.scale().max())
    assert (stage(w) - soft).abs().max() <= 1e-3 * float(soft.abs().max()) + scale
    different = ((stage(w) - soft).abs() > 1e-3 * soft.abs()).float().mean()
    assert different < 0.02, "but at the edges of rounding"


def test_every_stage_is_in_one_table():
    assert {**PRUNING, **QUANTIZING} == STAGES
