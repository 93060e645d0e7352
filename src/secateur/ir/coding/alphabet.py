"""The codes that a quantized tensor may hold, numbered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import ArtifactError

if TYPE_CHECKING:
    from jaxtyping import Int8, Integer

Places = tuple[np.ndarray | None, tuple[int, ...]]
"""Where codes lie: strictly increasing flat positions, None for all there are; and the shape of their tensor."""


@dataclass(frozen=True)
class Alphabet:
    """Integers from -largest to largest, largest = 2^(bits-1) - 1, with zero or without."""

    bits: int
    zero: bool

    @property
    def largest(self) -> int:
        return (1 << (self.bits - 1)) - 1

    @property
    def size(self) -> int:
        return 2 * self.largest + self.zero

    @property
    def symbol_bits(self) -> int:
        """Bits of the number of a code."""
        return (self.size - 1).bit_length()

    @property
    def magnitude_bits(self) -> int:
        """Bits of |code|, counted from the smallest there is."""
        return (self.largest - (not self.zero)).bit_length()

    def symbols(self, codes: Int8[np.ndarray, " count"]) -> Integer[np.ndarray, " count"]:
        """Codes as numbers from 0 to size - 1, in their order."""
        return codes.astype(np.int16) + np.int16(self.largest) - (np.int16(0) if self.zero else codes > 0)

    def codes(self, symbols: Integer[np.ndarray, " count"]) -> Int8[np.ndarray, " count"]:
        """Codes from their numbers; ArtifactError where one is too large."""
        if symbols.size and int(symbols.max()) >= self.size:
            raise ArtifactError(f"damaged artifact: a code of {self.bits} bits leaves its grid")
        codes = symbols.astype(np.int16) - np.int16(self.largest)
        return (codes if self.zero else codes + (codes >= 0)).astype(np.int8)
