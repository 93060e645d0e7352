"""ir.coding.closed_table: the smallest stream of the rows that apply, and streams that name no row."""

import pytest

from secateur.errors import ArtifactError
from secateur.ir.coding.closed_table import row_of, smallest


def test_the_smallest_stream_of_the_rows_that_apply_is_kept():
    assert smallest([(0, b"long"), (1, None), (2, b"ab"), (3, b"cd")]) == (b"\x02", b"ab")
    assert smallest([(4, b"")]) == (b"\x04", b"")


def test_a_stream_names_its_row():
    row, reader = row_of(("first", "second"), b"\x01rest", "row")
    assert row == "second"
    assert bytes(reader.rest()) == b"rest"


@pytest.mark.parametrize("index", [2, 255])
def test_a_row_that_is_not_there_is_refused(index):
    with pytest.raises(ArtifactError, match=f"there is no thing {index}"):
        row_of(("first", "second"), bytes([index]) + b"rest", "thing")


def test_a_stream_without_an_index_is_refused():
    with pytest.raises(ArtifactError):
        row_of(("first", "second"), b"", "thing")
