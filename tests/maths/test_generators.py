"""maths.generators: residues are remainders, columns rebuild a product, unused products are dropped."""

from fractions import Fraction

import numpy as np
import pytest

from secateur.maths.generators import first_matrix_generator, residues, second_matrix_generator, third_matrix_generator
from secateur.maths.moduli import fields, polynomial_generator
from secateur.maths.polynomial import polynomial

CASES = [("x, x^6-1", 6, 3), ("x^3-1, x^3+1", 4, 3), ("x, x-1/2, x^2+1", 3, 3), ("x^5+1, x-1", 5, 3)]


@pytest.mark.parametrize(("text", "outputs", "taps"), CASES)
def test_first_gives_remainders(text, outputs, taps):
    moduli = polynomial_generator(text, outputs, taps)
    coefficients = [Fraction(k + 1, 3) for k in range(outputs)]
    whole = polynomial(coefficients)
    wanted = [c for p in moduli.polynomials for f in fields(p) for c in (whole % f.polynomial).padded(f.degree)]
    if moduli.infinity:
        wanted.append(coefficients[-1])
    matrix = first_matrix_generator(moduli, outputs)
    found = [sum(a * b for a, b in zip(row, coefficients, strict=True)) for row in matrix.rows()]
    assert found == wanted


@pytest.mark.parametrize(("text", "outputs", "taps"), CASES)
def test_second_rebuilds_a_polynomial_from_its_residues(text, outputs, taps):
    """Chinese remainders: for a product of N coefficients, columns times residues give the coefficients back."""
    moduli = polynomial_generator(text, outputs, taps)
    size = outputs + taps - 1
    both = second_matrix_generator(moduli) @ first_matrix_generator(moduli, size)
    np.testing.assert_array_equal(np.asarray(both), np.eye(size))


def test_third_drops_products_that_see_no_taps():
    moduli = polynomial_generator("x^4+1", 4, 1)
    made = third_matrix_generator([residues(moduli, 4, 1)], split=False)
    assert made.filter_transform.matrix.shape[0] < 8
    assert all(any(row) for row in made.filter_transform.matrix.rows())
    assert made.known


def test_third_gives_integers_to_the_input():
    moduli = polynomial_generator("x, x^6-1", 6, 3)
    made = third_matrix_generator([residues(moduli, 6, 3)], split=False)
    bt = made.input_transform.matrix
    assert bt.denominator == 1
    assert all(bt.content(t) == 1 for t in range(bt.shape[0]))
    assert made.output_transform.matrix.denominator == 1
