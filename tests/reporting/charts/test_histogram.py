"""Histograms: every bin that holds a weight is visible, and both edges of the threshold."""

from xml.etree import ElementTree

from secateur.reporting.charts.histogram import histogram_chart


def test_bars_edges_and_words():
    series = {"trained": (1, 1000, 0, 3), "after": (0, 5, 2, 0)}
    parsed = ElementTree.fromstring(histogram_chart("Weights", (-2, -1, 0, 1, 2), series, 0.5))
    after = next(node for node in parsed.iter("g") if node.get("class") == "fill s1")
    bars = list(after.iter("rect"))
    assert len(bars) == 2
    assert all(float(bar.get("height")) > 0 and float(bar.get("width")) > 0 for bar in bars)
    marks = [float(node.get("x1")) for node in parsed.iter("line") if node.get("class") == "mark"]
    centre = (marks[0] + marks[1]) / 2
    assert len(marks) == 3  # two edges and the legend's sample
    assert marks[0] < centre < marks[1]
    assert parsed.find("desc").text == "trained: 1,004 weights; after: 7 weights; threshold at plus and minus 0.5"


def test_an_empty_histogram_is_still_a_picture():
    parsed = ElementTree.fromstring(histogram_chart("Weights", (-1, 0, 1), {"trained": (0, 0)}, 0.5))
    assert parsed.get("role") == "img"
