"""bridge.accelerated_linear: a linear layer on the number of tokens it is for and on others."""

import copy
import re

import pytest
import torch
from torch import nn

import secateur as sct
from bridge_cases import CLOSE, apart, exact
from secateur.bridge import accelerated_linear
from secateur.bridge.accelerated_conv import Asked
from secateur.bridge.accelerated_linear import AcceleratedLinear, as_conv


def pruned(inputs=20, outputs=33, bias=True):
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        layer.weight.mul_(torch.rand(outputs, inputs) < 0.1)
    return layer


def made_for(x, **options):
    layer = pruned(**options)
    made = AcceleratedLinear(layer, Asked(), activation="leaky_relu", slope=0.3)
    made.plan_for(x)
    return layer, made


@pytest.mark.parametrize("shape", [(20,), (1, 20), (17, 20), (2, 3, 20), (0, 20), (2, 0, 20), (4, 9, 20)])
@pytest.mark.parametrize("bias", [True, False])
def test_all_numbers_of_tokens_are_right(shape, bias):
    layer, made = made_for(torch.zeros(2, 3, 20), bias=bias)
    x, residual = torch.randn(shape), torch.randn(*shape[:-1], 33)
    expected = nn.functional.leaky_relu(exact(layer, x) + residual, 0.3)
    assert apart(made(x, residual), expected) < CLOSE
    assert apart(made(x), nn.functional.leaky_relu(exact(layer, x), 0.3)) < CLOSE


def test_the_kernel_is_for_one_number_of_tokens():
    x = torch.randn(2, 3, 20)
    _, made = made_for(x)
    assert made.plan.sizes == ((1, 1, 6),)
    assert made.kept(x, None).kernel.choice.zeros >= 0.85
    assert made(x).is_contiguous()


def test_rows_that_do_not_lie_side_by_side():
    x = torch.randn(20, 6).T
    layer, made = made_for(x)
    assert apart(made(x), nn.functional.leaky_relu(exact(layer, x), 0.3)) < CLOSE


def test_other_dtypes_and_autocast():
    layer, made = made_for(torch.zeros(6, 20))
    x = torch.randn(6, 20)
    assert made(x.double()).dtype == torch.float32
    assert apart(made(x.double()), nn.functional.leaky_relu(exact(layer, x), 0.3)) < CLOSE
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(x), nn.functional.leaky_relu(layer(x), 0.3))


def test_its_weights_are_its_own():
    x = torch.randn(6, 20)
    layer, made = made_for(x)
    wanted = made(x)
    layer.weight.data.zero_()
    assert torch.equal(made(x), wanted)
    assert torch.equal(copy.deepcopy(made)(x), wanted)


def test_as_a_convolution():
    layer, x = pruned(), torch.randn(5, 20)
    assert torch.equal(as_conv(layer).weight[:, :, 0, 0], layer.weight)
    assert apart(as_conv(layer)(x[:, :, None, None])[:, :, 0, 0], exact(layer, x)) < CLOSE


