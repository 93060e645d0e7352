"""JSON that two readers cannot understand differently: all else is refused, both ways."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import ArtifactError
from secateur.ir.strict_json import MOST_DEPTH, from_json, to_json

text = st.text(st.characters(exclude_categories=["Cs"]))
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(leaves | text, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=20)


@settings(deadline=None)
@given(values)
def test_values_come_back_with_their_types(value: Any):
    found = from_json(to_json(value, "it"), "it")
    assert found == value
    assert repr(found) == repr(value)  # 1, 1.0 and True are equal in Python


def test_the_form_is_compact():
    assert to_json({"é": [1, 2.5, None, True], "b": "\n"}, "it") == '{"é":[1,2.5,null,true],"b":"\\n"}'.encode()


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[1,]", b"nan", b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b'{"a":1,"a":2}', b"[1] x"),
        *(b'"\xff"', b'"\\ud800"', b'{"\\udfff":1}', b"1" * 5000, b"9223372036854775808", b"'a'", b'"\n"'),
        *(b"[" * (MOST_DEPTH + 2) + b"]" * (MOST_DEPTH + 2), b"[" * 200_000, b'{"a":' * 200_000),
    ],
)
def test_loose_json_is_refused(data: bytes):
    with pytest.raises(ArtifactError, match="thing"):
        from_json(data, "thing")


@pytest.mark.parametrize(
    "value",
    [float("nan"), [float("inf")], {"a": {1: 2}}, (1, 2), {1, 2}, b"x", 2**63, -(2**63) - 1, "\ud800", object()],
)
def test_values_that_json_cannot_hold_are_refused(value: Any):
    with pytest.raises(ArtifactError, match="thing"):
        to_json(value, "thing")


def test_a_value_that_holds_itself_is_refused():
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(ArtifactError, match="deeper"):
        to_json(ring, "thing")
