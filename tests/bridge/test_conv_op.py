"""bridge.conv_op: the operators under torch's own checks, gradients, layouts, misuse."""

import itertools

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from bridge_cases import CLOSE, apart
from secateur.bridge.by_torch import convolved
from secateur.bridge.conv_op import at_once, conv2d
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


def leaves(inputs, y, depth):
    """Gradients of gradients of y, to a depth, each of its own square."""
    for _ in range(depth):
        (found,) = torch.autograd.grad(y.square().sum(), inputs[0], create_graph=True)
        y = found
    return torch.autograd.grad(y.square().sum(), inputs)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (0, 2, 2, 1)])
def test_gradients_of_gradients(depth, padding):
    x, weight, bias, _ = drawn()
    wide = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    kind = ConvLayer(padding=padding, activation="leaky_relu", slope=0.3)
    found = leaves((x, weight), conv2d(x, weight, bias, None, kind.text()), depth)
    expected = leaves(wide[:2], convolved(*wide, None, kind), depth)
    assert all(apart(a, b) < 10 * CLOSE for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(("groups", "dilation"), [(1, (1, 1)), (2, (1, 2))])
def test_a_transposed_layer_is_the_transpose(groups, dilation):
    """<conv(x), g> = <x, adjoint(g)>, by kernels as by torch, and with all its gradients."""
    torch.manual_seed(0)
    plain = ConvLayer(padding=(1, 0, 2, 1), dilation=dilation, groups=groups)
    weight = torch.randn(12, 8 // groups, 3, 3, requires_grad=True)
    x = torch.randn(1, 8, 7, 7, dtype=torch.float64)
    y = convolved(x, weight.double(), None, None, plain)
    g = torch.randn(y.shape, requires_grad=True)
    adjoint = plain.adjoint((3, 3))
    assert adjoint.adjoint((3, 3)) == plain
    back = conv2d(g, weight, None, None, adjoint.text())
    assert (y * g).sum().item() == pytest.approx((x * back).sum().item(), rel=1e-4)
    wide = [t.detach().double().requires_grad_() for t in (g, weight)]
    expected = convolved(*wide, None, None, adjoint)
    assert apart(back, expected) < CLOSE
    for found, wanted in zip(leaves((g, weight), back, 1), leaves(wide, expected, 1), strict=True):
        assert apart(found, wanted) < 10 * CLOSE


def test_padding_no_transpose_can_have():
    x, weight, _, _ = drawn(gradients=False)
    with pytest.raises(KernelError, match="cannot have padding"):
        convolved(x.transpose(0, 1), weight, None, None, ConvLayer(padding=(3, 3, 3, 3), transposed=True))


@pytest.mark.parametrize("name", ["conv2d", "conv2d_inference"])
@pytest.mark.parametrize("kind", [("none", 0.01), ("leaky_relu", 0.2)])
def test_operator_check(name, kind):
    operator = getattr(torch.ops.secateur, name).default
    given = drawn(gradients=name == "conv2d", residual=kind[0] != "none")
    torch.library.opcheck(operator, (*given, layer(*kind).text()), rtol=1e-3, atol=1e-4)
    by_torch = layer(*kind, sizes=((1, 1, 1),)).text()
    torch.library.opcheck(operator, (*given, by_torch), test_utils=("test_schema", "test_faketensor"))


def test_operator_check_of_a_transposed_layer():
    _, weight, _, g = drawn()
    text = layer().adjoint((3, 3)).text()
    torch.library.opcheck(torch.ops.secateur.conv2d.default, (g, weight, None, None, text), rtol=1e-3, atol=1e-4)


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


class Watcher(TorchDispatchMode):
    """Names of the operators that were called."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


def kept_for(given, text):
    x, weight, bias, residual = given
    return at_once((text, x.shape, residual is not None), x, weight, bias, residual)


def test_at_once_where_the_dispatcher_has_nothing_to_do():
    given, text = drawn(gradients=False), layer("relu").text()
    assert kept_for(given, text) is None  # nothing is made
    first = conv2d(*given, text)
    assert kept_for(given, text) is not None
    assert torch.equal(conv2d(*given, text), first)
    given[1].mul_(2)
    assert kept_for(given, text) is None
    assert apart(conv2d(*given, text), convolved(*(t.double() for t in given), layer("relu"))) < CLOSE
    assert kept_for(given, text) is not None


def test_not_at_once_where_it_has():
    given, text = drawn(gradients=False), layer().text()
    expected = conv2d(*given, text)
    x, weight, bias, residual = given
    assert kept_for(given, text) is not None
    with Watcher() as watcher:
        assert torch.equal(conv2d(*given, text), expected)
    assert "secateur::conv2d_inference" in watcher.seen
    with torch.profiler.profile() as profile:
        conv2d(*given, text)
    assert any(event.key == "secateur::conv2d_inference" for event in profile.key_averages())
    with torch.autocast("cpu"):
        assert kept_for(given, text) is None
    with torch.device("cpu"):
        assert kept_for(given, text) is None
    for needing in (x, weight, bias, residual):
        needing.requires_grad_()
        assert kept_for(given, text) is None
        assert conv2d(*given, text).requires_grad
        with torch.no_grad():
            assert kept_for(given, text) is not None
        needing.requires_grad_(False)
    negated = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert negated.is_neg()
    assert kept_for((negated, weight, bias, residual), text) is None
    assert torch.equal(conv2d(negated, weight, bias, residual, text), expected)
    assert kept_for((x.double(), weight, bias, residual), text) is None
    assert kept_for((torch.nn.Buffer(x), weight, bias, residual), text) is not None
    assert kept_for((x, weight, bias, residual.as_subclass(Own)), text) is None
    batched = torch.func.vmap(lambda one: conv2d(one[None], weight, bias, None, text)[0])(x)
    assert apart(batched, conv2d(x, weight, bias, None, text)) < CLOSE


class Own(torch.Tensor):
    """A kind of tensor of somebody's own."""
