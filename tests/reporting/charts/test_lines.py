"""Lines over epochs: all of them drawn, labelled without overlap, described in words."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from secateur.reporting.charts.axes import LABEL_STEP, SMALL, WIDE, Axis
from secateur.reporting.charts.lines import MOST_BARE, MOST_DOTS, MOST_POINTS, Band, Line, line_chart

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
    dots = {node.get("class"): node for node in parsed.iter("g") if (node.get("class") or "").startswith("fill")}
    assert set(dots) == {"fill s0", "fill s3"}
    assert [title.text for title in dots["fill s3"].iter("title")] == ["b <1>, epoch 2: 0.50", "b <1>, epoch 4: 0.40"]


def test_labels_of_close_lines_stay_apart_and_inside():
    lines = [Line(f"tensor {index}", [1.0, 0.01 + 1e-6 * index]) for index in range(8)]
    parsed = ElementTree.fromstring(line_chart("Density", lines, AXIS, []))
    heights = sorted(float(node.get("y")) for node in parsed.iter("text") if (node.text or "").startswith("tensor"))
    assert len(heights) == 8
    assert all(b - a >= LABEL_STEP - 1e-6 for a, b in pairwise(heights))
    assert heights[-1] <= WIDE.bottom + 12


def test_nothing_to_show_draws_nothing():
    assert line_chart("Score", [Line("score", [math.nan, math.nan])], AXIS, BANDS) == ""
    assert line_chart("Score", [], AXIS, []) == ""


@pytest.mark.parametrize(
    ("count", "bare", "dots", "most"),
    [
        (1, False, 1, 2),
        (MOST_DOTS, False, MOST_DOTS, MOST_DOTS),
        (300, False, 0, MOST_POINTS),
        (300, True, 0, MOST_BARE + 1),
    ],
)
def test_one_epoch_and_many_are_drawn(count, bare, dots, most):
    drawn = line_chart("Score", [Line("s", [0.5] * (count - 1) + [0.7])], AXIS, [], bare=bare)
    parsed = ElementTree.fromstring(drawn)
    assert sum(1 for _ in parsed.iter("circle")) == dots
    assert 0 < sum(1 for node in parsed.iter("text") if (node.text or "").isdigit()) <= 18
    curve = max((node.get("d") for node in parsed.iter("path")), key=len)
    assert len(re.findall("[ML]", curve)) <= most
    assert ">0.70<" in drawn, "the last epoch is drawn"


def test_labels_that_need_more_room_than_there_is_keep_both_ends():
    lines = [Line("beginning." + "x" * 60 + ".end", [1.0, 0.5]), Line("b", [1.0, 0.9])]
    texts = [node.text for node in ElementTree.fromstring(line_chart("D", lines, AXIS, [], SMALL)).iter("text")]
    (label,) = [text for text in texts if text and text.startswith("b") and "…" in text]
    assert label.endswith("nd 0.50")
    alone = line_chart("D", lines[1:], AXIS, [], SMALL)
    assert ">0.90<" in alone, "a single line needs no label"
    assert edge(alone) > edge(line_chart("D", lines, AXIS, [], SMALL)) == SMALL.right


def edge(drawn):
    """Where the grid ends."""
    return max(float(node.get("x2")) for node in ElementTree.fromstring(drawn).iter("line"))


def test_a_phase_too_short_for_its_name_says_it_when_pointed_at():
    bands = [Band("prune", 1, 99), Band("finetune", 100, 100)]
    parsed = ElementTree.fromstring(line_chart("D", [Line("s", [0.5] * 100)], AXIS, bands))
    assert "finetune" not in [node.text for node in parsed.iter("text")]
    assert "finetune" in [node.text for node in parsed.iter("title")]


def test_no_axis_passes_what_there_can_be():
    share = Axis("share", lambda value: f"{value:.2f}", log=True, most=1.0)
    texts = [
        node.text for node in ElementTree.fromstring(line_chart("D", [Line("s", [1.0, 0.9])], share, [])).iter("text")
    ]
    assert max(float(text) for text in texts if re.fullmatch(r"\d\.\d\d", text or "")) == 1.0
