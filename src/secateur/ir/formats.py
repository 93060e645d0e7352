"""The three forms a tensor takes in an Artifact: Dense, every element; Sparse, positions and values of the non-zeros;
Quantized, small integers on a grid.

Weights kept as float16 or as codes are float32 once decoded: the graph knows float32, int64 and bool only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, prod
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.grid import WIDTHS, Grid

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Int8, Int64, Shaped

DENSE_DTYPES = ("float32", "float16", "int64", "bool")
SPARSE_DTYPES = ("float32", "float16")
BYTES = "int8"
CODE_DTYPES = tuple(f"int{bits}" for bits in WIDTHS)
GRAPH_DTYPE = {
    "float32": "float32",
    "float16": "float32",
    "int64": "int64",
    "bool": "bool",
    **dict.fromkeys(CODE_DTYPES, "float32"),
}
SPARSE_OVERHEAD_BITS = 16  # a positions stream has to save at least this much to be worth its framing


@dataclass(frozen=True, eq=False)
class Dense:
    """Every element of a tensor, in one of DENSE_DTYPES; kept bit for bit (-0.0, NaN payloads, infinities)."""

    array: Shaped[np.ndarray, ...]

    def __post_init__(self) -> None:
        if self.array.dtype.name not in DENSE_DTYPES or not self.array.dtype.isnative:
            raise ArtifactError(
                f"a tensor of dtype {self.array.dtype} cannot be stored: convert it to one of {', '.join(DENSE_DTYPES)}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> str:
        """The stored dtype; `to_dense` gives GRAPH_DTYPE of it."""
        return self.array.dtype.name

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def nonzeros(self) -> int:
        """Elements != 0: NaN counts, -0.0 does not."""
        return int(np.count_nonzero(self.array))

    @property
    def density(self) -> float:
        """nonzeros / size; 0.0 for an empty tensor."""
        return self.nonzeros / self.size if self.size else 0.0

    def to_dense(self) -> Shaped[np.ndarray, ...]:
        """The array the graph computes with."""
        return self.array.astype(GRAPH_DTYPE[self.dtype], copy=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dense) and self.shape == other.shape and same_bits(self.array, other.array)


@dataclass(frozen=True, eq=False)
class Sparse:
    """The non-zeros of a tensor: `positions` are flat row-major indices, strictly increasing; all else is +0.0."""

    shape: tuple[int, ...]
    positions: Int64[np.ndarray, " nonzeros"]
    values: Float[np.ndarray, " nonzeros"]

    def __post_init__(self) -> None:
        if self.values.dtype.name not in SPARSE_DTYPES or not self.values.dtype.isnative:
            raise ArtifactError(
                f"a sparse tensor holds {' or '.join(SPARSE_DTYPES)}, not {self.values.dtype}: store it as Dense"
            )
        if self.positions.dtype != np.int64 or self.positions.ndim != 1 or self.positions.shape != self.values.shape:
            raise ArtifactError(
                f"a sparse tensor needs one int64 position for each value, not {self.positions.dtype} "
                f"{self.positions.shape} for values {self.values.shape}"
            )
        if self.positions.size and not 0 <= int(self.positions[0]) <= int(self.positions[-1]) < self.size:
            raise ArtifactError(f"sparse positions lie outside a tensor of shape {self.shape}")
        if not np.all(self.positions[1:] > self.positions[:-1]):
            raise ArtifactError("sparse positions must increase strictly: sort them and merge duplicates")
        if not np.all(self.values != 0):
            raise ArtifactError("a sparse tensor lists a zero as a non-zero: drop it from positions and values")

    @property
    def dtype(self) -> str:
        """The stored dtype; `to_dense` gives float32 whichever it is."""
        return self.values.dtype.name

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nonzeros(self) -> int:
        return self.values.size

    @property
    def density(self) -> float:
        """nonzeros / size; 0.0 for an empty tensor."""
        return self.nonzeros / self.size if self.size else 0.0

    def to_dense(self) -> Float[np.ndarray, ...]:
        """The array the graph computes with: float32, zero where nothing is listed."""
        array = np.zeros(self.size, dtype=np.float32)
        array[self.positions] = self.values
        return array.reshape(self.shape)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sparse)
            and self.shape == other.shape
            and np.array_equal(self.positions, other.positions)
            and same_bits(self.values, other.values)
        )


@dataclass(frozen=True, eq=False)
class Quantized:
    """Codes on a grid: `codes` has the tensor's shape, element by element code * scale; most of them may be zero."""

    codes: Int8[np.ndarray, ...]
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", np.asarray(self.codes))
        codes, grid = self.codes, self.grid
        if codes.dtype != np.int8:
            raise ArtifactError(f"codes are int8, not {codes.dtype}: make them with formats.on_grid")
        if not grid.fits(codes.shape):
            raise ArtifactError(
                f"a grid with {grid.scale.size} scales along axis {grid.axis} does not fit codes of shape {codes.shape}"
            )
        if codes.size and not -grid.largest <= int(codes.min()) <= int(codes.max()) <= grid.largest:
            raise ArtifactError(f"codes of {grid.bits} bits lie within +-{grid.largest}, these reach beyond")
        if not grid.scale.all() and np.any(codes[np.broadcast_to(grid.steps(codes.ndim) == 0, codes.shape)]):
            raise ArtifactError("a code is not zero where the scale is: store zeros there")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    @property
    def dtype(self) -> str:
        """ "int2" to "int8", by the bits of a code; `to_dense` gives float32."""
        return f"int{self.grid.bits}"

    @property
    def size(self) -> int:
        return self.codes.size

    @property
    def nonzeros(self) -> int:
        return int(np.count_nonzero(self.codes))

    @property
    def density(self) -> float:
        """nonzeros / size; 0.0 for an empty tensor."""
        return self.nonzeros / self.size if self.size else 0.0

    def to_dense(self) -> Float32[np.ndarray, ...]:
        """The array the graph computes with: float32(code) * float32(scale), rounded once."""
        return self.grid.real(self.codes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantized) and self.grid == other.grid and np.array_equal(self.codes, other.codes)


