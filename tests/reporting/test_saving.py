"""Both files of a page, by their ending; numbers JSON cannot hold are null."""

import json
import math
from dataclasses import dataclass, field

import pytest

from secateur.errors import DataError
from secateur.reporting.saving import json_text, save, written


class Made:
    def to_html(self):
        return "<p>ü"

    def to_json(self):
        return "{}"


@dataclass
class Facts:
    good: float = 0.5
    bad: dict = field(default_factory=lambda: {"a": [math.nan, (math.inf, 1)]})


def test_the_ending_decides(tmp_path):
    save(Made(), tmp_path / "page.HTML")
    assert (tmp_path / "page.HTML").read_bytes() == "<p>ü".encode()
    assert written(Made(), "x.json") == b"{}"
    with pytest.raises(DataError, match=r"a report is \.html or \.json, not 'page\.pdf'"):
        written(Made(), "folder/page.pdf")


def test_json_says_what_it_is_and_is_strict():
    assert json.loads(json_text("kind", 3, Facts())) == {"kind": 3, "good": 0.5, "bad": {"a": [None, [None, 1]]}}
