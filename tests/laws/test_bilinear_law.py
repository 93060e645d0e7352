"""Every algorithm the generator makes is a convolution: the whole family, all sizes, drawn shapes, planted faults."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.maths.bilinear import Bilinear
from secateur.maths.exact_matrix import ExactMatrix, exact
from secateur.maths.family import coprime_sets
from secateur.maths.nesting import convolution_generator, nested, of_moduli, of_points, split_fields
from secateur.maths.point_search import candidates
from secateur.maths.polynomial import polynomial, power
from secateur.maths.product_rows import product_matrix

LONGEST = 14


def test_the_family_has_317_sets_up_to_14():
    assert sum(1 for degree in range(1, LONGEST) for _ in coprime_sets(degree)) == 317


@pytest.mark.parametrize("degree", range(1, LONGEST))
def test_every_set_and_every_size_is_proved(degree):
    """With the point at infinity, in all ways to share N = degree + 1 between outputs and taps."""
    for moduli in coprime_sets(degree):
        for taps in range(1, degree + 2):
            made = split_fields((degree + 2 - taps,), (taps,), (moduli,))
            assert made.proves(), f"{made}"


@pytest.mark.parametrize("degree", range(1, 9))
def test_every_set_without_infinity_is_proved(degree):
    for moduli in coprime_sets(degree):
        for taps in range(1, degree + 1):
            assert split_fields((degree + 1 - taps,), (taps,), (moduli,)).proves()


def direct(x, w):
    """The definition, on arrays of any number of dimensions."""
    outputs = [n - r + 1 for n, r in zip(x.shape, w.shape, strict=True)]
    y = np.zeros(outputs)
    for i in np.ndindex(*outputs):
        window = tuple(slice(a, a + r) for a, r in zip(i, w.shape, strict=True))
        y[i] = (x[window] * w).sum()
    return y


def agrees(algorithm: Bilinear, seed: int = 0) -> bool:
    """Whether it gives what the definition gives, on random integers: an oracle of its own beside the proof."""
    random = np.random.default_rng(seed)
    x, w = (random.integers(-9, 10, size).astype(float) for size in (algorithm.inputs, algorithm.taps))
    wanted = direct(x, w)
    return np.allclose(algorithm(x, w), wanted, atol=1e-6 * max(1, abs(wanted).max()) * algorithm.condition)


@st.composite
def axes(draw):
    """One dimension: outputs, taps and moduli for them, from the family and from points."""
    outputs, taps = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    sets = list(coprime_sets(outputs + taps - 2)) if outputs + taps > 2 else []
    if sets and draw(st.booleans()):
        return outputs, taps, draw(st.sampled_from(sets))
    signed = [sign * p for p in candidates() for sign in (1, -1)]
    count = outputs + taps - 2
    points = draw(st.lists(st.sampled_from([Fraction(0), *signed]), min_size=count, max_size=count, unique=True))
    return outputs, taps, (*(polynomial([-p, 1]) for p in points), "inf")


@settings(max_examples=60)
@given(axes())
def test_drawn_algorithms_in_one_dimension(axis):
    made = of_moduli(*axis)
    assert made.proves()
    assert agrees(made)


@settings(max_examples=25)
@given(axes(), axes())
def test_drawn_rectangles_in_two_dimensions(one, two):
    made = convolution_generator(*zip(one, two, strict=True))
    assert made.proves()
    assert agrees(made)
    assert split_fields(*zip(one, two, strict=True)).proves()


@settings(max_examples=8)
@given(axes(), axes(), axes())
def test_drawn_boxes_in_three_dimensions(one, two, three):
    small = [axis if axis[0] * axis[1] <= 6 else (1, 1, ("inf",)) for axis in (one, two, three)]
    made = nested(*(of_moduli(*axis) for axis in small))
    assert made.proves()
    assert agrees(made)


def changed(matrix: ExactMatrix, at: tuple[int, int], by: Fraction) -> ExactMatrix:
    """The matrix with one entry changed."""
    rows = matrix.rows()
    rows[at[0]][at[1]] += by
    return exact(rows)


ALGORITHMS = {
    "points": of_points(4, 3, (0, 1, -1, 2, -2)),
    "moduli": of_moduli(3, 3, "x, x-1, x^2+1"),
    "split": split_fields((2, 2), (3, 3), ("x, x^2+1",) * 2),
}


@settings(max_examples=60)
@given(st.data(), st.sampled_from(sorted(ALGORITHMS)), st.sampled_from(["at", "g", "bt"]))
def test_a_planted_wrong_entry_is_caught(data, name, which):
    """Any entry, changed by anything, also by next to nothing: by the identity alone and by the whole proof."""
    algorithm = ALGORITHMS[name]
    matrix = getattr(algorithm, which)
    at = tuple(data.draw(st.integers(0, size - 1)) for size in matrix.shape)
    by = data.draw(st.sampled_from([Fraction(1), Fraction(-1, 3), Fraction(1, 10**30), Fraction(2**31 - 1)]))
    wrong = dataclasses.replace(algorithm, **{which: changed(matrix, at, by)})
    assert not wrong._identity_holds()
    assert not wrong.proves()


@pytest.mark.parametrize("transform", ["output_transform", "filter_transform", "input_transform"])
def test_a_program_that_is_not_its_matrix_is_caught(transform):
    algorithm, other = ALGORITHMS["points"], of_points(4, 3, (0, 1, -1, 2, "1/2"))
    assert not dataclasses.replace(algorithm, **{transform: getattr(other, transform)}).proves()


@pytest.mark.parametrize("n", range(1, 9))
def test_x_n_plus_1_is_skew_circulant_and_x_n_minus_1_circulant(n):
    """The product matrix of the published generator: for x^n + 1 the strict upper triangle is negated."""
    d = list(range(2, n + 2))
    circulant = np.array([[d[(i - j) % n] for j in range(n)] for i in range(n)])
    sign = np.where(np.triu(np.ones((n, n)), 1) > 0, -1, 1)
    one = polynomial([1])
    np.testing.assert_array_equal(np.asarray(product_matrix(power(n) - one, d)), circulant)
    np.testing.assert_array_equal(np.asarray(product_matrix(power(n) + one, d)), circulant * sign)
