"""bridge.accelerated_conv: one layer with all that is fused, on the size it is for and on others."""

import copy
import pickle
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bridge_cases import CLOSE, apart, exact
from secateur.bridge.accelerated_conv import AcceleratedConv, Asked


def layer(keep_layout=False):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 3, padding=1, padding_mode="replicate")
    return conv, AcceleratedConv(conv, Asked(keep_layout=keep_layout), activation="leaky_relu", slope=0.3)


@pytest.mark.parametrize("shape", [(1, 4, 6, 6), (2, 4, 6, 6), (1, 4, 3, 9), (4, 6, 6)])
def test_all_sizes_are_right(shape):
    conv, made = layer()
    made.plan_for(torch.zeros(1, 4, 6, 6))
    x = torch.randn(shape)
    residual = torch.randn((*shape[:-3], 8, *shape[-2:]))
    expected = F.leaky_relu(exact(conv, x) + residual, 0.3)
    assert apart(made(x, residual), expected) < CLOSE


def test_the_kernel_is_for_one_size():
    _, made = layer()
    x = torch.randn(1, 4, 6, 6)
    made.plan_for(x)
    assert made.plan.sizes == ((1, 8, 8),)  # with what is replicated around it
    assert made.kept(x, None).kernel is not None
    assert "alone" in made.kept(x[..., 1:], None).reason


@pytest.mark.parametrize("keep_layout", [True, False])
def test_layout(keep_layout):
    _, made = layer(keep_layout)
    x = torch.randn(1, 4, 6, 6)
    assert made(x).is_contiguous() == keep_layout
    assert made(x.contiguous(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)


def test_its_weights_are_its_own_and_it_can_be_copied():
    conv, made = layer()
    x = torch.randn(1, 4, 6, 6)
    made.plan_for(x)
    wanted = made(x)
    conv.weight.data.zero_()
    assert torch.equal(made(x), wanted)
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(twin(x), wanted)
    assert not any(p.requires_grad for p in made.parameters())
    assert "activation=leaky_relu" in repr(made)


def test_input_of_another_dtype_is_computed_in_the_weights():
    conv, made = layer()
    x = torch.randn(1, 4, 6, 6)
    assert apart(made(x.double()), F.leaky_relu(exact(conv, x), 0.3)) < CLOSE


@pytest.mark.parametrize("width", [6, 7])
def test_under_autocast_it_is_what_torch_makes_of_the_layer(width):
    conv, made = layer()
    made.plan_for(torch.zeros(1, 4, 6, 6))
    x, residual = torch.randn(1, 4, 6, width), torch.randn(1, 8, 6, width)
    for other in (residual, residual.bfloat16()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, expected = made(x, other), F.leaky_relu(conv(x) + other, 0.3)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    assert made(x, residual).dtype == torch.float32


def test_gradients_reach_the_input():
    conv, made = layer()
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    made(x).sum().backward()
    wide = x.detach().double().requires_grad_()
    F.leaky_relu(copy.deepcopy(conv).double()(wide), 0.3).sum().backward()
    assert apart(x.grad, wide.grad) < CLOSE


@pytest.mark.parametrize("shape", [(1, 8, 1, 1), (8, 1, 1), (6,), (), (3, 8, 6, 6)])
@pytest.mark.parametrize("batch", [(), (1,)])
def test_a_residual_of_another_shape_is_added_by_torch(shape, batch):
    conv, made = layer(keep_layout=True)
    x, residual = torch.randn(*batch, 4, 6, 6), torch.randn(shape)
    made.plan_for(x)
    assert apart(made(x, residual), F.leaky_relu(exact(conv, x) + residual.double(), 0.3)) < CLOSE


def line():
    conv = nn.Conv1d(4, 8, 3)
    return conv, AcceleratedConv(conv, Asked())


def test_a_residual_in_one_dimension():
    conv, made = line()
    for x, residual in [(torch.randn(2, 4, 9), torch.randn(7)), (torch.randn(4, 9), torch.randn(2, 8, 1))]:
        made.plan_for(x)
        assert apart(made(x, residual), exact(conv, x) + residual.double()) < CLOSE


REFUSED = {
    layer: [(), (6, 6), (1, 1, 4, 6, 6), (1, 4, 6, 6)],
    line: [(), (6,), (1, 1, 4, 6), (1, 4, 6)],
}


@pytest.mark.parametrize(("make", "shape"), [(make, shape) for make, shapes in REFUSED.items() for shape in shapes])
def test_what_torch_refuses_is_refused_as_by_torch(make, shape):
    """Input without axes for channels or with too many, and complex numbers, whose imaginary part is not dropped."""
    conv, made = make()
    x = torch.randn(shape, dtype=torch.complex64 if shape == REFUSED[make][-1] else torch.float32)
    if not x.is_complex():
        conv.padding_mode = "zeros"  # else padding speaks first
    with pytest.raises(RuntimeError) as torchs:
        conv(x)
    with pytest.raises(RuntimeError, match=re.escape(str(torchs.value)[:20])):
        made(x)


@pytest.mark.parametrize("make", [layer, line])
def test_its_weight_has_the_shape_of_the_layers(make):
    conv, made = make()
    assert torch.equal(made.weight, conv.weight)
