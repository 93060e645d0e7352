"""charts.scatter: every dot is there, the best ones are joined and named."""

from xml.etree import ElementTree

from secateur.reporting.charts.axes import Axis
from secateur.reporting.charts.scatter import Dot, scatter_chart

DOTS = [Dot("fast <1>", 36, 1e-3, best=True), Dot("worse", 40, 2e-3), Dot("exact", 46, 1e-6, best=True)]
AXIS = Axis("error", "{:.0e}".format, log=True)


def test_dots_labels_and_description():
    drawn = ElementTree.fromstring(scatter_chart("What costs what", DOTS, "products", AXIS))
    circles = list(drawn.iter("circle"))
    assert [circle.find("title").text for circle in circles] == [dot.label for dot in DOTS]
    texts = {text.text for text in drawn.iter("text")}
    assert {"fast <1>", "exact", "products", "error"} <= texts
    assert "worse" not in texts
    assert "exact: 46, 1e-06" in drawn.attrib["aria-label"]
    best, worse, exact = ((float(c.attrib["cx"]), float(c.attrib["cy"])) for c in circles)
    assert best[0] < worse[0] < exact[0]
    assert worse[1] < best[1] < exact[1], "a larger error is higher up"


def test_one_dot_and_none():
    assert "<circle" in scatter_chart("one", DOTS[:1], "products", AXIS)
    assert scatter_chart("none", [], "products", AXIS) == ""
