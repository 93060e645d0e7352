"""Vectors number by number: every operation against numpy, also on NaN and at the ends of its range."""

import ctypes

import numpy as np
import pytest

from kernel_cases import HERE
from secateur.kernels import lanes
from secateur.kernels.build import CodeUnit, built
from secateur.kernels.code import PTR, Module, vector
from secateur.kernels.target import TARGETS

EXAMPLES = np.array([0.0, -0.0, 1.5, -2.0, 3e38, -1e-30, np.nan, np.inf], np.float32)


def applied(target, name, operation, *inputs, result=np.float32):
    """What the operation makes of vectors of 8 or more numbers, `lanes` at a time."""
    width = TARGETS[target].lanes
    module = Module()
    f = module.function("f", dict.fromkeys(("out", *"abc"[: len(inputs)]), PTR))
    f.store(operation(*(f.load(vector(width), f[letter]) for letter in "abc"[: len(inputs)])), f["out"])
    f.give()
    code = built(CodeUnit("lanes test", ("f",), f"{name} {target}", module.text), TARGETS[target])
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (1 + len(inputs)))(code.addresses["f"])
    size = -(-len(inputs[0]) // width) * width
    padded = [np.concatenate([x, np.ones(size - len(x), np.float32)]) for x in inputs]
    out = np.zeros(size, result)
    for start in range(0, size, width):
        addresses = [x.ctypes.data + x.itemsize * start for x in (out, *padded)]
        run(*addresses)
    return out[: len(inputs[0])]


@pytest.mark.parametrize("target", HERE)
def test_powers_of_two_are_within_one_unit_in_the_last_place(target):
    draw = np.random.default_rng(0)
    edges = np.array([-125, -0.5, 0, 0.5, 0.49999997, 1, 126.5, 127], np.float32)
    y = np.concatenate([edges, draw.uniform(-125, 127, 100_000), draw.uniform(-1, 1, 100_000)]).astype(np.float32)
    found = applied(target, "power", lanes.power_of_two, y)
    exact = np.exp2(y.astype(np.float64))
    units = np.abs(found - exact) / np.spacing(exact.astype(np.float32))
    assert units.max() < 1.0
    assert units[y == np.round(y)].max() == 0, "integers are exact"
    assert np.isnan(applied(target, "power", lanes.power_of_two, np.full(8, np.nan, np.float32))).all()


@pytest.mark.parametrize("target", HERE)
def test_logarithms_are_as_close_as_is_said(target):
    draw = np.random.default_rng(0)
    edges = np.array([1.0, 2.0, 0.5, 0.70710677, 0.7071068, 1.4142135, 1.2e-38, 3e38], np.float32)
    x = np.concatenate([edges, np.exp(draw.uniform(-87, 88, 100_000)), draw.uniform(0.5, 2, 100_000)])
    x = x.astype(np.float32)
    exact = np.log(x.astype(np.float64))
    found = applied(target, "logarithm", lanes.logarithm, x)
    assert (np.abs(found - exact) <= np.maximum(2 * np.spacing(np.abs(exact).astype(np.float32)), 1e-7)).all()
    assert found[0] == 0
    bad = np.array([np.nan, np.inf] * 4, np.float32)
    assert np.isnan(applied(target, "logarithm", lanes.logarithm, bad)).all()


def test_the_polynomial_is_as_close_as_is_said():
    f = np.linspace(-0.5, 0.5, 10_001)
    rounded = np.asarray(lanes.POWERS, np.float32).astype(np.float64)
    errors = np.abs(np.polynomial.polynomial.polyval(f, rounded) / np.exp2(f) - 1)
    assert 1.4e-8 < errors.max() < 1.6e-8


@pytest.mark.parametrize("target", HERE)
def test_signs_sizes_and_bounds(target):
    x, other = EXAMPLES, np.roll(EXAMPLES, 3)
    np.testing.assert_array_equal(applied(target, "absolute", lanes.absolute, x), np.abs(x))
    np.testing.assert_array_equal(applied(target, "floor", lanes.floor, x), np.floor(x))
    smaller = np.where(other < x, other, x)
    np.testing.assert_array_equal(applied(target, "at most", lanes.at_most, x, other), smaller)
    signed = applied(target, "sign", lanes.with_sign_of, np.abs(other), x)
    with np.errstate(invalid="ignore"):
        wanted = np.where(x == 0, 0, np.copysign(np.abs(other), x))
    np.testing.assert_array_equal(signed, wanted)


@pytest.mark.parametrize("target", HERE)
def test_comparisons_choose_lane_by_lane(target):
    a, b = EXAMPLES, np.roll(EXAMPLES, 1)
    relations = {"oeq": a == b, "ogt": a > b, "ole": a <= b}
    for relation, wanted in relations.items():

        def either(x, y, relation=relation):
            return lanes.chosen(lanes.compared(relation, x, y), x, y)

        np.testing.assert_array_equal(applied(target, relation, either, a, b), np.where(wanted, a, b))


@pytest.mark.parametrize("target", HERE)
def test_sums_are_taken_in_float64(target):
    width = TARGETS[target].lanes
    x = np.full(width, 2.0**-30, np.float32)
    x[width // 2] = 1.0
    out = np.zeros(width, np.float64)
    applied_sum = applied(target, "total", lambda v: lanes.total(lanes.widened(v)), x, result=np.float64)
    out[0] = 1 + (width - 1) * 2.0**-30
    assert applied_sum[0] == out[0]
