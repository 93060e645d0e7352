"""Laws of maps of bytes: kernels that take, give and add codes equal the definition bit for bit, on every target."""

from itertools import product

import numpy as np
import pytest

from balanced_matrices import random_codes
from kernel_cases import GUARD, HERE
from linear_cases import byte_weight
from secateur.errors import KernelError
from secateur.ir.balanced_format import CODES, balanced_codes
from secateur.kernels.byte_maps import ByteMap, ByteMaps
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import LinearKernel, LinearOptions, linear
from secateur.kernels.shape import ConvShape
from secateur.kernels.sparse_balanced import BalancedConvKernel, balanced_convolve, conv_matrix

SIGNS = (False, True)
GEOMETRIES = (
    ((1, 1), (1, 1), (0, 0, 0, 0)),
    ((1, 1), (2, 2), (0, 0, 0, 0)),
    ((3, 3), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (2, 2), (1, 1, 1, 1)),
    ((5, 5), (1, 1), (2, 2, 2, 2)),
    ((5, 5), (2, 2), (0, 2, 1, 2)),
)


def random_map(shape: tuple[int, ...], one: ByteMap | None, seed: int = 0) -> np.ndarray:
    """Codes over the whole range, or normal numbers."""
    draw = np.random.default_rng(seed)
    if one is None:
        return draw.standard_normal(shape, np.float32)
    return draw.integers(*one.ends, shape, one.dtype, endpoint=True)


def numbers_of(array: np.ndarray, one: ByteMap | None) -> np.ndarray:
    """What a map stands for."""
    return array if one is None else one.numbers(array)


def guarded_codes(shape: tuple[int, ...], one: ByteMap | None) -> tuple[np.ndarray, np.ndarray]:
    """An output between guards, which start no vector."""
    count = int(np.prod(shape))
    dtype = np.float32 if one is None else one.dtype
    buffer = np.full(count + 2 * GUARD + 1, 99, dtype)
    return buffer, buffer[GUARD + 1 : GUARD + 1 + count].reshape(shape)


def same(kernel, x, residual, wanted, one: ByteMap | None) -> None:
    """The kernel gives what is wanted and writes nothing beside it."""
    buffer, out = guarded_codes(wanted.shape, one)
    kernel(x, residual, out=out)
    np.testing.assert_array_equal(out, wanted)
    assert (buffer[: GUARD + 1] == 99).all()
    assert (buffer[-GUARD:] == 99).all()


def conv_weight(shape: ConvShape, kind: str):
    """Random balanced 4:16 codes."""
    k, channels, *taps = shape.weight_shape
    codes = random_codes(k * taps[0] * taps[1], channels, 4, 127 if kind == "int8" else 7)
    matrix = conv_matrix(codes.reshape(k, *taps, channels).transpose(0, 3, 1, 2), 4)
    scale = (np.random.default_rng(1).random(k) + 0.1).astype(np.float32) / 50
    return balanced_codes(matrix, scale, 4, table=CODES if kind == "codes" else None)


def check_conv(shape: ConvShape, maps: ByteMaps, epilogue: Epilogue, kind: str = "int8", **options) -> None:
    """One convolution against its definition."""
    weight, x = conv_weight(shape, kind), random_map(shape.input_shape, maps.takes)
    bias = np.random.default_rng(2).standard_normal(shape.out_channels).astype(np.float32)
    residual = random_map(shape.output_shape, maps.adds, 3) if epilogue.residual else None
    given = LinearOptions(scale=0.0 if maps.takes else 0.02, maps=maps, **options)
    kernel = BalancedConvKernel(shape, weight, bias, epilogue=epilogue, options=given)
    total = balanced_convolve(shape, x, weight, given.input_scale)
    other = None if residual is None else numbers_of(residual, maps.adds)
    wanted = epilogue(total, bias, other).astype(np.float32)
    same(kernel, x, residual, wanted if maps.gives is None else maps.gives.codes(wanted), maps.gives)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("channels", [15, 64])
@pytest.mark.parametrize("target", HERE)
def test_bytes_through_a_convolution_of_every_geometry(target, channels, geometry):
    taps, stride, padding = geometry
    shape = ConvShape(2, 9, 11, channels, 33, taps, stride, padding)
    for takes, gives in product(SIGNS, SIGNS):
        maps = ByteMaps(ByteMap(0.02, takes), ByteMap(0.05, gives), ByteMap(0.03, gives))
        check_conv(shape, maps, Epilogue("relu", residual=True), target=target)


