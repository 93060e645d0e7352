"""The check of array shapes is on while these tests run, can fail, and leaves every other annotation alone."""

import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError, jaxtyped

from array_shapes import checked, holds_an_array, modules_with_shapes
from secateur.cli.demo_data import unfilter


@jaxtyped(typechecker=checked)
def scaled(x: Float[np.ndarray, "n m"], by: Float[np.ndarray, "n"], times: int = 1) -> Float[np.ndarray, "n m"]:
    return (x * by[:, None] if times else x[1:]).astype(np.float64)


def test_shapes_that_fit_pass_whatever_else_is_said():
    assert scaled(np.ones((2, 3)), np.ones(2), times="many").shape == (2, 3)


@pytest.mark.parametrize(
    "arguments",
    [(np.ones((2, 3)), np.ones(3)), (np.ones(2), np.ones(2)), (np.ones((2, 3), int), np.ones(2)), ([[1.0]], [1.0])],
)
def test_other_shapes_and_dtypes_are_noticed(arguments):
    with pytest.raises(TypeCheckError, match="parameters"):
        scaled(*arguments)


def test_a_wrong_result_is_noticed():
    with pytest.raises(TypeCheckError, match="return value"):
        scaled(np.ones((2, 3)), np.ones(2), times=0)


def test_the_package_is_checked():
    assert "secateur.cli.demo_data" in modules_with_shapes("secateur")
    with pytest.raises(TypeCheckError, match="residuals"):
        unfilter(np.zeros((3, 3), np.uint8))


def test_arrays_are_found_inside_other_annotations():
    assert holds_an_array(tuple[Float[np.ndarray, "n"], int])
    assert not holds_an_array(dict[str, np.ndarray])
