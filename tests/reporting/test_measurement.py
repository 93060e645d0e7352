"""Measurements read as a person would say them, and only like is compared with like."""

import math

import pytest

from secateur.errors import DataError
from secateur.reporting.measurement import UNITS, Change, Measurement


def measured(value, unit="bytes", name="file size"):
    return Measurement(name, value, unit, "somewhere")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9, "fraction", "90.00 %"),
        (0.02, "fraction", "2.00 %"),
        (0.00812, "fraction", "0.812 %"),
        (0.000123, "fraction", "0.0123 %"),
        (0, "fraction", "0.00 %"),
        (1, "fraction", "100.00 %"),
        (1722320, "bytes", "1,722,320 B"),
        (12345, "weights", "12,345"),
        (1.23456, "seconds", "1.235 s"),
        (3.3e-06, "1", "3.3e-06"),
        (math.nan, "fraction", "-"),
    ],
)
def test_text(value, unit, text):
    assert str(measured(value, unit)) == text


def test_every_unit_writes_a_number():
    assert all(any(c.isdigit() for c in write(1234.5)) for write in UNITS.values())


def test_an_unknown_unit_is_refused():
    with pytest.raises(DataError, match="no unit 'furlongs': use one of fraction"):
        measured(1, "furlongs")


@pytest.mark.parametrize(
    ("before", "after", "unit", "name", "text"),
    [
        (1000, 10, "bytes", "file size", "100.0x smaller"),
        (10, 20, "bytes", "file size", "2.0x larger"),
        (1000, 979, "weights", "parameters", "2.1 % smaller"),
        (1000, 1010, "weights", "parameters", "1.0 % larger"),
        (7, 7, "bytes", "file size", "same"),
        (1.0, 0.02, "fraction", "density", "50.0x smaller"),
        (0.9, 0.8955, "fraction", "accuracy", "-0.45 points"),
        (0.5, 0.75, "1", "loss", "+0.25"),
        (math.nan, 0.75, "1", "loss", "-"),
        (3, 0, "bytes", "file size", "nothing left"),
    ],
)
def test_change(before, after, unit, name, text):
    assert str(Change(measured(before, unit, name), measured(after, unit, name))) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"), [(0.25, "fraction", "-25.00 points"), (0.25, "1", "-0.25"), (9, "seconds", "+8.5")]
)
def test_change_of_a_score_is_a_difference(value, unit, text):
    scores = [Measurement("error", number, unit, "somewhere", higher_is_better=False) for number in (0.5, value)]
    assert str(Change(*scores)) == text


def test_what_is_a_score():
    assert measured(0.5, "fraction", "accuracy").is_score
    assert Measurement("loss", 0.5, "1", "somewhere", higher_is_better=False).is_score
    assert not measured(0.5, "fraction", "density").is_score


def test_apples_and_pears_are_refused():
    with pytest.raises(DataError, match="no before and after of one thing"):
        Change(measured(1, "bytes"), measured(1, "weights"))
    with pytest.raises(DataError, match="no before and after of one thing"):
        Change(measured(1, name="a"), measured(1, name="b"))
