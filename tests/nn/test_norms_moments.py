"""nn.norms.moments: mean and variance of channels and their gradient, by generated code and by torch."""

import pytest
import torch

from secateur.nn import generated
from secateur.nn.norms.moments import moments_pull, write_moments

SHAPES = [(1, 3), (4, 3), (1, 3, 5), (2, 3, 4, 5), (1, 3, 2, 2, 2)]
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def axes(x):
    return [axis for axis in range(x.dim()) if axis != 1]


def moments_of(x):
    """Written between other layers' numbers, which stay."""
    row = torch.full((10,), 7.0, dtype=x.dtype if x.dtype == torch.float64 else torch.float32)
    out = row[2:8].view(2, 3)
    write_moments(x, out)
    assert (row[[0, 1, 8, 9]] == 7).all()
    return out


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("last", [False, True])
def test_moments_are_those_of_float64_even_with_a_large_mean(shape, dtype, last):
    torch.manual_seed(0)
    x = (torch.randn(shape) + 300).to(dtype)
    if last and x.dim() in LAST:
        x = x.contiguous(memory_format=LAST[x.dim()])
    variance, mean = torch.var_mean(x.double(), axes(x), correction=0)
    found = moments_of(x).double()
    torch.testing.assert_close(found[0], mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(found[1], variance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_pull_is_the_gradient_by_differences(shape, dtype):
    torch.manual_seed(0)
    x, toward = torch.randn(shape, dtype=dtype), torch.randn(2, 3, dtype=dtype)
    pull = moments_pull(x, moments_of(x), toward)

    def value(y):
        variance, mean = torch.var_mean(y, axes(y), correction=0)
        return (torch.stack([mean, variance]) * toward.double()).sum()

    step, wide = 1e-5, x.double()
    for place in range(x.numel()):
        moved = torch.zeros(x.numel(), dtype=torch.float64)
        moved[place] = step
        wanted = (value(wide + moved.view(shape)) - value(wide - moved.view(shape))) / (2 * step)
        torch.testing.assert_close(pull.reshape(-1)[place].double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["by channel", "last", "with gaps"])
def test_generated_code_and_torch_give_the_same(monkeypatch, dtype, kind):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 6).to(dtype)
    x = {"by channel": x, "last": x.contiguous(memory_format=torch.channels_last), "with gaps": x[..., ::2]}[kind]
    toward = torch.randn(2, 3)
    first = moments_of(x)
    pulls = [moments_pull(x, first, toward)]
    monkeypatch.setattr(generated, "processor", lambda: None)
    torch.testing.assert_close(moments_of(x), first)
    pulls.append(moments_pull(x, first, toward))
    torch.testing.assert_close(*pulls)
    assert pulls[0].dtype == dtype
    if kind != "with gaps":
        assert pulls[0].stride() == x.stride()
    assert (generated.moments_for(x) is None) is True
