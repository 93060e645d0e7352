"""nn.norms.terms: what constraints add to a loss, by generated code and by torch, with gradients of the formula."""

import pytest
import torch

from secateur.nn import generated
from secateur.nn.norms.terms import ASCENT, FAR, LIMIT, terms


def numbers(dtype=torch.float64):
    torch.manual_seed(0)
    moments = torch.tensor([[0.3, -2.0, 5.0, -40.0, 0.0], [1.0, 0.2, 3.0, 900.0, 0.9]], dtype=dtype)
    multipliers = torch.tensor([[0.5, 2.0, 12.0, 0.1, 3.0], [1.0, 0.0, LIMIT, 0.2, 4.0]], dtype=dtype)
    wanted = torch.tensor([[0.0] * 5, [1.0] * 5], dtype=dtype)
    return moments, multipliers, wanted, torch.full((2, 5), 0.01, dtype=dtype)


def formula(moments, multipliers, wanted, weights, squared):
    """The terms as they are published or read, written out."""
    x, m = moments - wanted, multipliers.clamp(0.0 if squared else -LIMIT, LIMIT)
    c = torch.where(x.abs() > FAR, x.sign() * FAR * (1 + (x.abs().clamp_min(1e-9) / FAR).log()), x)
    huber = torch.where(c.abs() <= FAR, c**2 / 2, FAR * (c.abs() - FAR / 2))
    return (weights * (m * c**2 if squared else m * c + huber)).sum()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_gradient_are_those_of_the_formula(squared, dtype):
    moments, *others = numbers(dtype)
    value, (slope, _) = terms((moments, *others), squared=squared)
    wide = moments.double().requires_grad_()
    wanted = formula(wide, *(one.double() for one in others), squared)
    wanted.backward()
    assert value == pytest.approx(wanted.item(), rel=1e-6)
    torch.testing.assert_close(slope.double(), wide.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("squared", [False, True])
def test_generated_code_and_torch_give_the_same(monkeypatch, squared):
    first = terms(numbers(torch.float32), squared=squared)
    monkeypatch.setattr(generated, "processor", lambda: None)
    second = terms(numbers(torch.float32), squared=squared)
    assert first[0] == pytest.approx(second[0], rel=1e-6)
    torch.testing.assert_close(first[1], second[1])


@pytest.mark.parametrize("squared", [False, True])
def test_multipliers_ascend_up_to_their_limit(squared):
    moments, multipliers, wanted, weights = numbers()
    _, (_, gradient) = terms((moments, multipliers, wanted, weights), squared=squared)
    ascent = -gradient / (ASCENT * weights)
    c = (moments - wanted).clamp(-1, 1)
    free = multipliers < LIMIT
    torch.testing.assert_close(ascent[free], (c**2 if squared else c)[free])
    assert (ascent[~free] == 0).all(), "at the limit, further outwards"
    _, (_, back) = terms((moments, -2 * LIMIT + 0 * multipliers, wanted, weights), squared=False)
    assert (back <= 0).all(), "at the lower limit only upwards"
