"""Dense, Sparse and Quantized hold what they are given, refuse what they cannot hold; from_dense takes the smaller of
the first two, on_grid gives the third."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.artifact import encoded_bytes
from secateur.ir.formats import Dense, Grid, Quantized, Sparse, from_dense, on_grid, same_bits, sparse_is_smaller

INT = np.int64


def sparse(shape: tuple[int, ...], positions: list[int], values: list[float], dtype: str = "float32") -> Sparse:
    return Sparse(shape, np.array(positions, dtype=INT), np.array(values, dtype=dtype))


def test_dense_keeps_every_bit():
    array = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, 1e-45], dtype=np.float32)
    assert same_bits(Dense(array).to_dense(), array)
    assert Dense(array) == Dense(array.copy())
    assert Dense(array) != Dense(np.abs(array))
    assert Dense(array).nonzeros == 4


def test_float16_becomes_float32_for_the_graph():
    dense = Dense(np.array([0.1, -2], dtype=np.float16))
    assert dense.dtype == "float16"
    assert same_bits(dense.to_dense(), dense.array.astype(np.float32))
    assert sparse((3,), [1], [0.1], "float16").to_dense().dtype == np.float32


def test_sparse_puts_values_in_row_major_order():
    tensor = sparse((2, 3), [1, 5], [7, -8])
    assert tensor.to_dense().tolist() == [[0, 7, 0], [0, 0, -8]]
    assert (tensor.size, tensor.nonzeros, tensor.density, tensor.dtype) == (6, 2, 1 / 3, "float32")
    assert tensor == sparse((2, 3), [1, 5], [7, -8])
    assert tensor != sparse((3, 2), [1, 5], [7, -8])
    assert tensor != sparse((2, 3), [1, 4], [7, -8])
    assert tensor != sparse((2, 3), [1, 5], [7, -9])
    assert tensor != Dense(tensor.to_dense())


def test_empty_tensors_have_density_zero():
    assert Dense(np.zeros((0, 3), dtype=np.float32)).density == 0.0
    assert sparse((0, 3), [], []).density == 0.0
    assert sparse((), [0], [3]).to_dense() == np.float32(3)


@pytest.mark.parametrize(
    ("positions", "values", "message"),
    [
        ([1, 1], [1, 2], "increase strictly"),
        ([2, 1], [1, 2], "outside|increase"),
        ([-1, 1], [1, 2], "outside"),
        ([1, 6], [1, 2], "outside"),
        ([0, 1], [1, 0], "a zero"),
        ([0, 1], [1, -0.0], "a zero"),
    ],
)
def test_sparse_refuses(positions: list[int], values: list[float], message: str):
    with pytest.raises(ArtifactError, match=message):
        sparse((2, 3), positions, values)


def test_dtypes_that_cannot_be_stored_are_refused():
    with pytest.raises(ArtifactError, match="float64"):
        Dense(np.zeros(3))
    with pytest.raises(ArtifactError, match="one of float32"):
        Dense(np.zeros(3, dtype=">f4"))
    with pytest.raises(ArtifactError, match="store it as Dense"):
        sparse((4,), [1], [1], "float64")
    with pytest.raises(ArtifactError, match="complex64"):
        from_dense(np.zeros(3, dtype=np.float32), "complex64")


def test_from_dense_takes_sparse_where_it_is_smaller():
    few = np.zeros((50, 50), dtype=np.float32)
    few[3, ::7] = 1.5
    assert isinstance(from_dense(few), Sparse)
    assert isinstance(from_dense(few + 1), Dense)
    assert from_dense(few, "float16").dtype == "float16"
    assert same_bits(from_dense(few).to_dense(), few)
    assert isinstance(from_dense(np.zeros(4, dtype=INT)), Dense)
    assert isinstance(from_dense(np.zeros(4, dtype=np.bool_)), Dense)
    assert isinstance(from_dense(np.zeros(0, dtype=np.float32)), Dense)


@pytest.mark.parametrize("density", [0.01, 0.3, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_estimate_agrees_with_real_sizes(density: float, dtype: str):
    rng = np.random.default_rng(1)
    array = (rng.standard_normal(1000) * (rng.random(1000) < density)).astype(dtype)
    positions = np.flatnonzero(array)
    sizes = encoded_bytes(Sparse(array.shape, positions, array[positions])), encoded_bytes(Dense(array))
    assert encoded_bytes(from_dense(array)) <= min(sizes) + 8


def test_sparse_forgets_the_sign_of_zero_and_keeps_nan():
    array = np.zeros(100, dtype=np.float32)
    array[[3, 5]] = np.nan, -0.0
    stored = from_dense(array)
    assert isinstance(stored, Sparse)
    assert stored.positions.tolist() == [3]
    assert not np.signbit(stored.to_dense()[5])


def test_float16_rounds_and_refuses_what_leaves_its_range():
    assert from_dense(np.array([1e-9, 0, 1], dtype=np.float32), "float16").nonzeros == 1
    assert from_dense(np.array([np.inf, 1], dtype=np.float32), "float16").to_dense()[0] == np.inf
    with pytest.raises(ArtifactError, match="70000 leave the range of float16: store as float32"):
        from_dense(np.array([70000, 1], dtype=np.float32), "float16")


def test_nothing_and_everything_are_the_edges_of_the_estimate():
    assert sparse_is_smaller(10, 0, 16)
    assert not sparse_is_smaller(0, 0, 16)
    assert not sparse_is_smaller(10, 10, 16)


def grid(bits: int = 3, scale: float | list[float] = 0.5, axis: int = 0) -> Grid:
    return Grid(bits, np.array(scale, np.float16), axis)


def test_quantized_is_codes_times_scale():
    codes = np.array([[1, 0, -3], [0, 0, 2]], dtype=np.int8)
    tensor = Quantized(codes, grid())
    assert (tensor.shape, tensor.dtype, tensor.size, tensor.nonzeros, tensor.density) == ((2, 3), "int3", 6, 3, 0.5)
    assert same_bits(tensor.to_dense(), np.array([[0.5, 0, -1.5], [0, 0, 1]], dtype=np.float32))
    assert tensor == Quantized(codes.copy(), grid())
    assert tensor != Quantized(codes, grid(4))
    assert tensor != Quantized(-codes, grid())
    assert tensor != Dense(tensor.to_dense())
    assert Quantized(np.zeros((0, 3), np.int8), grid()).density == 0.0


@pytest.mark.parametrize(
    ("codes", "on", "message"),
    [
        ([[4]], grid(), "within \\+-3"),
        ([[-128]], grid(8), "within \\+-127"),
        ([[1, 1]], grid(3, [1, 1, 1], 1), "3 scales along axis 1"),
        ([[1, 1]], grid(3, [1, 1], 2), "does not fit"),
        ([[0, 1]], grid(3, [1, 0], 1), "not zero where the scale is"),
    ],
)
def test_quantized_refuses(codes: list[list[int]], on: Grid, message: str):
    with pytest.raises(ArtifactError, match=message):
        Quantized(np.array(codes, dtype=np.int8), on)


def test_codes_are_int8():
    with pytest.raises(ArtifactError, match="int8, not int64"):
        Quantized(np.ones(3, dtype=INT), grid())


@pytest.mark.parametrize("on", [grid(), grid(4, [0.1, 0.3], 1), grid(8, 0.0123), grid(2, [0, 7.5], 1)])
def test_on_grid_gives_the_codes_back(on: Grid):
    rng = np.random.default_rng(0)
    codes = rng.integers(-on.largest, on.largest + 1, (50, 2)).astype(np.int8)
    codes[np.broadcast_to(on.steps(2) == 0, codes.shape)] = 0
    found = on_grid(on.real(codes), on)
    assert found == Quantized(codes, on)
    assert same_bits(found.to_dense(), on.real(codes))
    assert on_grid(-on.real(np.zeros_like(codes)), on).nonzeros == 0


def test_on_grid_refuses_what_is_not_on_it():
    array = np.array([0.5, 0.75, 99], dtype=np.float32)
    with pytest.raises(ArtifactError, match=r"2 of 3 numbers are not on a grid of 3 bits, the first is 0\.75"):
        on_grid(array, grid())
    assert on_grid(array, grid(), nearest=True).codes.tolist() == [1, 2, 3]
    with pytest.raises(ArtifactError, match="1 of 1"):
        on_grid(np.nextafter(np.float32(0.5), np.float32(1)).reshape(1), grid())
    with pytest.raises(ArtifactError, match="does not fit"):
        on_grid(array, grid(3, [1, 1]))
    for bad in (np.nan, np.inf):
        with pytest.raises(ArtifactError, match="only finite floats"):
            on_grid(np.array([bad]), grid(), nearest=True)
    with pytest.raises(ArtifactError, match="only finite floats"):
        on_grid(np.arange(3), grid())


def test_from_dense_makes_bytes_that_span_the_tensor():
    array = np.array([-2.0, 0, 0.007, 1.0, 0.5], dtype=np.float32)
    stored = from_dense(array, "int8")
    assert isinstance(stored, Quantized)
    assert stored.codes.tolist() == [-127, 0, 0, 64, 32]
    assert np.abs(stored.to_dense() - array).max() < 2 / 127 / 2 + 2e-3
    assert from_dense(stored.to_dense(), "int8") == stored
    assert from_dense(np.zeros(4, np.float32), "int8").nonzeros == 0
    assert from_dense(np.full(4, 1e-7, np.float32), "int8").nonzeros == 4
    with pytest.raises(ArtifactError, match="leave the range"):
        from_dense(np.full(4, 1e30, np.float32), "int8")
    for bad in (np.arange(3), np.array([np.nan])):
        with pytest.raises(ArtifactError, match="only finite floats"):
            from_dense(bad, "int8")
