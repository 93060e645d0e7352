"""Laws of generated linear layers: the float64 sum, for every size, target, pattern, epilogue, thread count."""

import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_cases import HERE, error
from linear_cases import BYTE_FORMS, byte_weight, guarded_result, linear_case, linear_result
from secateur.ir.balanced_format import COUNTS, balanced_codes
from secateur.ir.formats import Quantized
from secateur.ir.grid import Grid
from secateur.kernels.epilogue import ACTIVATIONS, Epilogue
from secateur.kernels.linear import LinearKernel, LinearOptions, linear
from secateur.kernels.linear_form import MOST_TOKENS

TOLERANCE = 3e-6
"""Far below what a wrong place or token does (order 1), above what rounding does at a few hundred inputs."""
FLOAT_TOKENS = MOST_TOKENS["float32"]
EDGES = [1, 15, 16, 17, 33]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("target", HERE)
def test_every_size_around_a_vector(target, count):
    for outputs, inputs in zip(EDGES, [33, 64, 63, 129, 16], strict=True):
        for tokens in (0, 1, 2, 3, FLOAT_TOKENS[target] - 1, FLOAT_TOKENS[target], FLOAT_TOKENS[target] + 1):
            case = linear_case(tokens, (outputs, inputs), count)
            found = linear_result(case, case.kernel(target=target))
            assert found.shape == (tokens, outputs)
            assert error(found, case.expected()) < TOLERANCE


@pytest.mark.parametrize("target", HERE)
def test_columns_and_rows_beyond_a_chunk(target):
    for count in (1, 4):
        case = linear_case(2 * FLOAT_TOKENS[target] + 1, (600, 2000), count)
        assert error(linear_result(case, case.kernel(target=target)), case.expected()) < TOLERANCE


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_epilogue(activation, residual):
    case = linear_case(3, (19, 40), 4, Epilogue(activation, residual=residual, slope=0.2))
    case = replace(case, bias=4 * case.bias)
    assert error(linear_result(case, case.kernel()), case.expected()) < TOLERANCE


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(threads):
    for tokens, sizes in ((1, (8, 16)), (1, (700, 300)), (37, (100, 300))):
        case = linear_case(tokens, sizes, 2)
        alone, together = (linear_result(case, case.kernel(threads=count)) for count in (1, threads))
        np.testing.assert_array_equal(alone, together)


@settings(max_examples=20)
@given(data=st.data())
def test_any_layer(data):
    sizes = st.integers(1, 150)
    count, target = data.draw(st.sampled_from(COUNTS)), data.draw(st.sampled_from(HERE))
    case = linear_case(data.draw(st.integers(0, 40)), (data.draw(sizes), data.draw(sizes)), count)
    case.weight[:, data.draw(sizes) % case.weight.shape[1]] = 0  # groups with fewer than n
    assert error(linear_result(case, case.kernel(target=target)), case.expected()) < TOLERANCE


def test_several_python_threads_at_once():
    case = linear_case(5, (300, 200), 4)
    kernel, wrong, start = case.kernel(threads=2), [], threading.Barrier(4)
    wanted = linear_result(case, kernel)

    def work() -> None:
        start.wait()
        for _ in range(20):
            if not np.array_equal(kernel(case.x), wanted):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_computes_the_same():
    case = linear_case(5, (300, 200), 4)
    kernel = case.kernel(threads=2)
    wanted = kernel(case.x)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(kernel(case.x), wanted) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("target", HERE)
def test_a_planted_fault_is_seen(target):
    case = linear_case(4, (40, 90), 4)
    wrong = case.weight.copy()
    wrong[7, np.flatnonzero(wrong[7])[3]] += 0.01
    found = linear_result(case, case.kernel(target=target))
    assert error(found, case.expected()) < TOLERANCE < error(found, replace(case, weight=wrong).expected())


def test_a_number_that_is_not_finite_is_seen():
    case = linear_case(3, (20, 32), 4)
    case.x[1, np.flatnonzero(case.weight[5])[0]] = np.nan
    found = linear_result(case, case.kernel())
    assert np.isnan(found[1, 5])
    assert np.isfinite(found[[0, 2]]).all()


def checked(name: str, sizes: tuple[int, int, int], count: int, target: str, scale: float = 0.0) -> None:
    """A kernel on bytes equals its twin bit for bit; with scales for groups of columns but for rounding."""
    tokens, outputs, inputs = sizes
    case, weight = linear_case(tokens, (outputs, inputs), 1), byte_weight(name, (outputs, inputs), count)
    kernel = LinearKernel(tokens, weight, case.bias, options=LinearOptions(target=target, scale=scale))
    found, wanted = guarded_result(kernel, case.x), linear(case.x, weight, case.bias, scale=scale)
    if name.endswith("group"):
        assert error(found, wanted) < 10 * TOLERANCE, "the offset of activations is taken off in float32"
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", BYTE_FORMS)
@pytest.mark.parametrize("target", HERE)
def test_bytes_of_every_size_around_a_vector(target, name, count):
    most = MOST_TOKENS["bytes"][target]
    for outputs, inputs, tokens in zip(EDGES, [33, 64, 63, 129, 16], [1, most, 2, most + 1, 0], strict=True):
        checked(name, (tokens, outputs, inputs), count, target)


