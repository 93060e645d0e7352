"""Laws of convolutions with balanced weights: float32 against the float64 sum, bytes bit for bit; for every target,
count, geometry, epilogue and number of threads, in arrays between guards."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from balanced_matrices import random_balanced, random_codes
from kernel_cases import GUARD, HERE, PLAIN, error, guarded
from secateur.ir.balanced_format import CODES, COUNTS, Balanced, balanced, balanced_codes
from secateur.kernels.epilogue import ACTIVATIONS, Epilogue
from secateur.kernels.linear import LinearOptions
from secateur.kernels.shape import ConvShape
from secateur.kernels.sparse_balanced import BalancedConvKernel, balanced_convolve, conv_matrix
from secateur.kernels.target import TARGETS

TOLERANCE = 3e-6
SAME = (1, 1, 1, 1)
KINDS = ("float32", "int8", "codes")


@dataclass(frozen=True)
class Case:
    """A layer with random data between NaN."""

    shape: ConvShape
    weight: Balanced
    x: np.ndarray
    bias: np.ndarray
    residual: np.ndarray | None
    scale: float

    def kernel(self, epilogue=PLAIN, **options) -> BalancedConvKernel:
        given = LinearOptions(scale=self.scale, **options)
        return BalancedConvKernel(self.shape, self.weight, self.bias, epilogue=epilogue, options=given)


def weight_of(shape: ConvShape, count: int, kind: str) -> Balanced:
    """Random balanced weights, groups along the input channels."""
    k, channels, *taps = shape.weight_shape
    rows = k * taps[0] * taps[1]
    made = (
        random_balanced(rows, channels, count)
        if kind == "float32"
        else random_codes(rows, channels, count, 127 if kind == "int8" else 7)
    )
    four = made.reshape(k, *taps, channels).transpose(0, 3, 1, 2)
    matrix = conv_matrix(four, count)
    if kind == "float32":
        return balanced(matrix, count)
    scale = (np.random.default_rng(count).random(k) + 0.1).astype(np.float32)
    return balanced_codes(matrix, scale, count, table=CODES if kind == "codes" else None)


def case_of(shape: ConvShape, count: int, kind: str, *, residual: bool = False) -> Case:
    draw = np.random.default_rng(0)
    _, x = guarded(shape.input_shape)
    x[:] = draw.standard_normal(x.shape)
    bias, other = draw.standard_normal(shape.out_channels).astype(np.float32), None
    if residual:
        _, other = guarded(shape.output_shape)
        other[:] = draw.standard_normal(other.shape)
    return Case(shape, weight_of(shape, count, kind), x, bias, other, 0.0 if kind == "float32" else 0.02)


def check(case: Case, epilogue: Epilogue = PLAIN, **options) -> np.ndarray:
    """What the kernel computes; AssertionError where it is wrong or writes outside."""
    buffer, out = guarded(case.shape.output_shape, 12345.0)
    out[:] = np.nan
    assert case.kernel(epilogue, **options)(case.x, case.residual, out=out) is out
    assert (buffer[:GUARD] == 12345).all()
    assert (buffer[-GUARD:] == 12345).all()
    expected = epilogue(balanced_convolve(case.shape, case.x, case.weight, case.scale), case.bias, case.residual)
    if case.weight.kind == "float32":
        assert error(out, expected) < TOLERANCE
    else:
        np.testing.assert_array_equal(out, expected)
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("target", HERE)
def test_every_count_and_kind(target, count, kind):
    for channels in (15, 16, 65):
        check(case_of(ConvShape(2, 5, 6, channels, 33, (3, 3), padding=SAME), count, kind), target=target)


@pytest.mark.parametrize(
    ("taps", "stride", "dilation", "padding"),
    [
        ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
        ((1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
        ((3, 3), (2, 2), (1, 1), SAME),
        ((5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
        ((5, 5), (2, 2), (1, 1), (2, 1, 0, 3)),
        ((1, 3), (3, 1), (2, 3), (0, 2, 4, 0)),
    ],
)
@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize("target", HERE)
def test_every_geometry(target, kind, taps, stride, dilation, padding):
    check(case_of(ConvShape(1, 11, 13, 20, 17, taps, stride, padding, dilation), 4, kind), target=target)


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize("target", HERE)
def test_every_size_of_the_output(target, kind):
    """Tiles overlap at the edges; with one row and one column there is only one."""
    for size in (1, 2, 7, 21, 2 * TARGETS[target].lanes + 1):
        for height in (1, size):
            check(case_of(ConvShape(1, height, size, 16, 16, (3, 3), padding=SAME), 2, kind), target=target)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS[:2])
def test_every_epilogue(kind, activation, residual):
    case = case_of(ConvShape(1, 5, 6, 16, 19, (3, 3), padding=SAME), 4, kind, residual=residual)
    check(case, Epilogue(activation, residual=residual, slope=0.2))


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_every_batch_on_any_number_of_threads(kind, batch):
    case = case_of(ConvShape(batch, 20, 17, 16, 65, (3, 3), padding=SAME), 4, kind)
    alone = check(case)
    for threads in (2, 3):
        np.testing.assert_array_equal(alone, check(case, threads=threads))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_seen(value):
    case = case_of(ConvShape(1, 6, 6, 16, 16, (3, 3), padding=SAME), 4, "int8")
    for place in ((0, 0, 0, 0), (0, 5, 3, 15)):
        x = case.x.copy()
        x[place] = value
        for threads in (1, 3):
            assert np.isnan(case.kernel(threads=threads)(x)).all()


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_a_scale_an_image(batch, residual):
    """Images of very different size: one alone has the bits it has among others, on any number of threads."""
    case = case_of(ConvShape(batch, 5, 6, 20, 17, (3, 3), padding=SAME), 4, "int8", residual=residual)
    case.x[...] *= np.float32(10.0) ** np.arange(batch, dtype=np.float32)[:, None, None, None]
    dynamic, epilogue = replace(case, scale=0.0), Epilogue("relu", residual=residual)
    found = check(dynamic, epilogue)
    np.testing.assert_array_equal(found, check(dynamic, epilogue, threads=3))
    for image in range(batch):
        shape = replace(case.shape, batch=1)
        other = None if dynamic.residual is None else dynamic.residual[image : image + 1].copy()
        alone = replace(dynamic, shape=shape, x=case.x[image : image + 1].copy(), residual=other)
        np.testing.assert_array_equal(found[image : image + 1], check(alone, epilogue))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_spoils_no_other(value):
    case = replace(case_of(ConvShape(3, 6, 6, 16, 16, (3, 3), padding=SAME), 4, "int8"), scale=0.0)
    case.x[1, 2, 3, 4], case.x[2] = value, 0
    found = check(case)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[0]).all()
    assert (found[2] == case.bias).all()


def test_a_planted_fault_is_seen():
    case = case_of(ConvShape(1, 6, 6, 16, 16, (3, 3), padding=SAME), 4, "int8")
    found = check(case)
    wrong = case.weight.integers().copy()
    wrong[3, np.flatnonzero(wrong[3])[0]] += 1 if wrong[3].max() < 127 else -1
    assert case.weight.scale is not None
    other = balanced_codes(wrong, case.weight.scale, 4)
    assert not np.array_equal(found, PLAIN(balanced_convolve(case.shape, case.x, other, case.scale), case.bias, None))
