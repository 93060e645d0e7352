import pytest
from jinja2 import UndefinedError

from secateur.reporting.templating import filled


def test_values_are_escaped_and_none_may_be_missing():
    page = filled("algorithms.html", title="<b>", dtype="float32", how="How.", chart="", rows=[])
    assert "<title>&lt;b&gt;</title>" in page
    assert "<style>" in page
    with pytest.raises(UndefinedError):
        filled("algorithms.html", title="no rows")
