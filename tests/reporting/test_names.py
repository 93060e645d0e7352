"""Names of tensors keep what tells them apart."""

import pytest

from secateur.reporting.names import cut, told_apart


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["body.0.fc.weight", "body.1.fc.weight"], ["0", "1"]),
        (["conv1.weight", "fc2.weight"], ["conv1", "fc2"]),
        (["a.weight", "a.b.weight"], ["weight", "b.weight"]),
        (["a", "a.b"], ["a", "a.b"]),
        (["x.a", "x.a"], ["x.a", "x.a"]),
        (["x.a"], ["x.a"]),
        ([], []),
    ],
)
def test_what_all_share_is_left_out(names, short):
    assert told_apart(names) == short


@pytest.mark.parametrize(
    ("name", "room", "text"),
    [("abcdefgh", 8, "abcdefgh"), ("abcdefgh", 7, "abc…fgh"), ("abcdefgh", 4, "ab…h"), ("abcdefgh", 1, "…h")],
)
def test_cutting_leaves_both_ends(name, room, text):
    assert cut(name, room) == text
