"""nn.dynamic_levels: equal to the numpy definition bit for bit, straight through, opaque to torch.compile."""

import numpy as np
import pytest
import torch

from secateur.ir.ops import OPS
from secateur.nn.dynamic_levels import dynamic_quantize

LEAST = torch.tensor(2.0**-24)
AXES = [(2,), (1, 2), (1,)]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_equals_the_definition_bit_for_bit(bits, signed, axes):
    x = torch.randn(7, 5, 33, generator=torch.Generator().manual_seed(bits)) * torch.logspace(-9, 4, 7)[:, None, None]
    x[0, 0] = 0.0
    expected = OPS["dynamic_quantize"].run(
        [x.numpy(), LEAST.numpy()], {"bits": bits, "signed": signed, "axes": axes}, 7
    )
    np.testing.assert_array_equal(dynamic_quantize(x, LEAST, bits, signed=signed, axes=axes).numpy(), expected)


def test_narrow_types_are_computed_in_float32():
    x = torch.randn(4, 9).bfloat16()
    found = dynamic_quantize(x, LEAST, 8, signed=True, axes=(1,))
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, dynamic_quantize(x.float(), LEAST, 8, signed=True, axes=(1,)).bfloat16())
    assert dynamic_quantize(torch.zeros(0, 3), LEAST, 8, signed=True, axes=(1,)).shape == (0, 3)


def test_gradients_pass_straight_through_inside_the_range():
    x = torch.tensor([[-2.0, 0.3, 1.0]], requires_grad=True)
    upstream = torch.tensor([[1.0, 2.0, 3.0]])
    dynamic_quantize(x, LEAST, 8, signed=True, axes=(1,)).backward(upstream)
    assert torch.equal(x.grad, upstream)
    x.grad = None
    dynamic_quantize(x, LEAST, 8, signed=False, axes=(1,)).backward(upstream)
    assert torch.equal(x.grad, torch.tensor([[0.0, 2.0, 3.0]])), "what is negative has no code"


def test_does_not_break_a_compiled_graph():
    x = torch.randn(3, 8)
    run = torch.compile(
        lambda x: dynamic_quantize(x, LEAST, 8, signed=True, axes=(1,)) * 2, fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(run(x), dynamic_quantize(x, LEAST, 8, signed=True, axes=(1,)) * 2)
