"""kernels.sparse_balanced: the weight as a matrix, how a layer is cut up, and what is refused."""

import numpy as np
import pytest

from secateur.errors import KernelError
from secateur.ir.balanced_format import balanced, balanced_codes
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import LinearOptions
from secateur.kernels.shape import ConvShape, convolve
from secateur.kernels.sparse_balanced import (
    BalancedConvKernel,
    _Plan,
    _starts,
    balanced_convolve,
    conv_matrix,
    padded_channels,
)

SHAPE = ConvShape(1, 7, 7, 20, 5, (3, 2), padding=(1, 1, 0, 1))


def weight(count=4):
    found = np.zeros(SHAPE.weight_shape, np.float32)
    found[:, ::16] = np.random.default_rng(0).standard_normal((5, 2, 3, 2))
    return balanced(conv_matrix(found, count), count), found


def test_a_weight_as_a_matrix():
    four = np.arange(5 * 20 * 3 * 2, dtype=np.float32).reshape(5, 20, 3, 2)
    found = conv_matrix(four, 4)
    assert found.shape == (5, 6 * 64)
    np.testing.assert_array_equal(found.reshape(5, 3, 2, 64)[2, 1, 1, :20], four[2, :, 1, 1])
    assert not found.reshape(5, 3, 2, 64)[..., 20:].any()
    assert (padded_channels(20, 4), padded_channels(20, 1), padded_channels(65, 8)) == (64, 128, 128)


def test_the_definition():
    x = np.random.default_rng(1).standard_normal(SHAPE.input_shape).astype(np.float32)
    made, four = weight()
    np.testing.assert_array_equal(balanced_convolve(SHAPE, x, made), convolve(SHAPE, x, four))
    codes, scale = np.rint(40 * four).clip(-127, 127).astype(np.int8), np.full(5, 1 / 40, np.float32)
    rounded = balanced_convolve(SHAPE, x, balanced_codes(conv_matrix(codes, 4), scale, 4), 0.03)
    assert 0 < np.abs(rounded - convolve(SHAPE, x, four)).max() < 0.3


@pytest.mark.parametrize(("size", "tile", "starts"), [(7, 3, [0, 3, 4]), (6, 3, [0, 3]), (3, 3, [0]), (1, 1, [0])])
def test_tiles_overlap_at_the_end(size, tile, starts):
    assert _starts(size, tile).tolist() == starts


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 7), (14, 14), (56, 56), (1, 40)])
def test_tiles_fit_registers_and_output(height, width):
    shape = ConvShape(1, height, width, 20, 5, (3, 2), padding=(1, 1, 0, 1))
    plan = _Plan(shape, weight()[0], Epilogue(), LinearOptions())
    rows, columns = plan.tile
    assert rows * columns <= plan.linear.form.most_tokens(plan.linear.target)
    assert rows <= height
    assert columns <= width


def int8(count=4):
    return balanced_codes(np.zeros((5, 6 * 64), np.int8), np.ones(5, np.float32), count)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": ConvShape(1, 7, 7, 20, 10, (3, 2), groups=2)}, "one group"),
        ({"weight": balanced(np.zeros((5, 120), np.float32), 4)}, "conv_matrix"),
        ({"options": LinearOptions(threads=0)}, "threads=0"),
        ({"options": LinearOptions(scale=0.1)}, "float32 have none"),
        ({"weight": int8(), "options": LinearOptions(scale=-1.0)}, "found at run time"),
        ({"weight": int8(), "options": LinearOptions(scale=1e-45)}, "at least"),
        ({"bias": np.zeros(4, np.float32)}, "bias"),
    ],
)
def test_misuse(change, message):
    given = {"shape": SHAPE, "weight": weight()[0], **change}
    with pytest.raises(KernelError, match=message):
        BalancedConvKernel(given.pop("shape"), given.pop("weight"), given.pop("bias", None), **given)


def test_arrays_that_do_not_fit():
    kernel = BalancedConvKernel(SHAPE, weight()[0])
    x = np.zeros(SHAPE.input_shape, np.float32)
    assert "balanced 4:16" in kernel.name
    for wrong in ({"x": x[0]}, {"x": x, "residual": x}, {"x": x, "out": x}):
        with pytest.raises(KernelError):
            kernel(**wrong)
    added = BalancedConvKernel(SHAPE, weight()[0], epilogue=Epilogue(residual=True))
    out = np.zeros(SHAPE.output_shape, np.float32)
    with pytest.raises(KernelError, match="apart"):
        added(x, out, out=out)