@pytest.mark.parametrize("kind", ["int8", "codes"])
@pytest.mark.parametrize("activation", ["none", "relu6", "leaky_relu"])
def test_floats_and_bytes_on_either_side(activation, kind):
    shape, one = ConvShape(1, 7, 6, 64, 20, (3, 3), padding=(1, 1, 1, 1)), ByteMap(0.04, signed=True)
    for takes, gives, adds in product((None, one), (None, one), (None, one)):
        check_conv(shape, ByteMaps(takes, gives, adds), Epilogue(activation, residual=True, slope=0.2), kind)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_code(threads):
    maps = ByteMaps(ByteMap(0.02), ByteMap(0.05))
    check_conv(ConvShape(3, 14, 14, 64, 70, (1, 1)), maps, Epilogue("relu"), threads=threads)


@pytest.mark.parametrize("name", ["int8", "codes", "dense int8"])
@pytest.mark.parametrize("target", HERE)
def test_bytes_through_a_linear_layer(target, name):
    for (tokens, outputs, inputs), takes, gives in product([(1, 33, 70), (23, 80, 200), (3, 1, 1)], SIGNS, SIGNS):
        maps = ByteMaps(ByteMap(0.01, takes), ByteMap(7.0, gives), ByteMap(3.0, gives))
        weight, epilogue = byte_weight(name, (outputs, inputs), 4), Epilogue("none", residual=True)
        x, residual = random_map((tokens, inputs), maps.takes), random_map((tokens, outputs), maps.adds, 1)
        bias = np.random.default_rng(2).standard_normal(outputs).astype(np.float32)
        kernel = LinearKernel(tokens, weight, bias, epilogue=epilogue, options=LinearOptions(maps=maps, target=target))
        total = epilogue(linear(x, weight, scale=0.01), bias, numbers_of(residual, maps.adds)).astype(np.float32)
        assert maps.gives is not None
        same(kernel, x, residual, maps.gives.codes(total), maps.gives)


@pytest.mark.parametrize("target", HERE)
def test_the_largest_sums_of_codes_are_exact(target):
    """Where a sum of two products would saturate, it would be seen here."""
    codes = np.where(np.arange(640) % 4 == 0, 127, 0).astype(np.int8)[None].repeat(20, 0)
    weight = balanced_codes(codes, np.ones(20, np.float32))
    for signed, value in product(SIGNS, (0, 1)):
        one = ByteMap(1.0, signed)
        x = np.full((5, 640), one.ends[value], one.dtype)
        kernel = LinearKernel(5, weight, options=LinearOptions(maps=ByteMaps(one), target=target))
        np.testing.assert_array_equal(kernel(x), linear(x, weight, scale=1.0))


def test_a_number_that_is_none_becomes_zero_and_large_ones_the_ends():
    weight = byte_weight("int8", (20, 70), 4)
    bias = np.zeros(20, np.float32)
    bias[:3] = np.nan, np.inf, -np.inf
    for signed in SIGNS:
        one = ByteMap(0.1, signed)
        kernel = LinearKernel(1, weight, bias, options=LinearOptions(maps=ByteMaps(None, one)))
        found = kernel(np.zeros((1, 70), np.float32))[0]
        assert found.dtype == one.dtype
        assert found[:3].tolist() == [0, one.ends[1], one.ends[0]]


def test_a_planted_fault_is_seen():
    maps = ByteMaps(ByteMap(0.02), ByteMap(0.05))
    shape = ConvShape(1, 6, 6, 16, 16, (1, 1))
    weight, x = conv_weight(shape, "int8"), random_map(shape.input_shape, maps.takes)
    found = BalancedConvKernel(shape, weight, options=LinearOptions(maps=maps))(x)
    wrong = ByteMap(0.05 * 1.01)
    assert not np.array_equal(found, wrong.codes(balanced_convolve(shape, x, weight, 0.02)))


def test_what_does_not_fit_is_refused():
    weight, maps = byte_weight("int8", (20, 70), 4), ByteMaps(ByteMap(0.1))
    with pytest.raises(KernelError, match="has its own scale"):
        LinearKernel(1, weight, options=LinearOptions(scale=0.1, maps=maps))
    with pytest.raises(KernelError, match="x must be a uint8 array"):
        LinearKernel(1, weight, options=LinearOptions(maps=maps))(np.zeros((1, 70), np.float32))
