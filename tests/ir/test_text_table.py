"""Tables line up."""

from secateur.ir.text_table import text_table


def test_columns_line_up_and_numbers_go_right():
    assert text_table(("name", "bytes"), [("a", "1,000"), ("longer", "7")], right=("bytes",)) == (
        "name    bytes\n"
        "------  -----\n"
        "a       1,000\n"
        "longer      7"
    )  # fmt: skip


def test_no_rows_leave_the_header():
    assert text_table(("a", "b"), []) == "a  b\n-  -"
