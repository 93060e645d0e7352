"""The page: self-contained, well-formed, small, readable without eyes or colours, and deaf to hostile names."""

import base64
import dataclasses
import hashlib
import math
import re
from html.parser import HTMLParser

from sample_report import HOSTILE, deep_report, sample_report

from secateur.ir.mac_row import MacAwareLayer
from secateur.reporting.page import MOST_DETAILED, MOST_ROWS, render
from secateur.reporting.rounds import Round

VOID = {"meta", "br", "hr", "img", "link", "input", "wbr"}


class Outline(HTMLParser):
    """Every element and the text in it; refuses a page whose tags do not nest."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.attributes, self.words = [], [], [], []  # words: what a reader sees
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
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)


def test_needs_nothing_beside_itself():
    page = render(sample_report())
    outline = Outline(page)
    assert not {"link", "img", "iframe", "object", "embed"} & set(outline.seen)
    loading = {"src", "srcset", "action", "data", "xlink:href", "style"}
    assert not [found for found in outline.attributes if found[1] in loading or found[1].startswith("on")]
    assert not re.search(r"url\(|@import|https?:", page)
    assert len(page.encode()) < 100_000


def test_links_stay_on_the_page_and_lead_somewhere():
    outline = Outline(render(sample_report()))
    links = [value for _, key, value in outline.attributes if key == "href"]
    names = [value for _, key, value in outline.attributes if key == "id"]
    assert len(links) > 6
    assert {link[0] for link in links} == {"#"}
    assert {link[1:] for link in links} <= set(names)
    assert len(names) == len(set(names))


def test_one_script_runs_and_the_page_vouches_for_it():
    page = render(sample_report())
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert policy.startswith("default-src 'none'")
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_hostile_names_stay_text():
    page = render(sample_report(name=HOSTILE, title=HOSTILE))
    outline = Outline(page)
    assert outline.seen.count("script") == 1
    assert HOSTILE in outline.words
    assert page.count("<script") == 1


def test_every_picture_has_words():
    outline = Outline(render(sample_report()))
    pictures = outline.seen.count("svg")
    assert pictures == 6 + 2 + 3 + 1 + 2  # over training small and wide, of one tensor, of groups, of the file
    assert outline.seen.count("desc") == pictures
    assert [value for tag, key, value in outline.attributes if (tag, key) == ("svg", "role")] == ["img"] * pictures


def test_every_table_says_what_its_columns_are_and_can_be_reached_by_keyboard():
    page = render(sample_report())
    tables = re.findall(r"<div ([^>]*)><table.*?</table>", page, re.DOTALL)
    assert len(tables) == page.count("<table") == 7
    assert all('tabindex="0"' in found and "aria-label=" in found for found in tables)
    for table in re.findall(r'<table class="sorts.*?</table>', page, re.DOTALL):
        columns = [int(n) for n in re.findall(r'data-column="(\d+)"', table)]
        (first_row,) = re.findall(r"<tbody>\s*<tr.*?</tr>", table, re.DOTALL)
        assert columns == list(range(len(re.findall(r"<t[hd][ >]", first_row))))


def test_every_layer_has_its_row_with_fate_and_reason():
    page = render(sample_report())
    table = page[page.index('id="layer-table"') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    cells = [re.sub(r"<[^>]*>", "", row) for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL)]
    assert len(cells) == 5
    for row, words in zip(sample_report().layers, cells, strict=True):
        assert all(word in words for word in (row.name, row.kind, row.fate, row.reason, row.method))
        assert f"{row.bytes_after}" in words


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
    assert outline.seen.count("svg") == 2
    assert "Over training" not in words
    assert "None: every channel" in words


def test_what_is_no_number_is_a_dash():
    made = sample_report()
    tensor = dataclasses.replace(made.tensors[0], density=math.nan)
    words = Outline(render(dataclasses.replace(made, tensors=(tensor,)))).words
    assert "-" in words
    assert not any("nan" in word for word in words)


def test_a_model_of_60_pruned_tensors_is_shown_whole():
    page = render(deep_report(60, 40))
    assert len(page.encode()) < 1_000_000
    assert page.count('<details class="tensor">') == 60  # closed
    assert "The 7 sparsest of 60 tensors." in page


def test_300_layers_over_200_epochs_stay_below_3_megabytes():
    page = render(deep_report(300, 200))
    assert len(page.encode()) < 3_000_000
    assert page.count("data-fate=") == 600
    assert page.count('<details class="tensor">') == MOST_DETAILED
    assert f"The {MOST_DETAILED} largest of 300 tensors" in page


def test_tables_without_end_are_cut_and_say_so():
    made = sample_report()
    layers = [dataclasses.replace(made.layers[1], name=f"fc{n}", weights=n) for n in range(MOST_ROWS + 5)]
    tensors = [dataclasses.replace(made.tensors[0], name=f"fc{n}", float32_bytes=n) for n in range(MOST_ROWS + 5)]
    page = render(dataclasses.replace(made, layers=tuple(layers), tensors=tuple(tensors)))
    assert page.count("data-fate=") == MOST_ROWS
    assert page.count(f"The {MOST_ROWS} largest of {MOST_ROWS + 5} tensors; the JSON twin has all.") == 2
    assert "<code>fc4</code>" not in page
    assert "<code>fc5</code>" in page


def test_balance_before_and_after_with_idle_lanes_and_what_was_moved():
    page = render(sample_report())
    section = page.partition('<h2 id="balance">')[2].partition("<h2")[0]
    assert "4:16" in section
    assert "25.00 %" in section, "a group has 5 of a mean of 3.75: a quarter of the lanes would be idle"
    plain = render(dataclasses.replace(sample_report(), layers=sample_report().layers[:4]))
    assert 'id="balance"' not in plain


def test_rounds_have_a_row_each_and_one_by_tensor():
    tensors = [MacAwareLayer(name, 100, 5000, 0.5, 0.02, 0.019, 0.7, 52, 48) for name in ("fc1.weight", HOSTILE)]
    first = Round(0.7, 0, "relative", 0.1, 10_000, 4_800, 0.9, math.nan, True, tuple(tensors))
    second = dataclasses.replace(first, started=1, macs_after=1_234, held=False)
    outline = Outline(render(dataclasses.replace(sample_report(), rounds=(first, second))))
    text = " ".join(outline.words)
    assert "round 1" in text
    assert "1,234 of 10,000" in text
    assert outline.words.count(HOSTILE) == 2
    assert outline.words.count("2,400") == 4  # 48 of 100 weights, of 5,000
    assert "Rounds" not in Outline(render(sample_report())).words


def test_kernels_with_gain_or_reason():
    page = render(sample_report())
    section = page.partition('<h2 id="kernels">')[2].partition("<h2")[0]
    assert "1 of 3 layers run on generated kernels" in section
    assert "2.80 times as fast" in section
    assert "balanced 4:16 int8 <small>batch norm, relu</small>" in section
    assert '<td class="n">3.94</td><td class="n">1.2e-02</td>' in section
    assert "PyTorch <small>sparse is not faster by more than noise</small>" in section
    assert "Not traced." in section
    plain = render(dataclasses.replace(sample_report(), speed=None))
    assert 'id="kernels"' not in plain
    assert "#kernels" not in plain
