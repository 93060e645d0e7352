"""Laws of generated linear layers: the float64 sum, for every size, target, pattern, epilogue, thread count."""

import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_cases import HERE, error
from linear_cases import linear_case, linear_result
from secateur.ir.balanced_format import COUNTS
from secateur.kernels.epilogue import ACTIVATIONS, Epilogue
from secateur.kernels.linear_code import FLOAT_TOKENS

TOLERANCE = 3e-6
"""Far below what a wrong place or token does (order 1), above what rounding does at a few hundred inputs."""
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
