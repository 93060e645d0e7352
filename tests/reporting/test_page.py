"""The page: self-contained, well-formed, small, readable without eyes or colours, and deaf to hostile names."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
from sample_report import HOSTILE, sample_report

from secateur.reporting.facts import Epoch, Training
from secateur.reporting.page import MOST_ROWS, render
from secateur.reporting.weight_histogram import WeightHistogram

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Outline(HTMLParser):
    """Every element and the text in it; refuses a page whose tags do not nest."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.attributes, self.words = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]

    def handle_data(self, data):
        self.words.append(data)


def test_needs_nothing_beside_itself():
    page = render(sample_report())
    outline = Outline(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form"} & set(outline.seen)
    loading = {"src", "href", "srcset", "action", "data", "xlink:href", "style"}
    assert not [found for found in outline.attributes if found[1] in loading or found[1].startswith("on")]
    assert not re.search(r"url\(|@import|https?:", page)
    assert len(page.encode()) < 100_000


def test_hostile_names_stay_text():
    page = render(sample_report(name=HOSTILE, title=HOSTILE))
    outline = Outline(page)
    assert "script" not in outline.seen
    assert HOSTILE in outline.words
    assert "<script" not in page


def test_every_picture_has_words():
    outline = Outline(render(sample_report()))
    pictures = outline.seen.count("svg")
    assert pictures == 6
    assert outline.seen.count("desc") == pictures
    assert [value for tag, key, value in outline.attributes if (tag, key) == ("svg", "role")] == ["img"] * pictures


def test_shows_what_was_measured_and_how():
    words = " ".join(" ".join(Outline(render(sample_report())).words).split())
    for shown in ("90.00 %", "-0.50 points", "1,000 images & more", "10.0x smaller", "fc1.weight", "5\u00d740"):
        assert shown in words
    assert "None: every channel" not in words
    assert "nan" not in words.lower()


def test_sections_without_facts_are_left_out():
    facts = dataclasses.replace(sample_report(), training=None, layers=(), summary=(), dead_units=(), notes=())
    outline = Outline(render(facts))
    words = " ".join(outline.words)
    assert outline.seen.count("svg") == 1
    assert "Over training" not in words
    assert "None: every channel" in words


def test_a_deep_network_does_not_flood_the_page():
    report = sample_report()
    names = [f"layer{index}.weight" for index in range(100)]
    epochs = [Epoch("prune", 1.0, 0.5, 0.5, dict.fromkeys(names, 0.5), dict.fromkeys(names, 0.1))] * 30
    layer, histogram = report.layers[0], WeightHistogram.of("w", {"all": np.ones(10)}, 0.5)
    layers = [dataclasses.replace(layer, name=n, histogram=dataclasses.replace(histogram, name=n)) for n in names]
    tensors = [dataclasses.replace(report.tensors[0], name=name) for name in names]
    facts = dataclasses.replace(
        report, training=Training("accuracy", tuple(epochs)), layers=tuple(layers), tensors=tuple(tensors)
    )
    page = render(facts)
    assert len(page.encode()) < 1_000_000
    assert Outline(page).seen.count("svg") == 4 + MOST_ROWS + 1
    assert "sparsest of 100 tensors" in page
