"""nn.quantize: ranges from what survives, states in buffers, widths that learn when they are told to."""

import copy

import pytest
import torch
from torch import nn

from secateur.errors import PlanError
from secateur.ir.grid import SMALLEST_SCALE
from secateur.ir.rules import Quantize
from secateur.nn.quantize import COVERED, WidthQuantize

RULE = Quantize({2, 4, 8})


def weight(scale=1.0, density=1.0):
    random = torch.Generator().manual_seed(0)
    w = scale * torch.randn(6, 500, generator=random)
    return torch.where(torch.rand(6, 500, generator=random) < density, w, 0.0)


@pytest.mark.parametrize("density", [1.0, 0.1])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_the_range_covers_almost_all_that_survives(granularity, density):
    w = weight(density=density) * torch.arange(1, 7).view(6, 1)
    stage = WidthQuantize(w, Quantize(4, granularity))
    rows = w.abs() if granularity == "channel" else w.abs().reshape(1, -1)
    for row, end in zip(rows, stage.x_max().flatten(), strict=True):
        left = row[row > 0]
        assert float((left <= end * (1 + 1e-6)).float().mean()) >= COVERED - 0.005
        assert float((left < end * (1 - 1e-6)).float().mean()) <= COVERED


def test_a_channel_without_weights_keeps_its_range():
    w = weight()
    stage = WidthQuantize(w, Quantize(4, "channel"))
    before = stage.x_max().detach().clone()
    w[2] = 0
    stage.start(w)
    torch.testing.assert_close(stage.x_max(), before)
    assert not stage(w)[2].any()


def test_off_on_and_hard_travel_in_a_state_dict():
    states = [WidthQuantize(weight(), RULE) for _ in range(4)]
    states[1].start(weight())
    states[2].start(weight())
    states[2].learn(0.4)
    states[3].start(weight())
    states[3].harden(4)
    for stage in states:
        for other in (WidthQuantize(2 * weight(), RULE), copy.deepcopy(states[3]), copy.deepcopy(states[2])):
            other.load_state_dict(stage.state_dict())
            assert torch.equal(other(weight()), stage(weight()))
            assert (other.is_on, other.is_hard, other.hard_width) == (stage.is_on, stage.is_hard, stage.hard_width)
            assert other.shares().requires_grad == stage.shares().requires_grad


def test_widths_have_no_gradient_until_they_learn():
    stage = WidthQuantize(weight(), RULE)
    stage.start(weight())
    (stage(weight()).square().sum() + stage.expected_bits()).backward()
    assert stage.theta.grad is None
    stage.learn(1.0)
    stage(weight()).square().sum().backward()
    assert stage.theta.grad.abs().sum() > 0


def test_ranges_learn_before_and_after_hardening():
    for hard in (False, True):
        stage = WidthQuantize(weight(), Quantize(3))
        stage.start(weight())
        if hard:
            stage.harden(3)
        stage(weight()).square().sum().backward()
        assert stage.log_range.grad.abs().sum() > 0
        assert stage.theta is None, "one width has nothing to learn"


def test_a_lower_temperature_favours_the_most_probable_width():
    stage = WidthQuantize(weight(), RULE)
    stage.start(weight())
    stage.theta.data.copy_(torch.tensor([0.0, 0.3, 0.1]))
    found = []
    for tau in (1.0, 0.3, 0.01):
        stage.learn(tau)
        found.append(float(stage.shares()[1].detach()))
    assert found == sorted(found)
    assert found[-1] > 0.999
    assert float(stage.expected_bits().detach()) == pytest.approx(4, abs=1e-3)


def test_the_scale_is_a_float16_number_even_where_it_nearly_vanishes():
    for scale in (1.0, 1e-3, 1e-9):
        stage = WidthQuantize(weight(scale), Quantize(8, "channel"))
        stage.harden(8)
        grid = stage.grid()
        assert grid.scale.dtype == "float16"
        assert (grid.scale >= SMALLEST_SCALE).all()
        assert torch.equal(torch.from_numpy(grid.scale).float(), stage.scale().flatten())


def test_the_fitted_range_beats_the_quantile():
    for bits in (2, 3, 8):
        stage = WidthQuantize(weight(), Quantize(bits))
        error = [
            (stage.nearest(weight(), bits, r) - weight()).square().sum() for r in (None, stage.fitted(weight(), bits))
        ]
        assert error[1] <= error[0]
        if bits < 8:
            assert error[1] < 0.9 * error[0]


def test_in_half_precision_the_stage_computes_in_float32():
    stage = WidthQuantize(weight(), RULE)
    stage.start(weight())
    low = stage(weight().bfloat16())
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low, stage(weight().bfloat16().float()).bfloat16())


def test_a_width_it_does_not_have_is_refused():
    with pytest.raises(PlanError, match="2, 4, 8"):
        WidthQuantize(weight(), RULE).harden(3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_ranges_stay_float32_and_are_not_rounded_where_the_model_is_converted(dtype, request):
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    w = weight()
    torch.set_default_dtype(torch.float64)
    stage = WidthQuantize(w, RULE)
    stage.start(w)
    before = stage.log_range.detach().clone()
    nn.ModuleList([stage]).to(dtype)
    assert {tensor.dtype for tensor in (*stage.parameters(), stage.tau, stage.shares())} == {torch.float32}
    assert torch.equal(stage.log_range, before)
