"""Rounding: the values that a file stores, and how far they are from those they were."""

from __future__ import annotations

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.formats import BYTES, Quantized, Stored, from_dense, on_grid
from secateur.ir.grid import Grid
from secateur.ir.grids import Grids
from secateur.ir.naming import is_made

STATISTICS = ("running_mean", "running_var")
"""Of a batch norm: divided by, so never stored in 8 bits; their ranges are too wide for that."""


class Rounding:
    """Rounds float tensors to what a file stores, as float32, and remembers the largest relative change.

    values  "float32", "float16" or "int8", of all tensors but those that tracing made and those on grids. With "int8",
            statistics of norms and what holds infinity (masks) are float16. Whatever it says, one number that float16
            holds exactly is float16: the scale of a map must stay what it is
    grids   name -> the grid that a tensor already lies on, bit for bit; those that "int8" makes come to them, and a
            tensor that stays on one is not rounded again
    largest  the largest relative change of a number, or, of a tensor with codes, relative to its largest number
    """

    def __init__(self, values: str, grids: Grids | None = None) -> None:
        self.values = values
        self.grids: dict[str, Grid] = dict(grids or {})
        self.given = frozenset(self.grids)  # grids that may not change by themselves
        self.largest = 0.0

    def know(self, grids: Grids) -> None:
        """From now on tensors lie on these grids."""
        self.grids = dict(grids)
        self.given &= self.grids.keys()

    def __call__(self, name: str, array: np.ndarray) -> np.ndarray:
        """The array as a file gives it back."""
        stored = self.stored(name, array)
        if stored.dtype == array.dtype.name:
            return array
        rounded, magnitude = stored.to_dense(), np.abs(array)
        normal = (magnitude > np.finfo(np.float16).smallest_normal) & np.isfinite(array)
        whole = magnitude.max(initial=0.0) if isinstance(stored, Quantized) else magnitude[normal]
        change = np.abs(rounded[normal] - array[normal]) / whole
        self.largest = max(self.largest, float(change.max(initial=0.0)))
        return rounded

    def early(self, name: str, array: np.ndarray) -> np.ndarray:
        """The same before units are removed: zeros among the weights decide which. With "int8" vectors wait, since the
        constants of removed units are still added to biases."""
        return array if self.values == BYTES and array.ndim < 2 else self(name, array)

    def stored(self, name: str, array: np.ndarray) -> Stored:
        """A tensor in the form the file holds. ArtifactError for what that cannot hold."""
        try:
            if name in self.grids:
                return self._on_its_grid(name, array)
            if array.dtype != np.float32 or is_made(name):
                return from_dense(array)
            if array.ndim == 0 and _is_float16(array):
                return from_dense(array, "float16")
            if self.values != BYTES:
                return from_dense(array, self.values)
            if name.rpartition(".")[2] in STATISTICS or not np.isfinite(array).all():
                return from_dense(array, "float16")
            return self._as_bytes(name, array)
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error}") from None

    def _on_its_grid(self, name: str, array: np.ndarray) -> Stored:
        try:
            return on_grid(array, self.grids[name])
        except ArtifactError:
            if name in self.given:
                raise
            return self._as_bytes(name, array)  # something was added to it since

    def _as_bytes(self, name: str, array: np.ndarray) -> Stored:
        stored = from_dense(array, BYTES)
        assert isinstance(stored, Quantized)
        self.grids[name] = stored.grid
        return stored


def _is_float16(array: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.float32(np.float16(array)) == array)
