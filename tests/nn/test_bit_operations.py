"""nn.bit_operations: multiply-accumulates times widths, which map a weight reads, gradients."""

import pytest
import torch

from secateur.ir.plan_rows import MapPlan, TensorPlan
from secateur.nn.bit_operations import FLOAT_BITS, bit_operations, read_by


def test_by_hand():
    reads = {"a": ("x",), "b": ("x", "y"), "c": ()}
    found = bit_operations({"a": 10, "b": 100, "c": 1000}, {"a": 2, "b": 4}, {"x": 8, "y": 3}, reads)
    assert found == 10 * 2 * 8 + 100 * 4 * 8 + 1000 * FLOAT_BITS * FLOAT_BITS


def test_which_maps_a_weight_multiplies_ties_included():
    weights = {
        name: TensorPlan(name, "Linear", (2, 2), tied=tied) for name, tied in (("a", ()), ("b", ("b2",)), ("c", ()))
    }
    maps = [
        MapPlan("x", "ReLU", (2,), reads=("a", "b2")),
        MapPlan("y", "ReLU", (2,), reads=("b",)),
        MapPlan("z", "z", ()),
    ]
    assert read_by(weights, maps) == {"a": ("x",), "b": ("x", "y"), "c": ()}


def test_of_tensors_it_has_gradients():
    macs, bits, map_bits = (torch.tensor(value, requires_grad=True) for value in (10.0, 3.0, 5.0))
    found = bit_operations({"a": macs}, {"a": bits}, {"x": map_bits, "y": torch.tensor(2.0)}, {"a": ("x", "y")})
    found.backward()
    assert found.item() == 150
    assert [t.grad.item() for t in (macs, bits, map_bits)] == [15, 50, 30]


def test_nothing_takes_nothing():
    assert bit_operations({}, {}, {}, {}) == 0
    assert bit_operations({"a": 0}, {}, {}, {}) == pytest.approx(0)
