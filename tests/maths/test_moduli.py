"""maths.moduli: co-primality decided exactly, the common factor named, factors into cyclotomic polynomials."""

from itertools import combinations

import pytest

from secateur.errors import AlgorithmError
from secateur.maths.moduli import cyclotomic, fields, moduli_of_points, polynomial_generator
from secateur.maths.polynomial import ONE, common_factor, parse, power, product


def test_infinity_is_added_where_one_condition_is_missing():
    assert str(polynomial_generator("x, x^6-1", 6, 3)) == "x, x^6-1, inf"
    assert str(polynomial_generator("x^3-1, x^3+1", 4, 3)) == "x^3-1, x^3+1"
    assert polynomial_generator(["x", "inf"], 1, 2).conditions == 2


@pytest.mark.parametrize(
    ("moduli", "message"),
    [
        ("x, x-1, x^2-1", r"x-1 and x\^2-1 share the factor x-1"),
        ("x^2+1, x^6+1", r"x\^2\+1 and x\^6\+1 share the factor x\^2\+1"),
        ("x^4-1, x^2+1", r"share the factor x\^2\+1"),
        ("x, x", "x is repeated"),
        ("x^2, x-1", r"x\^2 is not in the family"),
        ("2x, x-1", "2x is not in the family"),
        ("3, x-1", "3 is not in the family"),
        ("x, inf, inf", "infinity is repeated"),
        ("x, x^2-1", "needs degrees that sum to 5 .* or to 6 without; those of x, x.2-1 sum to 3"),
        ("", "is no polynomial"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(moduli, message):
    with pytest.raises(AlgorithmError, match=message):
        polynomial_generator(moduli, 4, 3)


def twos(n):
    return (n & -n).bit_length() - 1


@pytest.mark.parametrize(("a", "b"), [(a, b) for a in range(1, 13) for b in range(1, 13)])
def test_euclid_agrees_with_the_rule_of_powers_of_two(a, b):
    coprime = lambda one, two: common_factor(one, two) == ONE  # noqa: E731
    assert coprime(power(a) - ONE, power(b) + ONE) == (twos(a) <= twos(b))
    assert coprime(power(a) + ONE, power(b) + ONE) == (twos(a) != twos(b))
    assert not coprime(power(a) - ONE, power(b) - ONE)


@pytest.mark.parametrize("n", range(1, 14))
def test_fields_are_the_irreducible_factors(n):
    for modulus in (power(n) - ONE, power(n) + ONE):
        found = fields(modulus)
        assert product(field.polynomial for field in found) == modulus
        assert all(common_factor(a.polynomial, b.polynomial) == ONE for a, b in combinations(found, 2))
        assert all(field.polynomial == cyclotomic(field.order) for field in found)


def test_known_cyclotomic_polynomials():
    assert [str(cyclotomic(d)) for d in (1, 2, 3, 4, 6, 8, 12)] == [
        "x-1", "x+1", "x^2+x+1", "x^2+1", "x^2-x+1", "x^4+1", "x^4-x^2+1",
    ]  # fmt: skip


def test_points():
    assert list(map(str, moduli_of_points((0, "3/5", -2, "inf")))) == ["x", "x-3/5", "x+2", "inf"]
    assert fields(parse("x-3/5"))[0].order == 0


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ((0, 1, "2/2"), "2/2 is repeated"),
        (("inf", "INF"), "repeated"),
        ((0.6,), "0.6 is no exact point"),
        ((True,), "no exact point"),
        (("1/0",), "no exact point"),
        (("two",), "no exact point"),
    ],
)
def test_bad_points(points, message):
    with pytest.raises(AlgorithmError, match=message):
        moduli_of_points(points)
