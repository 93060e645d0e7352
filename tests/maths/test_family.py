"""maths.family: the sets by brute force, candidates once each, products counted without building."""

from itertools import chain, combinations

import pytest

from secateur.errors import AlgorithmError
from secateur.maths.family import candidates, coprime_sets, count_products, fields_of
from secateur.maths.moduli import check_coprime
from secateur.maths.nesting import convolution_generator
from secateur.maths.polynomial import parse


def coprime(polynomials):
    try:
        check_coprime(polynomials)
    except AlgorithmError:
        return False
    return True


@pytest.mark.parametrize("degree", range(1, 7))
def test_sets_by_brute_force(degree):
    """All subsets of the family of that degree, tested by Euclid."""
    family = [parse("x"), *(parse(f"x^{n}{sign}1") for n in range(1, degree + 1) for sign in "-+")]
    subsets = chain.from_iterable(combinations(family, size) for size in range(1, degree + 1))
    wanted = {frozenset(s) for s in subsets if sum(p.degree for p in s) == degree and coprime(s)}
    found = [frozenset(map(parse, one)) for one in coprime_sets(degree)]
    assert len(found) == len(set(found))
    assert set(found) == wanted


@pytest.mark.parametrize(("outputs", "taps"), [(1, 1), (2, 1), (1, 3), (2, 3), (4, 3), (3, 5)])
def test_candidates_fit_and_are_different(outputs, taps):
    found = candidates(outputs, taps)
    assert all(moduli.conditions == outputs + taps - 1 for moduli in found)
    keys = {(frozenset(fields_of(moduli)), moduli.infinity) for moduli in found}
    assert len(keys) == len(found)


def test_products_are_counted_as_they_come_out_or_more():
    """More only where few taps leave some of a field's products without any."""
    equal = []
    for one in candidates(3, 3)[::4]:
        for two in candidates(2, 3)[::3]:
            made = convolution_generator((3, 2), (3, 3), (str(one).split(","), str(two).split(",")))
            assert count_products([one, two]) >= made.products
            equal.append(count_products([one, two]) == made.products)
    assert sum(equal) > len(equal) / 2
