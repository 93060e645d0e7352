"""nn.maps.operations: every way to write an operation has the same word, and what depends on settings is told apart."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secateur.nn.fx_graph import calls_of
from secateur.nn.maps.operations import (
    CALLS,
    FACTS,
    KEEPS_GRID,
    KEEPS_SIGN,
    MODULES,
    NOT_NEGATIVE,
    READS_CODES,
    function_of,
    operands,
    word_of,
)

WORDS = READS_CODES | KEEPS_GRID | NOT_NEGATIVE | {"multihead", FACTS}


class Of(nn.Module):
    def __init__(self, call, module=None):
        super().__init__()
        self.call, self.inner = call, module

    def forward(self, x):
        return self.call(x) if self.inner is None else self.inner(x)


def last_call(call, module=None):
    calls = calls_of(Of(call, module), 1)
    return [node for node in calls.module.graph.nodes if node.op != "output"][-1], calls.module


def word(call):
    node, module = last_call(call, call if isinstance(call, nn.Module) else None)
    return word_of(node, module)


def test_every_word_of_the_tables_means_something():
    assert {found for _, found in MODULES} | set(CALLS.values()) <= WORDS
    assert KEEPS_SIGN <= WORDS
    assert not KEEPS_GRID & READS_CODES


@pytest.mark.parametrize(
    ("expected", "ways"),
    [
        ("relu", [nn.ReLU(), F.relu, F.relu_, torch.relu, lambda x: x.relu(), lambda x: x.relu_()]),
        ("add", [lambda x: x + x, lambda x: x.add(x), lambda x: x.add_(x), lambda x: torch.add(x, other=x)]),
        ("add", [lambda x: operator.iadd(x, x)]),
        ("concat", [lambda x: torch.cat([x, x]), lambda x: torch.concat((x, x), 1), lambda x: torch.stack([x, x])]),
        ("convolution", [nn.Conv1d(1, 1, 1), nn.LazyConv2d(2, 1), lambda x: F.conv2d(x, x)]),
        ("transposed", [nn.ConvTranspose2d(1, 1, 1), lambda x: F.conv_transpose1d(x, x)]),
        ("linear", [nn.Linear(1, 1), lambda x: F.linear(x, x)]),
        (
            "product",
            [lambda x: x @ x, torch.matmul and (lambda x: torch.bmm(x, x)), lambda x: torch.einsum("ij,jk", x, x)],
        ),
        ("average_pool", [nn.AvgPool2d(2), nn.AdaptiveAvgPool1d(1), lambda x: F.avg_pool2d(x, 2)]),
        ("mean", [lambda x: x.mean((2, 3)), lambda x: torch.mean(x, 1)]),
        ("max_pool", [nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(1), lambda x: F.max_pool2d(x, 2)]),
        ("reshape", [nn.Flatten(), torch.flatten, lambda x: x.view(-1), lambda x: x.T, lambda x: x.mT]),
        ("slice", [lambda x: x[:, 1], lambda x: x.chunk(2), lambda x: torch.split(x, 2)]),
        ("dropout", [nn.Dropout2d(), F.dropout, lambda x: F.dropout2d(x, 0.5)]),
        (
            "pad",
            [nn.ZeroPad2d(1), nn.ReflectionPad1d(1), lambda x: F.pad(x, (1, 1)), lambda x: F.pad(x, [1, 1], "reflect")],
        ),
        ("upsample", [nn.Upsample(scale_factor=2), lambda x: F.interpolate(x, scale_factor=2)]),
        (
            "positive",
            [nn.ReLU6(), nn.Sigmoid(), nn.Hardtanh(0, 4), lambda x: x.clamp(0, 3), lambda x: x.clamp(min=0.0)],
        ),
        ("positive", [lambda x: x.softmax(-1), lambda x: F.hardtanh(x, 0, 1), lambda x: abs(x) if False else x.abs()]),
        (FACTS, [lambda x: x.shape, lambda x: x.size(0), lambda x: x.dim(), lambda x: x.device]),
        ("attention", [lambda x: F.scaled_dot_product_attention(x, x, x)]),
        ("", [nn.GELU(), nn.Hardtanh(), nn.Upsample(scale_factor=2, mode="bilinear"), nn.BatchNorm2d(1)]),
        ("", [lambda x: x.clamp(-1, 1), lambda x: x.clamp(max=1), lambda x: F.pad(x, (1, 1), value=2.0)]),
        ("", [lambda x: F.interpolate(x, None, 2, "bilinear"), lambda x: x * x, nn.Softsign()]),
    ],
)
def test_words(expected, ways):
    assert [word(way) for way in ways] == [expected] * len(ways)


def test_names_of_functions_are_those_people_say():
    for call, name in ((F.relu_, "relu"), (lambda x: x.add_(x), "add"), (lambda x: F.max_pool2d(x, 2), "max_pool2d")):
        assert function_of(last_call(call)[0]) == name


def test_operands_are_the_tensors_that_are_computed_with():
    for call, count in (
        (lambda x: torch.cat([x, x.relu(), x]), 3),
        (lambda x: torch.cat(tensors=(x, x)), 2),
        (lambda x: x + 1, 1),
        (lambda x: torch.add(x, x.relu(), alpha=2), 2),
        (lambda x: torch.einsum("ij,jk,kl", x, x, x), 3),
        (lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=x), 3),
        (lambda x: F.linear(x, x, x), 1),
        (lambda x: F.adaptive_avg_pool2d(input=x, output_size=1), 1),
    ):
        node, module = last_call(call)
        assert len(operands(node, word_of(node, module))) == count
