"""bridge.conv_op: the operators under torch's own checks, gradients, layouts, misuse."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from bridge_cases import CLOSE, apart
from secateur.bridge.by_torch import convolved
from secateur.bridge.conv_op import conv2d
from secateur.bridge.layer import ConvLayer
from secateur.errors import KernelError

LAST = torch.channels_last
KINDS = [("none", 0.01), ("relu", 0.01), ("relu6", 0.01), ("leaky_relu", 0.2)]


def drawn(*, gradients=True, residual=True):
    torch.manual_seed(0)
    tensors = [torch.randn(2, 8, 7, 7), 0.5 * torch.randn(12, 8, 3, 3), torch.randn(12), torch.randn(2, 12, 7, 7)]
    x, weight, bias, other = (t.requires_grad_(gradients) for t in tensors)
    return x, weight, bias, other if residual else None


def layer(activation="none", slope=0.01, **more):
    return ConvLayer(padding=(1, 1, 1, 1), activation=activation, slope=slope, **more)


@pytest.mark.parametrize(("kind", "residual"), list(itertools.product(KINDS, (True, False))))
def test_values_and_gradients_equal_float64(kind, residual):
    given = drawn(residual=residual)
    wide = [None if t is None else t.detach().double().requires_grad_() for t in given]
    y = conv2d(*given, layer(*kind).text())
    expected = convolved(*wide, layer(*kind))
    assert apart(y, expected) < CLOSE
    assert y.is_contiguous(memory_format=LAST)
    torch.manual_seed(1)
    upstream = torch.randn(y.shape)
    y.backward(upstream)
    expected.backward(upstream.double())
    for found, wanted in zip(given, wide, strict=True):
        assert (found is None) == (wanted is None)
        if found is not None:
            assert apart(found.grad, wanted.grad) < CLOSE


def test_gradients_of_gradients():
    x, weight, bias, _ = drawn()
    wide = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    text = layer("relu").text()

    def second(y, inputs):
        (first,) = torch.autograd.grad(y.square().sum(), inputs[0], create_graph=True)
        return torch.autograd.grad(first.square().sum(), inputs[:2])

    found = second(conv2d(x, weight, bias, None, text), (x, weight))
    expected = second(convolved(*wide, None, layer("relu")), wide)
    assert all(apart(a, b) < 10 * CLOSE for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", ["conv2d", "conv2d_inference"])
@pytest.mark.parametrize("kind", [("none", 0.01), ("leaky_relu", 0.2)])
def test_operator_check(name, kind):
    given = drawn(gradients=name == "conv2d", residual=kind[0] != "none")
    torch.library.opcheck(getattr(torch.ops.secateur, name).default, (*given, layer(*kind).text()))
    other = layer(*kind, sizes=((1, 1, 1),)).text()
    torch.library.opcheck(getattr(torch.ops.secateur, name).default, (*given, other))


def test_the_operator_without_gradient_is_taken_where_none_is_asked_for():
    x, weight, bias, _ = drawn()
    with torch.no_grad():
        assert conv2d(x, weight, bias, None, layer().text()).grad_fn is None
    assert conv2d(x.detach(), weight.detach(), bias.detach(), None, layer().text()).grad_fn is None
    assert conv2d(x, weight.detach(), None, None, layer().text()).grad_fn is not None
    with torch.inference_mode():
        assert apart(conv2d(x, weight, bias, None, layer().text()), F.conv2d(x, weight, bias, padding=1)) < CLOSE


def test_sizes_a_layer_is_not_for_are_computed_by_torch():
    x, weight, bias, other = drawn(gradients=False)
    text = layer("relu", sizes=((1, 7, 7),)).text()
    assert torch.equal(conv2d(x, weight, bias, other, text), convolved(x, weight, bias, other, layer("relu")))


def test_weights_that_do_not_tell_when_they_change_are_left_to_torch():
    with torch.inference_mode():
        x, weight, bias, _ = drawn(gradients=False)
    text = layer().text()
    assert torch.equal(conv2d(x, weight, bias, None, text), convolved(x, weight, bias, None, layer()))
    with torch.inference_mode():
        weight.mul_(2)
    assert torch.equal(conv2d(x, weight, bias, None, text), convolved(x, weight, bias, None, layer()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 9, 7, 7)}, "do not fit"),
        ({"residual": torch.zeros(2, 12, 7, 8)}, "residual is"),
        ({"residual": torch.zeros(2, 12, 7, 7).double()}, "residual is"),
        ({"text": "sideways"}, "describes no convolution"),
    ],
)
def test_misuse(change, message):
    x, weight, bias, other = drawn(gradients=False)
    given = {"x": x, "weight": weight, "bias": bias, "residual": other, "text": layer().text()} | change
    with pytest.raises(KernelError, match=message):
        conv2d(*given.values())
