"""nn.norms.moments: an affine map and the moments of its input, with exact gradients."""

import pytest
import torch

from secateur.nn.norms.moments import AffineMoments

SHAPES = [(1, 3), (4, 3), (1, 3, 5), (2, 3, 4, 5), (1, 3, 2, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_those_of_finite_differences(shape):
    torch.manual_seed(0)
    arguments = [torch.randn(shape), torch.randn(3), torch.randn(3)]
    arguments = [argument.double().requires_grad_() for argument in arguments]
    # one value a channel: the norm has a corner at 0, where its gradient counts as 0
    outputs = slice(0, 2) if shape == (1, 3) else slice(0, 3)
    assert torch.autograd.gradcheck(lambda *a: AffineMoments.apply(*a)[outputs], arguments)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_are_those_of_float64_even_with_a_large_mean(shape, dtype):
    torch.manual_seed(0)
    x = (torch.randn(shape) + 300).to(dtype)
    y, mean, variance = AffineMoments.apply(x, torch.full((3,), 0.5), torch.full((3,), -1.0))
    axes = [axis for axis in range(len(shape)) if axis != 1]
    wanted_variance, wanted_mean = torch.var_mean(x.double(), axes, correction=0)
    assert (y.dtype, mean.dtype, variance.dtype) == (dtype, torch.float32, torch.float32)
    torch.testing.assert_close(mean.double(), wanted_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), wanted_variance, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(y, 0.5 * x - 1)


def test_channels_last_stays_channels_last():
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    y, *_ = AffineMoments.apply(x, torch.ones(3), torch.zeros(3))
    y.sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert x.grad.is_contiguous(memory_format=torch.channels_last)
