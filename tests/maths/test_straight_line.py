"""maths.straight_line: the steps equal the matrix, exactly; shared additions are counted by hand once."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secateur.maths.exact_matrix import exact
from secateur.maths.straight_line import Step, StraightLine, straight_line

integers = st.integers(-3, 3)
entries = st.one_of(integers, st.builds(Fraction, integers, st.integers(1, 5)))


def matrices(entry):
    sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))

    def rows(size):
        row = st.lists(entry, min_size=size[1], max_size=size[1])
        return st.lists(row, min_size=size[0], max_size=size[0])

    return sizes.flatmap(rows).map(exact)


@given(matrices(entries))
def test_steps_equal_the_matrix(matrix):
    program = straight_line(matrix)
    assert program.matrix() == matrix
    written = sum(max(0, sum(entry != 0 for entry in row) - 1) for row in matrix.rows())
    assert program.adds <= written


@given(matrices(integers))
def test_integers_stay_integers(matrix):
    program = straight_line(matrix)
    assert all(c.denominator == 1 for step in program.steps for c in (step.ca, step.cb))


def test_a_step_of_fractions_is_one_fused_multiply_add():
    """x + 2/7 y, shared by two rows: one coefficient is 1, where integers would take 7 x + 2 y."""
    row = [Fraction(1, 2), Fraction(1, 7)]
    (step, *_) = straight_line(exact([row, [*row[:1], Fraction(1, 7)]])).steps
    assert (step.ca, step.cb) == (1, Fraction(2, 7))


def test_sums_and_differences_are_shared():
    """Four outputs of four terms each, 12 additions by definition: a fast Walsh-Hadamard transform takes 8."""
    hadamard = exact([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    program = straight_line(hadamard)
    assert (program.adds, program.multiplies) == (8, 0)
    assert program.matrix() == hadamard


def test_multiplications_are_counted_and_shared():
    program = straight_line(exact([[5, 5, -5]]))
    assert (program.adds, program.multiplies) == (2, 1)


def test_special_rows():
    program = straight_line(exact([[0, 0], [0, 1], [0, -3]]))
    assert program.matrix() == exact([[0, 0], [0, 1], [0, -3]])
    assert program.outputs[1] == 1
    assert program.adds == 0


def test_runs_in_the_dtype_of_the_data():
    program = straight_line(exact([[1, Fraction(1, 3)], [2, -1]]))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    y = program(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.array([[1, 1 / 3], [2, -1]]) @ x, rtol=1e-6)
    whole = straight_line(exact([[1, 1], [2, -1]]))(np.array([[3], [4]], np.int16))
    assert whole.dtype == np.int16
    assert whole.tolist() == [[7], [2]]


def test_roundings_on_the_longest_way():
    one = Fraction(1)
    program = StraightLine(3, (Step(one, 0, one, 1), Step(Fraction(1, 2), 3, Fraction(1, 3), 2)), (4, 0))
    # 0 + 1: one. Then times 1/2: none; or 2 times a rounded 1/3: two. And the sum.
    assert program.roundings() == 3
    assert straight_line(exact([[1, 0]])).roundings() == 0
    assert straight_line(exact([[3, 0]])).roundings() == 1
