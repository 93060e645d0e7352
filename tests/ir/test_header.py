"""The header comes back member by member, stays small, and refuses what it does not know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sample_artifacts import tiny

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact
from secateur.ir.formats import Dense
from secateur.ir.header import header_bytes, read_header
from secateur.ir.records import Fold
from secateur.ir.strict_json import from_json, to_json


def header_of(artifact: Artifact) -> bytes:
    parts = artifact.axes, len(artifact.units), artifact.folds, artifact.meta
    return header_bytes(artifact.graph, artifact.tensors, *parts)


def members() -> dict[str, Any]:
    found = from_json(header_of(tiny()), "header")
    assert isinstance(found, dict)
    return found


def test_everything_but_the_numbers_comes_back():
    artifact = tiny()
    found = read_header(header_of(artifact))
    assert found.shapes == {name: tensor.shape for name, tensor in artifact.tensors.items()}
    assert list(found.shapes) == list(artifact.tensors)
    assert (found.axes, found.folds, found.meta) == (artifact.axes, artifact.folds, artifact.meta)
    assert found.groups == 1
    assert found.graph(artifact.tensors) == artifact.graph


def test_what_is_empty_is_left_out():
    data = header_bytes(None, {"w": Dense(np.zeros(3, dtype=np.float32))}, {}, 0, (), {})
    assert data == b'{"tensors":[["w",[3]]]}'
    found = read_header(data)
    assert (found.axes, found.groups, found.folds, found.meta, found.graph({})) == ({}, 0, (), {}, None)


EDITS: list[tuple[str, Any]] = [
    ("tensors", None),
    ("tensors", {}),
    ("tensors", ["conv.weight"]),
    ("tensors", [[]]),
    ("tensors", [["a"]]),
    ("tensors", [[1, [2]]]),
    ("tensors", [["a", [2]], ["a", [2]]]),
    ("tensors", [["a", [-2]]]),
    ("tensors", [["a", [2.0]]]),
    ("tensors", [["a", [True]]]),
    ("tensors", [["a", [2**39, 2**39]]]),
    ("tensors", [["a", [2**41]]]),
    ("tensors", [["a", [1] * 17]]),
    ("tensors", [["a", [2], [0, 0]]]),
    ("tensors", [["a", [2], [0, 0, 1, 0, 0, 1]]]),
    ("tensors", [["a", [2], [0, -1, 1]]]),
    ("tensors", [["a", [2], {}]]),
    ("tensors", [["a", [2], []]]),  # would not be written again
    ("tensors", [["a", [2], [], []]]),
    ("groups", -1),
    ("groups", 10**9),
    ("groups", 1.0),
    ("folds", [["bn", "conv"]]),
    ("folds", [["bn", "conv", 1]]),
    ("folds", [["bn", None, 1e-5]]),
    ("folds", {}),
    ("meta", []),
    ("more", 1),
]


@pytest.mark.parametrize(("member", "value"), EDITS, ids=[f"{member} {value}"[:40] for member, value in EDITS])
def test_headers_that_say_nothing_sensible_are_refused(member: str, value: Any):
    with pytest.raises(ArtifactError):
        read_header(to_json({**members(), member: value}, "header"))


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b'"tensors"', b"{}"])
def test_other_json_is_refused(data: bytes):
    with pytest.raises(ArtifactError):
        read_header(data)


def test_meta_that_json_cannot_hold_is_refused_by_name():
    with pytest.raises(ArtifactError, match=r"meta.*tuple"):
        header_of(tiny(meta={"shape": (1, 2)}))
    with pytest.raises(ArtifactError, match="only finite numbers"):
        header_of(tiny(folds=(Fold("a", "b", float("inf")),)))
