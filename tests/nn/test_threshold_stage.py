"""nn.threshold: thresholds start in units of each layer's own spread, and the state travels in buffers."""

import pytest
import torch

from secateur.ir.rules import Prune
from secateur.nn.threshold import SHARPNESS_LIMIT, ThresholdPrune


def weight(scale=1.0):
    return scale * torch.randn(6, 50, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_the_start_is_in_standard_deviations(scale):
    w = weight(scale)
    stage = ThresholdPrune(w, Prune(start=0.5))
    assert stage.alpha().item() == pytest.approx(0.5 * w.std(correction=0).item(), rel=1e-5)


def test_one_threshold_a_channel():
    w = weight() * torch.arange(1, 7).view(6, 1)
    stage = ThresholdPrune(w, Prune(granularity="channel", start=0.5))
    torch.testing.assert_close(stage.alpha(), 0.5 * w.std(1, correction=0, keepdim=True))


def test_the_standard_deviation_is_a_buffer_of_the_trained_weights():
    w = weight()
    stage = ThresholdPrune(w, Prune())
    w.mul_(10)
    assert "std" in dict(stage.named_buffers())
    assert stage.std.item() == pytest.approx(weight().std(correction=0).item())


def test_sharpness_stays_finite_whatever_is_learned():
    stage = ThresholdPrune(weight(), Prune(form="analytic"))
    stage.beta_raw.data.fill_(1e6)
    assert stage.sharpness().item() == SHARPNESS_LIMIT
    pruned, count = stage.soft(weight().requires_grad_())
    (pruned.sum() + count).backward()
    assert torch.isfinite(pruned).all()
    assert torch.isfinite(stage.alpha_raw.grad).all()


def test_hard_and_soft_are_a_buffer():
    stage = ThresholdPrune(weight(), Prune())
    assert "mask" not in stage.state_dict()
    stage.harden(stage.score(weight()) > 1)
    assert stage.state_dict()["mask"].dtype == torch.bool


def test_gradients_of_thresholds_stop_after_hardening():
    stage = ThresholdPrune(weight(), Prune())
    stage.harden(stage.score(weight()) > 1)
    w = weight().requires_grad_()
    stage(w).sum().backward()
    assert stage.alpha_raw.grad is None
    assert torch.equal(w.grad != 0, stage.mask)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 1, 3, 3), (6, 4, 1, 1), (6, 4, 2, 3, 3)])
@pytest.mark.parametrize(("granularity", "channel_axis"), [("tensor", 0), ("channel", 0), ("channel", 1)])
def test_a_weight_in_channels_last_stays_in_it(shape, granularity, channel_axis):
    torch.manual_seed(0)
    plain = torch.randn(shape)
    layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    lasts = plain.clone().as_strided(shape, torch.empty_like(plain, memory_format=layout).stride()).copy_(plain)
    upstream, results = torch.randn(shape), []
    for w in (plain.requires_grad_(), lasts.requires_grad_()):
        stage = ThresholdPrune(w, Prune(granularity=granularity), channel_axis)
        pruned, count = stage.soft(w)
        (pruned * upstream).sum().add(count).backward()
        assert pruned.stride() == w.stride()
        results.append((pruned, count, w.grad, stage.alpha_raw.grad, stage.beta_raw.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
