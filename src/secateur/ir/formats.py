"""The two forms a tensor takes in an Artifact: Dense, every element; Sparse, positions and values of the non-zeros.

Weights kept as float16 are float32 once decoded: the graph knows float32, int64 and bool only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, prod

import numpy as np
from jaxtyping import Float, Int64, Shaped

from secateur.errors import ArtifactError

DENSE_DTYPES = ("float32", "float16", "int64", "bool")
SPARSE_DTYPES = ("float32", "float16")
GRAPH_DTYPE = {"float32": "float32", "float16": "float32", "int64": "int64", "bool": "bool"}
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


Tensor = Dense | Sparse


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal in shape, dtype and every bit (so NaN equals itself and -0.0 differs from 0.0)."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def from_dense(array: Shaped[np.ndarray, ...], dtype: str | None = None) -> Dense | Sparse:
    """Store an array as `dtype` (its own when None), as Sparse where that is smaller.

    int64 and bool are always Dense. A Sparse forgets the sign of -0.0; values that float16 rounds to zero are zeros.
    Raises ArtifactError where a finite value leaves the range of float16.
    """
    stored = _convert(array, array.dtype.name if dtype is None else dtype)
    if stored.dtype.name not in SPARSE_DTYPES:
        return Dense(stored)
    flat = np.ascontiguousarray(stored).reshape(-1)
    positions = np.flatnonzero(flat != 0)
    if not sparse_is_smaller(flat.size, positions.size, 8 * flat.itemsize):
        return Dense(stored)
    return Sparse(stored.shape, positions.astype(np.int64, copy=False), flat[positions])


def sparse_is_smaller(size: int, nonzeros: int, value_bits: int) -> bool:
    """Whether size * H2(density) bits of positions cost less than the zeros they save."""
    if not nonzeros or nonzeros == size:
        return nonzeros < size
    density = nonzeros / size
    entropy = -density * log2(density) - (1 - density) * log2(1 - density)
    return size * entropy + SPARSE_OVERHEAD_BITS < (size - nonzeros) * value_bits


def _convert(array: np.ndarray, dtype: str) -> np.ndarray:
    if dtype not in DENSE_DTYPES:
        raise ArtifactError(f"a tensor cannot be stored as {dtype}: use one of {', '.join(DENSE_DTYPES)}")
    with np.errstate(over="ignore"):
        stored = array.astype(dtype, copy=False)
    if dtype == "float16" and np.any(np.isinf(stored) & np.isfinite(array)):
        raise ArtifactError(f"values up to {np.nanmax(np.abs(array)):.6g} leave the range of float16: store as float32")
    return stored
