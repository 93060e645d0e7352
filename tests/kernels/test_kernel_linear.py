"""LinearKernel: what it takes and refuses, in memory that callers give."""

import numpy as np
import pytest

from balanced_matrices import random_balanced, random_codes
from kernel_cases import HERE
from linear_cases import linear_case
from secateur.errors import KernelError
from secateur.ir.balanced_format import balanced, balanced_codes
from secateur.ir.formats import Quantized
from secateur.ir.grid import Grid
from secateur.kernels import linear_bytes
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import LinearKernel, LinearOptions, linear
from secateur.kernels.linear_bytes import byte_target
from secateur.kernels.target import TARGETS

WEIGHT = balanced(random_balanced(20, 40, 4))
X = np.ones((3, 40), np.float32)
BYTES = balanced_codes(random_codes(20, 40, 4), np.ones(20, np.float32))
LONG = Quantized(np.ones((1, 70_000), np.int8), Grid(8, np.ones(1, np.float32)))


def test_other_weights_in_the_same_code():
    kernel = LinearKernel(3, WEIGHT)
    other = balanced(random_balanced(20, 40, 4, seed=5))
    shift = np.arange(20, dtype=np.float32)
    moved = kernel.with_weights(other, shift)
    np.testing.assert_allclose(moved(X), linear(X, other, shift), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kernel(X), linear(X, WEIGHT), rtol=1e-5, atol=1e-5)
    assert moved.packed_bytes == kernel.packed_bytes == WEIGHT.nbytes


def test_a_processor_without_products_of_bytes_takes_the_weaker_target(monkeypatch):
    features = dict(linear_bytes.LLVM.get_host_cpu_features())
    if "avx512" not in HERE:
        pytest.skip("this machine has no AVX-512 to take something from")
    monkeypatch.setattr(linear_bytes.LLVM, "get_host_cpu_features", lambda: features | {"avx512vnni": False})
    assert byte_target(TARGETS["avx512"]).name == "avx2"
    np.testing.assert_array_equal(LinearKernel(3, BYTES)(X), linear(X, BYTES))
    monkeypatch.setattr(linear_bytes, "supported", lambda: ("avx512",))
    with pytest.raises(KernelError, match="lacks avx512vnni"):
        byte_target(TARGETS["avx512"])


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
        (lambda: LinearKernel(3, balanced(np.zeros((3, 0), np.float32))), "at least one input"),
        (lambda: LinearKernel(3, WEIGHT)(X[:2]), "x must be"),
        (lambda: LinearKernel(3, WEIGHT)(X.astype(np.float64)), "x must be"),
        (lambda: LinearKernel(3, WEIGHT)(np.asfortranarray(X)), "dense"),
        (lambda: LinearKernel(3, WEIGHT)(X, X), "a residual is needed exactly"),
        (lambda: LinearKernel(3, WEIGHT, epilogue=Epilogue(residual=True))(X), "a residual is needed exactly"),
        (lambda: LinearKernel(3, WEIGHT)(X, out=np.zeros((3, 19), np.float32)), "out must be"),
        (lambda: LinearKernel(3, balanced(random_balanced(40, 40, 4)))(X, out=X), "apart from x"),
        (lambda: LinearKernel(3, WEIGHT, options=LinearOptions(scale=-1.0)), "a scale above 0"),
        (lambda: LinearKernel(3, LONG), "may leave int32"),
        (lambda: LinearKernel(3, WEIGHT).with_weights(BYTES), "no balanced 4:16 float32"),
        (lambda: LinearKernel(3, WEIGHT).with_weights(balanced(random_balanced(20, 40, 8))), "no balanced 4:16"),
    ],
)
def test_what_does_not_fit_is_refused(make, told):
    with pytest.raises(KernelError, match=told):
        make()
