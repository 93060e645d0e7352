"""ir.target: a wish is checked when it is made."""

import pytest

from secateur.errors import TargetError
from secateur.ir.target import Target


def test_wishes_are_those_set():
    assert Target(density=0.1, macs=1000).wishes() == {"density": 0.1, "macs": 1000}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"density": 0},
        {"density": 1.5},
        {"density": -0.1},
        {"density": float("nan")},
        {"density": "0.1"},
        {"density": True},
        {"macs": 0.5},
        {"packed_bytes": float("inf")},
        {"density": 0.1, "values": "float8"},
        {"average_bits": 1.9},
        {"average_bits": "4"},
    ],
)
def test_impossible_wishes_raise(wrong):
    with pytest.raises(TargetError):
        Target(**wrong)


def test_a_percentage_is_explained():
    with pytest.raises(TargetError, match=r"10 % is 0\.1"):
        Target(density=10)


def test_value_bits():
    assert Target(density=1, values="float16").value_bits == 16
