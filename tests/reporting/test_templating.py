import pytest
from jinja2 import UndefinedError

from secateur.reporting.templating import _at_dots, filled


def test_values_are_escaped_and_none_may_be_missing():
    page = filled("algorithms.html", title="<b>", dtype="float32", how="How.", chart="", rows=[])
    assert "<title>&lt;b&gt;</title>" in page
    assert "<style>" in page
    with pytest.raises(UndefinedError):
        filled("algorithms.html", title="no rows")


def test_dotted_names_break_after_their_dots_and_stay_escaped():
    assert str(_at_dots("a.<b>.c")) == "a.<wbr>&lt;b&gt;.<wbr>c"