Stored = Dense | Sparse | Quantized


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal in shape, dtype and every bit (so NaN equals itself and -0.0 differs from 0.0)."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def from_dense(array: Shaped[np.ndarray, ...], dtype: str | None = None) -> Stored:
    """Store an array as `dtype` (its own when None), as Sparse where that is smaller.

    "int8" makes a Quantized: codes of 8 bits on a grid that spans the tensor (`Grid.spanning`), for finite floats.
    int64 and bool are always Dense. A Sparse forgets the sign of -0.0; values that float16 rounds to zero are zeros.
    Raises ArtifactError where a finite value leaves the range of float16.
    """
    if dtype == BYTES:
        _refuse_no_numbers(array)
        return on_grid(array, Grid.spanning(array, 8), nearest=True)
    stored = _convert(array, array.dtype.name if dtype is None else dtype)
    if stored.dtype.name not in SPARSE_DTYPES:
        return Dense(stored)
    flat = np.ascontiguousarray(stored).reshape(-1)
    positions = np.flatnonzero(flat != 0)
    if not sparse_is_smaller(flat.size, positions.size, 8 * flat.itemsize):
        return Dense(stored)
    return Sparse(stored.shape, positions.astype(np.int64, copy=False), flat[positions])


def on_grid(array: Float[np.ndarray, ...], grid: Grid, *, nearest: bool = False) -> Quantized:
    """A float array as codes on a grid; -0.0 is 0.

    nearest  round what lies between the numbers of the grid, half to even, and clip what lies beyond
    ArtifactError for numbers that are not on the grid bit for bit (but with `nearest`), for NaN and infinity, and for a
    grid that does not fit the shape.
    """
    if not grid.fits(array.shape):
        raise ArtifactError(f"a grid of {grid.scale.size} channels along axis {grid.axis} does not fit {array.shape}")
    _refuse_no_numbers(array)
    stored = Quantized(grid.nearest(array), grid)
    if not nearest and (off := np.flatnonzero(stored.to_dense() != array)).size:
        raise ArtifactError(
            f"{off.size} of {array.size} numbers are not on a grid of {grid.bits} bits, the first is "
            f"{array.reshape(-1)[off[0]]:.9g}: quantize them first, or round them with nearest=True"
        )
    return stored


def sparse_is_smaller(size: int, nonzeros: int, value_bits: int) -> bool:
    """Whether size * H2(density) bits of positions cost less than the zeros they save."""
    if not nonzeros or nonzeros == size:
        return nonzeros < size
    density = nonzeros / size
    entropy = -density * log2(density) - (1 - density) * log2(1 - density)
    return size * entropy + SPARSE_OVERHEAD_BITS < (size - nonzeros) * value_bits


def _refuse_no_numbers(array: np.ndarray) -> None:
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ArtifactError("only finite floats lie on a grid: keep integers, masks, NaN and infinity as they are")


def _convert(array: np.ndarray, dtype: str) -> np.ndarray:
    if dtype not in DENSE_DTYPES:
        raise ArtifactError(f"a tensor cannot be stored as {dtype}: use one of {', '.join(DENSE_DTYPES)}")
    with np.errstate(over="ignore"):
        stored = array.astype(dtype, copy=False)
    if dtype == "float16" and np.any(np.isinf(stored) & np.isfinite(array)):
        raise ArtifactError(f"values up to {np.nanmax(np.abs(array)):.6g} leave the range of float16: store as float32")
    return stored
