"""maths.polynomial: division, common factors and inverses by their definitions; the text form both ways."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from secateur.errors import AlgorithmError
from secateur.maths.polynomial import ONE, common_factor, inverse, parse, polynomial, power, product

coefficients = st.lists(st.builds(Fraction, st.integers(-4, 4), st.integers(1, 3)), max_size=6)
polynomials = coefficients.map(polynomial)


@given(polynomials, polynomials)
def test_division_with_remainder(a, b):
    assume(b.coefficients)
    quotient, rest = divmod(a, b)
    assert quotient * b + rest == a
    assert rest.degree < b.degree or b.degree == 0
    assert (a // b, a % b) == (quotient, rest)


def test_division_by_zero():
    with pytest.raises(ZeroDivisionError, match="zero polynomial"):
        divmod(ONE, polynomial([]))


@given(polynomials, polynomials, polynomials)
def test_common_factor_divides_both_and_holds_what_is_common(a, b, c):
    assume(a.coefficients and b.coefficients and c.coefficients)
    found = common_factor(a * c, b * c)
    assert not ((a * c) % found).coefficients
    assert not ((b * c) % found).coefficients
    assert not (found % c.monic()).coefficients


@given(polynomials, polynomials)
def test_inverse(a, modulus):
    assume(a.coefficients and modulus.degree > 0)
    if common_factor(a, modulus) == ONE:
        assert (inverse(a, modulus) * a) % modulus == ONE
    else:
        with pytest.raises(AlgorithmError, match="multiples of"):
            inverse(a, modulus)


@given(polynomials)
def test_text_both_ways(a):
    assert parse(str(a)) == a


def test_the_forms_people_write():
    assert parse("x^6 - 1") == power(6) - ONE
    assert parse("x-3/5") == polynomial([Fraction(-3, 5), 1])
    assert parse("-2*x^2+x") == polynomial([0, 1, -2])
    assert str(product([parse("x-1"), parse("x+1")])) == "x^2-1"
    assert str(polynomial([])) == "0"


@pytest.mark.parametrize("text", ["", "y", "x^", "2 3", "xx", "x^-1", "x-1/0", "x^65", "1" * 300, "x x", "+", "0x10"])
def test_other_text_is_refused(text):
    with pytest.raises(AlgorithmError):
        parse(text)