class Classifier(nn.Module):
    """Two linear layers with many zeros around a shortcut, one without."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = pruned(20, 40), pruned(40, 20), nn.Linear(20, 5)

    def forward(self, x):
        return self.c(x + self.b(torch.relu(self.a(x))))


@pytest.mark.parametrize("shape", [(7, 20), (2, 3, 20), (20,)])
def test_in_a_model(shape):
    model, x = Classifier().eval(), torch.randn(shape)
    fast = sct.accelerate(model, x, measure=False)
    assert apart(fast(x), exact(model, x)) < CLOSE
    assert {row.name: row.fused for row in fast.report.layers} == {"a": ("relu",), "b": ("residual",), "c": ()}
    assert fast.report.replaced == 2
    rows = fast.report.layers[:2]
    assert all(0.8 < float(row.zeros.split("%")[0]) / 100 < 0.97 for row in rows)
    assert "0% zeros, not n of 16" in fast.report.layers[2].reason
    other = torch.randn(11, 20)
    assert apart(fast(other), exact(model, other)) < CLOSE


def test_too_few_zeros_are_told():
    model = nn.Sequential(nn.Linear(20, 20), nn.ReLU()).eval()
    model[0].weight.data[:12] = 0
    (row,) = sct.accelerate(model, torch.randn(3, 20), measure=False).report.layers
    assert row.algorithm is None
    assert "60% zeros" in row.reason


def test_it_compiles_to_one_graph_and_exports():
    model, x = Classifier().eval(), torch.randn(7, 20)
    fast = sct.accelerate(model, x, measure=False)
    torch._dynamo.reset()
    with torch.no_grad():
        assert apart(torch.compile(fast, fullgraph=True, backend="aot_eager")(x), exact(model, x)) < CLOSE
    program = torch.export.export(fast, (x,))
    assert program.graph_module.code.count("secateur.conv2d_inference") == 2
    assert apart(program.module()(x), exact(model, x)) < CLOSE


def test_where_nothing_can_be_traced():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = pruned()

        def forward(self, x):
            return self.layer(x) if x.sum() < 1e9 else x

    model, x = Branching().eval(), torch.randn(4, 20)
    fast = sct.accelerate(model, x, measure=False)
    assert apart(fast(x), exact(model, x)) < CLOSE
    assert fast.report.replaced == 1


@pytest.mark.parametrize("shape", [(6, 20), (2, 3, 20), (1, 20), (20,)])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_at_once_is_what_the_operator_gives(shape, mode, monkeypatch):
    x, residual = torch.randn(shape), torch.randn(*shape[:-1], 33)
    _, made = made_for(x)
    with mode():
        through = [made(x), made(x, residual)]  # kernels are made by the operator
        monkeypatch.setattr(accelerated_linear, "conv2d", lambda *_: pytest.fail("not at once"))
        assert torch.equal(made(x), through[0])
        assert torch.equal(made(x, residual), through[1])
        assert made(x).shape == (*shape[:-1], 33)
        assert made(x).is_inference() == (mode is torch.inference_mode)


def test_weights_changed_in_place_are_seen_at_once():
    x = torch.randn(6, 20)
    layer, made = made_for(x)
    made(x), made(x)
    with torch.no_grad():
        made.wide_weight.mul_(2), layer.weight.mul_(2)
        made.bias.add_(1), layer.bias.add_(1)
    assert apart(made(x), nn.functional.leaky_relu(exact(layer, x), 0.3)) < CLOSE
    made.wide_weight = nn.Parameter(torch.zeros_like(made.wide_weight), requires_grad=False)
    assert torch.equal(made(x), nn.functional.leaky_relu(made.bias, 0.3).expand(6, 33))


def test_rows_and_residuals_that_do_not_lie_side_by_side_go_through_the_operator():
    x, residual = torch.randn(6, 20), torch.randn(6, 33)
    _, made = made_for(x)
    expected = made(x, residual), made(x, residual)
    assert torch.equal(*expected)
    assert torch.equal(made(x.T.contiguous().T, residual.T.contiguous().T), expected[0])
    with pytest.raises(RuntimeError, match="must match"):
        made(x, residual[:2])


@pytest.mark.parametrize("shape", [(1, 33), (33,), (), (2, 6, 33)])
def test_a_residual_of_another_shape_is_added_by_torch(shape):
    x, residual = torch.randn(6, 20), torch.randn(shape)
    layer, made = made_for(x)
    wanted = nn.functional.leaky_relu(exact(layer, x) + residual.double(), 0.3)
    assert apart(made(x, residual), wanted) < CLOSE


@pytest.mark.parametrize("x", [torch.randn(()), torch.randn(3, 21), torch.randn(6, 20, dtype=torch.complex64)])
def test_what_torch_refuses_is_refused_as_by_torch(x):
    layer, made = made_for(torch.randn(6, 20))
    with pytest.raises(RuntimeError) as torchs:
        layer(x)
    with pytest.raises(RuntimeError, match=re.escape(str(torchs.value)[:20])):
        made(x)


def test_its_weight_has_the_shape_of_the_layers():
    layer, made = made_for(torch.randn(6, 20))
    assert torch.equal(made.weight, layer.weight)
