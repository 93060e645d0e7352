"""Lines over epochs: all of them drawn, labelled without overlap, described in words."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

from secateur.reporting.charts.axes import LABEL_STEP, Axis
from secateur.reporting.charts.lines import BOTTOM, Band, Line, line_chart

AXIS = Axis("share", lambda value: f"{value:.2f}", log=True)
BANDS = [Band("dense", 1, 2), Band("prune", 3, 4)]


def test_every_line_has_points_and_words():
    lines = [Line("a", [1.0, 0.5, 0.2, 0.1]), Line("b <1>", [math.nan, 0.5, 0.0, 0.4], 3)]
    parsed = ElementTree.fromstring(line_chart("Density", lines, AXIS, BANDS))
    curves = [node.get("d") for node in parsed.iter("path") if "line" in node.get("class")]
    assert sum(len(re.findall("[ML]", curve)) for curve in curves) == 4 + 2 + 2 * 2  # points, and a sample each
    assert parsed.find("desc").text == "a: from 1.00 to 0.10; b <1>: from 0.50 to 0.40"
    texts = [node.text for node in parsed.iter("text")]
    assert {"dense", "prune", "a 0.10", "b <1> 0.40", "epoch", "share"} <= set(texts)
    assert len({node.get("class") for node in parsed.iter("circle")}) == 2


def test_labels_of_close_lines_stay_apart_and_inside():
    lines = [Line(f"tensor {index}", [1.0, 0.01 + 1e-6 * index]) for index in range(8)]
    parsed = ElementTree.fromstring(line_chart("Density", lines, AXIS, []))
    heights = sorted(float(node.get("y")) for node in parsed.iter("text") if (node.text or "").startswith("tensor"))
    assert len(heights) == 8
    assert all(b - a >= LABEL_STEP - 1e-6 for a, b in pairwise(heights))
    assert heights[-1] <= BOTTOM + 12


def test_nothing_to_show_draws_nothing():
    assert line_chart("Score", [Line("score", [math.nan, math.nan])], AXIS, BANDS) == ""
    assert line_chart("Score", [], AXIS, []) == ""


def test_one_epoch_and_many_are_drawn():
    for count in (1, 300):
        parsed = ElementTree.fromstring(line_chart("Score", [Line("s", [0.5] * count)], AXIS, []))
        assert sum(1 for _ in parsed.iter("circle")) == count
        assert sum(1 for node in parsed.iter("text") if (node.text or "").isdigit()) <= 16