@pytest.mark.parametrize("name", BYTE_FORMS)
@pytest.mark.parametrize("target", HERE)
def test_bytes_of_a_large_layer_dynamic_and_static(target, name):
    for scale in (0.0, 0.01):
        checked(name, (23, 300, 1000), 4, target, scale)


@settings(max_examples=20)
@given(data=st.data())
def test_any_layer_on_bytes(data):
    name, count = data.draw(st.sampled_from(BYTE_FORMS)), data.draw(st.sampled_from(COUNTS))
    sizes = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 80)), data.draw(st.integers(1, 200))
    checked(name, sizes, count, data.draw(st.sampled_from(HERE)))


@pytest.mark.parametrize("name", BYTE_FORMS)
def test_threads_change_nothing_on_bytes(name):
    case, weight = linear_case(30, (200, 300), 1), byte_weight(name, (200, 300), 4)
    alone, together = (LinearKernel(30, weight, options=LinearOptions(threads=count)) for count in (1, 3))
    np.testing.assert_array_equal(guarded_result(alone, case.x), guarded_result(together, case.x))


@pytest.mark.parametrize("target", HERE)
def test_the_largest_sums_are_exact(target):
    """Codes and activations at their ends: where a sum of two products would saturate, it would be seen here."""
    codes = np.full((20, 640), -127, np.int8)
    codes[::2] = 127
    weight = Quantized(codes, Grid(8, np.ones(20, np.float32)))
    sparse = balanced_codes(np.where(np.arange(640) % 2, codes, 0).astype(np.int8), np.ones(20, np.float32))
    x = np.where(np.arange(640) % 3, 1.0, -1.0).astype(np.float32)[None].repeat(5, 0)
    for one in (weight, sparse):
        kernel = LinearKernel(5, one, options=LinearOptions(target=target))
        np.testing.assert_array_equal(guarded_result(kernel, x), linear(x, one))
        assert abs(linear(x, one)).max() > 100 * 127


@pytest.mark.parametrize("residual", [False, True])
def test_epilogue_on_bytes(residual):
    case = linear_case(3, (19, 40), 4, Epilogue("relu", residual=residual))
    weight = byte_weight("int8", (19, 40), 4)
    kernel = LinearKernel(3, weight, case.bias, epilogue=case.epilogue)
    wanted = case.epilogue(linear(case.x, weight), case.bias, case.residual)
    np.testing.assert_array_equal(guarded_result(kernel, case.x, case.residual), wanted)


@pytest.mark.parametrize("name", BYTE_FORMS)
def test_a_token_that_is_not_finite_is_seen(name):
    weight = byte_weight(name, (20, 70), 4)
    for value in (np.nan, np.inf, -np.inf):
        x = np.ones((3, 70), np.float32)
        x[1, 65] = value
        for scale in (0.0, 0.1):
            found = guarded_result(LinearKernel(3, weight, options=LinearOptions(scale=scale)), x)
            assert np.isnan(found[1]).all()
            assert np.isfinite(found[[0, 2]]).all()


def test_a_planted_fault_on_bytes_is_seen():
    case, weight = linear_case(4, (40, 90), 1), byte_weight("dense int8", (40, 90), 4)
    assert isinstance(weight, Quantized)
    wrong = weight.codes.copy()
    wrong[7, 3] += 1 if wrong[7, 3] < 0 else -1
    found = guarded_result(LinearKernel(4, weight), case.x)
    assert not np.array_equal(found, linear(case.x, Quantized(wrong, weight.grid)))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", BYTE_FORMS)
@pytest.mark.parametrize("target", HERE)
def test_one_token_and_any_number_of_blocks_of_rows(target, name, count):
    """With one token, blocks may be summed two at a time."""
    for outputs in (16, 17, 48, 1040):
        checked(name, (1, outputs, 130), count, target)


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("target", HERE)
def test_codes_of_any_table(target, tokens):
    """A table that is not the usual one is looked up, also where that one is not."""
    table = np.array([-127, 9, 0, 127, 31, -5, 77, -90, 2, -3, 1, 100, -100, 40, -40, 13], np.int8)
    draw = np.random.default_rng(0)
    codes = np.where(np.arange(200) % 4 == 1, draw.choice(table, (50, 200)), 0).astype(np.int8)
    weight = balanced_codes(codes, np.ones(50, np.float32), 4, table=table)
    x = draw.standard_normal((tokens, 200)).astype(np.float32)
    kernel = LinearKernel(tokens, weight, options=LinearOptions(target=target))
    np.testing.assert_array_equal(guarded_result(kernel, x), linear(x, weight))
