"""charts.scatter: every dot is there, the best ones are joined and named."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from secateur.reporting.charts.axes import Axis
from secateur.reporting.charts.scatter import Across, Dot, scatter_chart
from secateur.reporting.numbers import brief_bytes

DOTS = [Dot("fast <1>", 36, 1e-3, best=True), Dot("worse", 40, 2e-3), Dot("exact", 46, 1e-6, best=True)]
AXIS = Axis("error", "{:.0e}".format, log=True)
PRODUCTS = Across("products")


def places(drawn):
    """Label of every mark and where its middle is."""
    found = {}
    for mark in ElementTree.fromstring(drawn).iter():
        if (title := mark.find("title")) is not None and mark.tag in ("circle", "path"):
            numbers = [float(n) for n in re.findall(r"[\d.]+", mark.get("d") or "")]
            at = (mark.get("cx"), mark.get("cy")) if mark.tag == "circle" else (numbers[2], numbers[1])
            found[title.text.partition(":")[0]] = tuple(map(float, at))
    return found


def test_marks_labels_and_description():
    drawn = scatter_chart("What costs what", DOTS, PRODUCTS, AXIS)
    best, worse, exact = (places(drawn)[dot.label] for dot in DOTS)
    assert best[0] < worse[0] < exact[0]
    assert worse[1] < best[1] < exact[1], "a larger error is higher up"
    parsed = ElementTree.fromstring(drawn)
    texts = {text.text for text in parsed.iter("text")}
    assert {"fast <1>", "exact", "products", "error"} <= texts
    assert "worse" not in texts
    assert "exact: 46, 1e-06" in parsed.attrib["aria-label"]
    assert [mark.tag for mark in parsed.iter() if mark.find("title") is not None][1:] == ["path", "circle", "path"]


def test_all_can_be_named_and_labels_keep_clear_of_one_another():
    dots = [Dot(f"run number {n}", 100 + n % 2, 0.5 + 0.001 * n) for n in range(6)]
    parsed = ElementTree.fromstring(scatter_chart("runs", dots, PRODUCTS, AXIS, name_all=True))
    boxes = [(float(t.get("x")), float(t.get("y"))) for t in parsed.iter("text") if (t.text or "").startswith("run")]
    assert len(boxes) == 6
    apart = [abs(a[0] - b[0]) > 60 or abs(a[1] - b[1]) >= 12 for a, b in combinations(boxes, 2)]
    assert sum(apart) >= 13, "of 15 pairs"


def test_a_level_lies_inside_the_plot_with_its_name():
    parsed = ElementTree.fromstring(scatter_chart("runs", DOTS, PRODUCTS, AXIS, level=("dense", 1e-8)))
    (line,) = [node for node in parsed.iter("line") if node.get("class") == "mark"]
    assert max(place[1] for place in places(ElementTree.tostring(parsed)).values()) < float(line.get("y1"))
    assert "dense 1e-08" in [node.text for node in parsed.iter("text")]


def test_a_logarithmic_axis_gives_factors_their_room():
    across = Across("bytes", brief_bytes, log=True)
    drawn = scatter_chart("runs", [Dot("a", 1e3, 1), Dot("b", 1e4, 1), Dot("c", 1e5, 1)], across, AXIS, name_all=True)
    a, b, c = (places(drawn)[name][0] for name in "abc")
    assert b - a == pytest.approx(c - b, abs=0.02)
    assert "10 kB" in drawn


def test_one_dot_and_none():
    assert "fast" in scatter_chart("one", DOTS[:1], PRODUCTS, AXIS)
    assert scatter_chart("none", [], PRODUCTS, AXIS) == ""
