from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_networks import Net

from secateur.ir.units.layout import Layout
from secateur.ir.units.rules import reshaped, trace_units


@st.composite
def factorings(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Two shapes with the same number of elements, and an axis of the first."""
    factors = draw(st.lists(st.sampled_from((1, 2, 3)), min_size=1, max_size=5))

    def grouped() -> tuple[int, ...]:
        cuts = draw(st.lists(st.integers(0, len(factors)), max_size=3))
        edges = [0, *sorted(cuts), len(factors)]
        return tuple(int(np.prod(factors[a:b])) for a, b in pairwise(edges))

    before = grouped()
    return before, grouped(), draw(st.integers(0, len(before) - 1))


@given(factorings())
def test_reshaped_units_are_where_numpy_puts_them(case: tuple[tuple[int, ...], tuple[int, ...], int]):
    before, after, axis = case
    units = np.arange(before[axis])
    column = (-1, *(1,) * (len(before) - axis - 1))
    places = np.broadcast_to(units.reshape(column), before).reshape(after)
    layout = reshaped(before, after, Layout(axis, units))
    uniform = [k for k in range(len(after)) if np.array_equal(places, _spread(_line(places, k), k, after))]
    if layout is None:
        assert not uniform or before[axis] == 1
        return
    np.testing.assert_array_equal(layout.units, _line(places, layout.axis))
    assert layout.axis in uniform


def _line(places: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(places, axis, 0).reshape(places.shape[axis], -1)[:, 0]


def _spread(line: np.ndarray, axis: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(line.reshape(-1, *(1,) * (len(shape) - axis - 1)), shape)


def test_units_do_not_merge_with_the_batch():
    units = np.arange(3)
    assert reshaped((-1, 3, 4), (-3, 4), Layout(1, units)) is None
    assert reshaped((-1, 3), (-3,), Layout(1, units)) is None
    found = reshaped((-1, 2, 3), (-2, 3), Layout(2, units))
    assert found is not None
    assert found.axis == 1


def pins(net: Net) -> set[str]:
    return set(trace_units(net.graph(net.nodes[-1].output), net.constants).pinned().values()) - {
        "a result of the network"
    }


def chain(op: str, *constants: Any, tail: bool = True, **attributes: Any) -> Net:
    """conv -> op -> conv."""
    net = Net(-1, 2, 4, 4)
    x = net.conv("x", "first", 4)
    names = [net.constant(f"c{k}", array) for k, array in enumerate(constants)]
    x = net.add(op, x, *names, **attributes)
    if tail:
        net.conv(x, "last", 2)
    return net


ones = np.ones(4)
STOPS = {
    "softmax": (chain("softmax", axis=1), "read by softmax"),
    "log_softmax": (chain("log_softmax", axis=1), "read by log_softmax"),
    "layer_norm": (chain("layer_norm", ones, ones, eps=1e-5), "read by layer_norm"),
    "group_norm": (chain("group_norm", ones, ones, groups=2, eps=1e-5), "read by group_norm"),
    "matmul": (chain("matmul", np.eye(4)), "read by matmul"),
    "mean": (chain("mean", axes=(1,), keepdims=True), "mean over the units"),
    "step": (chain("slice", axis=1, start=0, stop=4, step=2), "sliced with a step"),
    "pad": (chain("pad", pads=(0, 0, 1, 0, 0, 0, 0, 0), mode="constant", value=0.0), "padded with more channels"),
    "cast": (chain("cast", dtype="int64", tail=False), "cast to another type"),
    "div": (chain("div", np.ones((4, 1, 1))), "divided by something else than one finite constant"),
    "div0": (chain("div", 0.0), "divided by something else than one finite constant"),
    "eps": (chain("batch_norm", ones, ones, ones, ones, eps=0.0), "read by a batch norm with eps 0"),
    "variance": (chain("batch_norm", ones, ones, ones, -ones, eps=0.1), "c3 is not positive there"),
    "split": (chain("reshape", shape=(-1, 2, 8, 4)), "split or merged with the batch by a reshape"),
    "linear": (chain("linear", np.eye(4)), "read by linear along another axis"),
}


@pytest.mark.parametrize("case", STOPS)
def test_what_is_not_understood_pins_its_units(case: str):
    net, reason = STOPS[case]
    assert reason in pins(net)


@pytest.mark.parametrize(
    "net",
    [
        chain("div", 2.0),
        chain("prelu", [0.1]),
        chain("prelu", ones),
        chain("cast", dtype="float32"),
        chain("mean", axes=(2, 3), keepdims=True),
        chain("expand", shape=(-1, 4, 4, 4)),
    ],
)
def test_what_is_understood_pins_nothing(net: Net):
    assert pins(net) == set()


def test_units_that_compute_a_parameter_are_pinned():
    net = Net(4, 4)
    scale = net.add(
        "reshape", net.add("slice", net.linear("x", "made", 4), axis=0, start=0, stop=1, step=1), shape=(4,)
    )
    statistics = [net.constant(name, np.ones(4)) for name in ("bias", "mean", "variance")]
    net.add("batch_norm", "x", scale, *statistics, eps=1e-5)
    assert "computes a parameter of a batch_norm" in pins(net)
