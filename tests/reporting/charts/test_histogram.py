"""Histograms: every bin that holds a weight is visible, and both edges of the threshold."""

import re
from xml.etree import ElementTree

from secateur.reporting.charts.histogram import counts_chart, histogram_chart


def test_bars_edges_and_words():
    series = {"trained": (1, 1000, 0, 3), "after": (0, 5, 2, 0)}
    parsed = ElementTree.fromstring(histogram_chart("Weights", (-2, -1, 0, 1, 2), series, 0.5))
    bars = next(node.get("d") for node in parsed.iter("path") if node.get("class") == "fill s1")
    heights = list(map(float, re.findall(r"V([\d.]+)", bars)))
    floor = float(re.match(r"M[\d.]+ ([\d.]+)", bars)[1])
    assert heights[0] == heights[3] == heights[4] == floor  # two bins without a weight, and the way back
    assert heights[1] < heights[2] < floor
    outline = next(node.get("d") for node in parsed.iter("path") if node.get("class") == "line thin s0")
    assert float(re.findall(r"V([\d.]+)", outline)[0]) < floor, "a bin with one weight is seen"
    marks = [float(node.get("x1")) for node in parsed.iter("line") if node.get("class") == "mark"]
    centre = (marks[0] + marks[1]) / 2
    assert len(marks) == 3  # two edges and the legend's sample
    assert marks[0] < centre < marks[1]
    assert parsed.find("desc").text == "trained: 1,004 weights; after: 7 weights; threshold at plus and minus 0.5"


def test_an_empty_histogram_is_still_a_picture():
    parsed = ElementTree.fromstring(histogram_chart("Weights", (-1, 0, 1), {"trained": (0, 0)}, 0.5))
    assert parsed.get("role") == "img"


def test_a_long_legend_takes_a_second_row():
    drawn = histogram_chart("Weights", (-1, 0, 1), {"one": (1, 1), "a very long name of a series" * 2: (1, 1)}, 0.5)
    texts = {node.text: node for node in ElementTree.fromstring(drawn).iter("text")}
    one, threshold = texts["one"], texts["threshold ±0.5"]
    assert float(threshold.get("y")) > float(one.get("y"))
    assert float(threshold.get("x")) == float(one.get("x"))


def test_how_many_groups_keep_how_many():
    parsed = ElementTree.fromstring(counts_chart("Groups", {"before": (3, 0, 5, 1), "hardened": (0, 0, 9)}))
    bars = next(node.get("d") for node in parsed.iter("path") if node.get("class") == "fill s1")
    heights = list(map(float, re.findall(r"V([\d.]+)", bars)))
    floor = float(re.match(r"M[\d.]+ ([\d.]+)", bars)[1])
    assert heights[0] == heights[1] == heights[3] == floor > heights[2]
    words = parsed.find("desc").text
    assert words == "before: 3 groups keep 0, 5 groups keep 2, 1 groups keep 3; hardened: 9 groups keep 2"
    assert not [node for node in parsed.iter("line") if node.get("class") == "mark"], "no edge of a threshold"
    assert ElementTree.fromstring(counts_chart("Groups", {"before": ()})).get("role") == "img"
