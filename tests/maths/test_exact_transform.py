"""maths.transform: stages, their product, their program and what they do to data are one and the same."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secateur.maths.exact_matrix import exact, identity
from secateur.maths.transform import Stage, Transform, along_axes

A = exact([[1, 1], [1, -1], [2, Fraction(1, 2)]])
B = exact([[1, 0, 3], [0, 1, 1]])


@given(st.integers(1, 3), st.integers(1, 3))
def test_a_stage_acts_along_its_axis(before, after):
    stage = Stage(A, before, after)
    x = np.random.default_rng(0).standard_normal((before * 2 * after, 4))
    whole = np.asarray(stage.whole())
    np.testing.assert_allclose(stage(x), whole @ x)
    assert stage.transposed().whole() == stage.whole().transposed()
    assert Transform((stage,)).program.matrix() == stage.whole()


def test_a_stage_multiplies_without_being_written_out():
    stage = Stage(A, 2, 3)
    rows = stage.whole().shape[1]
    other = exact([[Fraction(row * column, 7) for column in range(1, 5)] for row in range(rows)])
    assert stage.times(other) == stage.whole() @ other


def test_stages_multiply_the_first_one_first():
    transform = Transform((Stage(A), Stage(B)))
    assert transform.matrix == B @ A
    assert transform.program.matrix() == transform.matrix
    x = np.random.default_rng(0).standard_normal((2, 5))
    np.testing.assert_allclose(transform(x), np.asarray(B @ A) @ x)
    assert transform.adds == transform.program.adds
    assert transform.multiplies == transform.program.multiplies
    assert transform.roundings() >= transform.program.roundings()
    assert (transform.magnitude() >= abs(np.asarray(transform.matrix)) - 1e-12).all()


def test_axes_multiply_as_kronecker_products():
    two = along_axes([Transform((Stage(A), Stage(B))), Transform((Stage(A),))])
    assert two.matrix == (B @ A).kron(A)
    assert two.program.matrix() == two.matrix
    x = np.random.default_rng(0).standard_normal(4)
    np.testing.assert_allclose(two(x), np.asarray(two.matrix) @ x)


def test_the_shortest_form_is_kept():
    roundabout = Transform((Stage(A), Stage(identity(3).scaled_rows([1, 1, 2]))))
    assert len(roundabout.shortest().stages) == 1
    fast = Transform((Stage(exact([[1, 1], [1, -1]]), 1, 8), Stage(exact([[1, 1], [1, -1]]), 2, 4)))
    assert fast.shortest().adds <= fast.adds
    assert fast.shortest().matrix == fast.matrix
