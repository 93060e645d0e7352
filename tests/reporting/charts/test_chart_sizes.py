"""Bytes by tensor: bars in proportion, numbers beside them, streams told apart."""

from xml.etree import ElementTree

import pytest

from secateur.reporting.charts.sizes import bytes_chart, file_chart


def test_bars_are_in_proportion():
    rows = [("big & <b>", 4000, {"positions": 100, "values": 300}), ("small" * 10, 1000, {"values": 200})]
    parsed = ElementTree.fromstring(bytes_chart("Bytes", rows, ["positions", "values"]))
    before = [float(node.get("width")) for node in parsed.iter("rect") if node.get("class") == "before"]
    assert before[0] == pytest.approx(4 * before[1], rel=1e-3)
    after = [
        float(node.get("width"))
        for node in parsed.iter("rect")
        if node.get("height") == "14" and node.get("class") != "before"
    ]
    assert after == pytest.approx([after[0], 3 * after[0], 2 * after[0]], rel=1e-3)
    texts = [node.text for node in parsed.iter("text")]
    assert {"4,000", "400", "1,000", "200", "positions", "values", "big & <b>"} <= set(texts)
    assert "big & <b>: 4,000 bytes before, 400 after" in parsed.find("desc").text


def test_no_rows_and_zero_bytes_are_drawn():
    ElementTree.fromstring(bytes_chart("Bytes", [], []))
    ElementTree.fromstring(bytes_chart("Bytes", [("empty", 0, {})], []))


def test_the_whole_file_is_one_bar_of_its_parts():
    parsed = ElementTree.fromstring(file_chart("File", {"positions": 100, "values": 300, "header": 0}))
    widths = [float(node.get("width")) for node in parsed.iter("rect") if node.get("height") == "22"]
    assert widths == pytest.approx([190, 570, 0])
    texts = [node.text for node in parsed.iter("text")]
    assert texts == ["positions 100 B, 25.0 %", "values 300 B, 75.0 %", "header 0 B, 0.0 %"]
    ElementTree.fromstring(file_chart("File", {"header": 0}))
