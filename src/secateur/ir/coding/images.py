"""Images that the columns of a tensor lie in: a convolution's kernels, or the pixels that a linear layer reads.

Nothing in a file says that a linear layer reads images; its non-zeros do, by lying one below the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.errors import ArtifactError
from secateur.ir.coding.varint import Reader, varint

SIDES = range(2, 33)  # of images that are looked for
LEFT, ABOVE = 1, 2


@dataclass(frozen=True)
class Image:
    """Columns lie in images of `side` to a line and `block` altogether, one image after the other; side 0: in none."""

    side: int = 0
    block: int = 0

    def to_bytes(self) -> bytes:
        """side, and block where there is a side."""
        return varint(self.side) + (varint(self.block) if self.side else b"")

    @classmethod
    def read(cls, reader: Reader, columns: int) -> Image:
        """The image at the front of a stream; ArtifactError where it does not fit so many columns."""
        side = reader.varint()
        block = reader.varint() if side else 0
        if side and not 1 < side <= block <= columns:
            raise ArtifactError("damaged artifact: the images in a tensor do not fit it")
        return cls(side, block)

    def after(self, column: int) -> list[tuple[int, int]]:
        """(LEFT or ABOVE, column) of the pixels that have this one to the left or above."""
        if not self.side:
            return []
        inside = column % self.block
        beside = inside + 1 < self.block and (inside + 1) % self.side
        below = inside + self.side < self.block
        if beside:
            return [(LEFT, column + 1), (ABOVE, column + self.side)] if below else [(LEFT, column + 1)]
        return [(ABOVE, column + self.side)] if below else []

    def before(self, column: int) -> list[int]:
        """The pixels to the left of this one and above."""
        if not self.side:
            return []
        inside = column % self.block
        left = [column - 1] if inside % self.side else []
        return [*left, column - self.side] if inside >= self.side else left


def best_image(positions: np.ndarray, shape: tuple[int, ...]) -> Image:
    """A convolution's kernel; or whichever square that a linear layer may have been made to read shows the most
    non-zeros one below the other."""
    if len(shape) > 2:
        return Image(shape[-1], prod(shape[2:])) if shape[-1] > 1 else Image()
    rows, columns = matrix_shape(shape)
    expected = positions.size**2 / max(1, rows * columns)
    best, most = Image(), 2 * expected**0.5
    for side in SIDES:
        if columns % side**2:
            continue
        below = positions[positions % side**2 < side * (side - 1)] + side
        excess = np.isin(below, positions).sum() - expected * (side - 1) / side
        if excess > most:
            best, most = Image(side, side**2), excess
    return best


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor as a matrix: the first axis (outputs) by all others; a vector is one row."""
    return (1, prod(shape)) if len(shape) < 2 else (shape[0], prod(shape[1:]))
