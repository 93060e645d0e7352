"""Drawing elements escape what they are given; scales place values and choose round ticks."""

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.reporting.charts.svg import Scale, drawing, element, path

positive = st.floats(1e-9, 1e9)


def test_text_and_attributes_are_escaped():
    shape = element("text", "<script>&\"'", x=1.0, class_='"><script>')
    parsed = ElementTree.fromstring(shape)
    assert parsed.text == "<script>&\"'"
    assert parsed.attrib == {"x": "1", "class": '"><script>'}


def test_drawing_says_what_it_shows():
    parsed = ElementTree.fromstring(drawing(10.0, 20.5, element("g"), title="a & b", description="c < d"))
    assert parsed.attrib == {"viewBox": "0 0 10 20.5", "role": "img", "aria-label": "a & b. c < d"}
    assert (parsed.find("title").text, parsed.find("desc").text) == ("a & b", "c < d")


def test_path_breaks_where_nothing_is_known():
    assert path([(0.0, 1.0), (1.0, 2.25), (2.0, math.nan), (3.0, 4.0)]) == "M0 1L1 2.25M3 4"


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0, 10, 0, 1), [0, 2, 4, 6, 8, 10]),
        (Scale(0.83, 0.907, 0, 1), [0.84, 0.86, 0.88, 0.9]),
        (Scale(5, 5, 0, 1), [5]),
        (Scale(0.018, 1.1, 0, 1, log=True), [0.02, 0.05, 0.1, 0.2, 0.5, 1]),
        (Scale(0.25, 0.9, 0, 1, log=True), [0.4, 0.6, 0.8]),
        (Scale(0.7, 30000, 0, 1, log=True), [1, 10, 100, 1000, 10000]),
    ],
)
def test_ticks_are_round(scale, ticks):
    assert scale.ticks() == pytest.approx(ticks)


@given(positive, positive, st.booleans())
def test_ticks_lie_inside_and_are_few(a, b, log):
    low, high = min(a, b), max(a, b) * 1.01
    scale = Scale(low, high, 100.0, 0.0, log)
    ticks = scale.ticks()
    assert len(ticks) <= 9
    slack = 1e-6 * (low if log else high - low)
    assert all(low - slack <= tick <= high * (1 + 1e-6) for tick in ticks)
    assert [scale(tick) for tick in ticks] == sorted((scale(tick) for tick in ticks), reverse=True)


@given(st.floats(-1e6, 1e6), st.booleans())
def test_every_value_is_placed_inside(value, log):
    assert 10 <= Scale(1, 100, 10.0, 20.0, log)(value) <= 20


def test_ends_and_nothing():
    scale = Scale(1, 100, 10.0, 20.0, log=True)
    assert (scale(1), scale(10), scale(100)) == pytest.approx((10, 15, 20))
    assert math.isnan(scale(math.nan))
