"""LinearKernel: what it takes and refuses, in memory that callers give."""

import numpy as np
import pytest

from balanced_matrices import random_balanced, random_codes
from linear_cases import linear_case
from secateur.errors import KernelError
from secateur.ir.balanced_format import balanced, balanced_codes
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import LinearKernel, LinearOptions

WEIGHT = balanced(random_balanced(20, 40, 4))
X = np.ones((3, 40), np.float32)


def test_without_a_bias_and_with_an_out_that_is_the_residual():
    kernel = LinearKernel(3, WEIGHT, epilogue=Epilogue(residual=True))
    place = np.full((3, 20), 2, np.float32)
    assert kernel(X, place, out=place) is place
    np.testing.assert_allclose(place, X @ WEIGHT.to_dense().T + 2, rtol=1e-5, atol=1e-5)
    assert kernel.name == "balanced 4:16 float32"


def test_out_of_the_kernels_own_is_new_each_time():
    case = linear_case(3, (20, 40), 4)
    kernel = case.kernel()
    first = kernel(case.x)
    again = kernel(case.x)
    assert first is not again
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: LinearKernel(3, WEIGHT, options=LinearOptions(threads=0)), "at least one thread"),
        (lambda: LinearKernel(-1, WEIGHT), "tokens from 0 on"),
        (lambda: LinearKernel(3, WEIGHT, np.zeros(19, np.float32)), "bias"),
        (lambda: LinearKernel(3, WEIGHT, options=LinearOptions(target="avx9")), "avx9"),
        (lambda: LinearKernel(3, balanced(np.zeros((3, 0), np.float32))), "without inputs"),
        (lambda: LinearKernel(3, WEIGHT)(X[:2]), "x must be"),
        (lambda: LinearKernel(3, WEIGHT)(X.astype(np.float64)), "x must be"),
        (lambda: LinearKernel(3, WEIGHT)(np.asfortranarray(X)), "dense"),
        (lambda: LinearKernel(3, WEIGHT)(X, X), "a residual is needed exactly"),
        (lambda: LinearKernel(3, WEIGHT, epilogue=Epilogue(residual=True))(X), "a residual is needed exactly"),
        (lambda: LinearKernel(3, WEIGHT)(X, out=np.zeros((3, 19), np.float32)), "out must be"),
        (lambda: LinearKernel(3, balanced(random_balanced(40, 40, 4)))(X, out=X), "apart from x"),
        (lambda: LinearKernel(3, balanced_codes(random_codes(4, 40, 4), np.ones(4, np.float32))), "of float32"),
    ],
)
def test_what_does_not_fit_is_refused(make, told):
    with pytest.raises(KernelError, match=told):
        make()
