"""The vocabulary emits what it says, and emitted code stays as it was."""

import ctypes

import numpy as np
import pytest

from kernel_cases import GOLDEN, golden_modules
from secateur.kernels.code import FLOAT, I64, PTR, Module, literal, vector
from secateur.kernels.compiler import compile_object, load_objects
from secateur.kernels.target import host_target

TARGET = host_target()


def compiled(module, name, *kinds, result=None):
    library = load_objects([compile_object(module.text(), TARGET)], (name,), TARGET)
    function = ctypes.CFUNCTYPE(result, *kinds)(library.addresses[name])
    function.library = library
    return function


@pytest.mark.parametrize("name", sorted(golden_modules()))
def test_emitted_code_is_the_golden_listing(name):
    kept = (GOLDEN / f"{name}.ll").read_text(encoding="utf-8")
    assert golden_modules()[name] == kept, "if the change is meant: python tests/kernel_cases.py --write"


def test_no_golden_listing_is_left_over():
    assert {path.stem for path in GOLDEN.glob("*.ll")} == set(golden_modules())


def test_integers_loops_and_conditions():
    module = Module()
    f = module.function("f", {"n": I64}, I64)
    total = f.variable(I64, 0)
    with f.loop(1, f["n"], 2) as i:
        odd_tenth = (i % 10).equals(5)
        with f.when(odd_tenth):
            total.set(total.get() + 1000)
        with f.otherwise(odd_tenth):
            total.set(total.get() + i * 3 - 1 + 2 * i // 7)
    f.give(f.least(f.most(total.get(), -5), 10**9))
    run = compiled(module, "f", ctypes.c_int64, result=ctypes.c_int64)
    for n in (0, 1, 2, 7, 40):
        wanted = sum(1000 if i % 10 == 5 else i * 3 - 1 + 2 * i // 7 for i in range(1, n, 2))
        assert run(n) == wanted


def test_repeat_until_ends_at_the_condition_or_the_count():
    module = Module()
    f = module.function("f", {"stop": I64}, I64)
    turns = f.variable(I64, 0)
    with f.repeat_until(10) as until:
        turns.set(turns.get() + 1)
        until(turns.get() >= f["stop"])
    f.give(turns.get())
    run = compiled(module, "f", ctypes.c_int64, result=ctypes.c_int64)
    assert [run(stop) for stop in (1, 4, 10, 99)] == [1, 4, 10, 10]


@pytest.mark.parametrize("count", [-3, 0, 1, 3, 4, 9])
def test_masked_memory_touches_only_its_lanes(count):
    lanes = 4
    module = Module()
    f = module.function("f", {"x": PTR, "y": PTR, "count": I64})
    mask = f.lanes_below(f["count"], lanes)
    value = f.load_masked(vector(lanes), f["x"], mask)
    f.store_masked(value + f.splat(1.0, lanes), f["y"], mask)
    f.give()
    run = compiled(module, "f", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    x, y = np.arange(4, dtype=np.float32), np.full(6, -7, np.float32)
    run(x.ctypes.data, y.ctypes.data, count)
    within = max(0, min(count, lanes))
    np.testing.assert_array_equal(y, [*(x[:within] + 1), *[-7] * (6 - within)])


def test_floats_and_vectors():
    module = Module()
    f = module.function("f", {"x": PTR, "y": PTR})
    x = f.load(vector(8), f["x"])
    scalar = f.splat(f.load(FLOAT, f["x"] + 4), 8)
    y = f.fma(x, f.splat(0.1, 8), -scalar) * x - x
    f.store(f.choose(f.float_below(y, f.splat(0.0, 8)), x, y, vector(8)), f["y"])
    f.give()
    run = compiled(module, "f", ctypes.c_void_p, ctypes.c_void_p)
    x, y = np.linspace(-9, 30, 8).astype(np.float32), np.zeros(8, np.float32)
    run(x.ctypes.data, y.ctypes.data)
    wanted = (x * np.float32(0.1) - x[1]) * x - x
    np.testing.assert_allclose(y, np.where(wanted < 0, x, wanted), rtol=1e-5)


def test_shared_numbers():
    module = Module()
    f = module.function("f", {"p": PTR}, I64)
    before = f.add_atomic(f["p"], 5)
    swapped = f.exchange_if(f["p"], 6, 7)
    missed = f.exchange_if(f["p"], 6, 8)
    last = f.exchange(f["p"], 9)
    f.give(before * 1000 + swapped * 100 + missed * 10 + last)
    number = ctypes.c_int64(1)
    run = compiled(module, "f", ctypes.c_void_p, result=ctypes.c_int64)
    assert run(ctypes.addressof(number)) == 1000 + 600 + 70 + 7
    assert number.value == 9


def test_literals_are_the_float32():
    assert literal(1.0) == "0x3FF0000000000000"
    assert literal(0.1) == literal(float(np.float32(0.1)))
