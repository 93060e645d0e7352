"""maths.matrix_json: numbers keep their value; what is read is checked by type and size before it is used."""

import json
from fractions import Fraction

import pytest

from secateur.errors import AlgorithmError
from secateur.maths.exact_matrix import exact
from secateur.maths.matrix_json import (
    check_keys,
    plain_matrix,
    plain_transform,
    read_count,
    read_extents,
    read_matrix,
    read_object,
    read_recipe,
    read_transform,
)
from secateur.maths.transform import Stage, Transform

MATRIX = exact([[1, Fraction(-1, 3)], [2**60, 0]])


def test_matrices_both_ways():
    plain = plain_matrix(MATRIX)
    assert plain == [[1, "-1/3"], [str(2**60), 0]], "integers that JSON readers may round are text"
    assert read_matrix(json.loads(json.dumps(plain))) == MATRIX


def test_transforms_both_ways():
    transform = Transform((Stage(MATRIX, 2, 3), Stage(MATRIX, 3, 2)))
    assert read_transform(json.loads(json.dumps(plain_transform(transform)))) == transform


@pytest.mark.parametrize("entry", [0.5, True, None, "1/2/3", "a", "1/00", "0x1", 2**500, "9" * 101, [1], "1e5", ""])
def test_entries_that_are_no_numbers(entry):
    with pytest.raises(AlgorithmError, match="entry"):
        read_matrix([[entry]])


@pytest.mark.parametrize("data", [None, [], [[]], [[1], [1, 2]], "ab", [[0] * 1025] * 1024, {"a": 1}])
def test_shapes_that_are_no_matrix(data):
    with pytest.raises(AlgorithmError):
        read_matrix(data)


@pytest.mark.parametrize("stages", [[], {}, [{"before": 1}], [{"before": 0, "after": 1, "matrix": [[1]]}]])
def test_stages_that_are_none(stages):
    with pytest.raises(AlgorithmError):
        read_transform(stages)


def test_stages_must_fit_and_stay_small():
    stage = {"before": 1, "after": 1, "matrix": [[1, 1]]}
    with pytest.raises(AlgorithmError, match="do not fit"):
        read_transform([stage, stage])
    with pytest.raises(AlgorithmError, match="beyond"):
        read_transform([dict(stage, before=2**20)])


def test_small_values():
    assert read_extents([2, 3]) == (2, 3)
    assert read_recipe("x, x^6-1, inf | x-3/5, x+1") == "x, x^6-1, inf | x-3/5, x+1"
    for bad in (0, 65, True, "1", None):
        with pytest.raises(AlgorithmError):
            read_count(bad, most=64)
    with pytest.raises(AlgorithmError, match="moduli such as"):
        read_recipe("import os")
    with pytest.raises(AlgorithmError, match="missing or unknown"):
        check_keys({"a": 1}, {"b"})
    with pytest.raises(AlgorithmError, match="not JSON"):
        read_object("nothing")
