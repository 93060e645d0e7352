"""An alphabet numbers its codes in their order, without gaps, and knows how many bits that takes."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding.alphabet import Alphabet


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_an_alphabet_numbers_its_codes(bits: int, zero: bool):
    alphabet = Alphabet(bits, zero)
    codes = alphabet.codes(np.arange(alphabet.size))
    assert np.all(np.diff(codes.astype(int)) > 0)
    assert (0 in codes) == zero
    assert codes.max() == -codes.min() == alphabet.largest
    assert np.array_equal(alphabet.symbols(codes), np.arange(alphabet.size))
    with pytest.raises(ArtifactError, match="leaves its grid"):
        alphabet.codes(np.array([alphabet.size]))


def test_bits():
    assert [Alphabet(bits, zero=False).symbol_bits for bits in (2, 3, 8)] == [1, 3, 8]
    assert [Alphabet(bits, zero=True).symbol_bits for bits in (2, 3, 8)] == [2, 3, 8]
    assert [Alphabet(bits, zero=False).magnitude_bits for bits in (2, 3, 8)] == [0, 2, 7]
    assert [Alphabet(bits, zero=True).magnitude_bits for bits in (2, 3, 8)] == [1, 2, 7]
