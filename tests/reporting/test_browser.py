"""The pages in a real browser, from file://: they sort, filter and open by mouse and by keyboard, ask the network for
nothing, say nothing on the console, fit a telephone and can be read in the dark."""

import re
import time

import pytest
from browser import CHROMIUM, DRIVER, MISSING, Browser
from sample_report import HOSTILE, deep_report, sample_report
from test_runs import run

from secateur.reporting.comparison import compare

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)

CELLS = """
const [table, column] = arguments;
return [...document.querySelectorAll(`${table} tbody tr`)].filter((row) => !row.hidden)
  .map((row) => row.cells[column].textContent.trim());
"""
HEADS = """
return [...document.querySelectorAll(`${arguments[0]} thead th[data-column]`)]
  .map((head) => [Number(head.dataset.column), head.classList.contains("n"), head.getAttribute("aria-sort")]);
"""
LOOK = """
const [table, column] = arguments;
const cells = (number) => [...document.querySelectorAll(`${table} tbody tr`)]
  .map((row) => row.cells[number].textContent.trim());
const states = [...document.querySelectorAll(`${table} thead th[data-column]`)]
  .toSorted((a, b) => a.dataset.column - b.dataset.column).map((head) => head.getAttribute("aria-sort"));
return { cells: cells(column), first: cells(0), states, said: document.getElementById("said").textContent };
"""
LAYERS = "#layer-table"
TIMES = "\N{MULTIPLICATION SIGN}"
PREFIXES = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Files of every kind of page."""
    folder = tmp_path_factory.mktemp("pages")
    hostile = {HOSTILE: run(0.8, 1000, 0.5), "javascript:alert(1)": run(0.9, 3000, 0.3)}
    made = {
        "sample": sample_report(),
        "deep": deep_report(40, 12),
        "hostile": sample_report(HOSTILE, HOSTILE),
        "comparison": compare({f"run {n}": run(0.5 + n / 20, 1000 * n + 1, n / 8) for n in range(1, 7)}),
        "hostile comparison": compare(hostile, title=HOSTILE),
    }
    for name, one in made.items():
        one.save(folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in made}


@pytest.fixture
def silent(browser):
    """After the test: nothing on the console, nothing asked for but the page itself."""
    yield
    assert complaints(browser) == []


def complaints(browser):
    """What the browser said, and every request but that for a page on this disk."""
    foreign = [url for url in browser.requests() if not re.fullmatch(r"file:///[^#]*\.html(#.*)?", url)]
    return browser.messages() + foreign


def worth(text):
    """What a cell of a column of numbers is worth; None where it is no number."""
    product = 1.0
    for factor in text.replace(",", "").split(TIMES):
        found = re.match(r"[-+]?[\d.]+(?:e[-+]?\d+)?", factor)
        if not found:
            return None
        prefix = re.search(r"\d ([kMGT])B?$", factor)
        product *= float(found[0]) * PREFIXES[prefix[1] if prefix else ""]
    return product


def in_order(cells, numeric, direction):
    """Whether cells ascend or descend, those without a number last."""
    if not numeric:
        keys = [[int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", cell)] for cell in cells]
    else:
        values = [worth(cell) for cell in cells]
        known = [value for value in values if value is not None]
        if values[: len(known)] != known:
            return False
        keys = known
    return keys == sorted(keys, reverse=direction == "descending")


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("page", ["sample", "deep", "hostile", "comparison", "hostile comparison"])
def test_opens_without_a_word(browser, pages, page):
    browser.open(pages[page])
    assert browser.run("return document.querySelectorAll('thead button').length") > 3
    assert browser.run("return document.scripts.length") == 1


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(("page", "table"), [("deep", LAYERS), ("comparison", "table"), ("sample", "#kernel-table")])
@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_every_column_sorts(browser, pages, page, table, way):
    browser.open(pages[page])
    heads = sorted(browser.run(HEADS, table))
    assert [state for _, _, state in heads] == ["none"] * len(heads)
    first = browser.run(CELLS, table, 0)
    for column, numeric, _ in heads:
        button = f"{table} thead th[data-column='{column}'] button"
        for turn, direction in enumerate(("ascending", "descending", "none")):
            if way == "mouse":
                browser.click(button)
            else:
                browser.run("document.querySelector(arguments[0]).focus()", button)
                browser.press("Enter" if turn else "Space")
            look = browser.run(LOOK, table, column)
            if direction == "none":
                assert (look["first"], look["said"]) == (first, "In the original order")
            else:
                assert in_order(look["cells"], numeric, direction), (column, direction, look["cells"])
                assert look["said"].endswith(f", {direction}")
            assert look["states"] == [direction if number == column else "none" for number, _, _ in heads]


def test_sorting_moves_something(browser, pages):
    """The orders above are no accident of equal cells."""
    browser.open(pages["deep"])
    before = browser.run(CELLS, LAYERS, 6)
    assert not in_order(before, True, "ascending")
    browser.click(f"{LAYERS} thead th[data-column='6'] button")
    after = browser.run(CELLS, LAYERS, 6)
    assert after != before
    assert sorted(after) == sorted(before)


@pytest.mark.usefixtures("silent")
def test_the_filter_leaves_what_holds_every_word(browser, pages):
    browser.open(pages["deep"])
    assert len(browser.run(CELLS, LAYERS, 0)) == 80
    browser.run("document.getElementById('words').focus()")
    browser.press(*"QUERY layer.1")
    names = browser.run(CELLS, LAYERS, 0)
    assert len(names) == 22  # layers 1 and 10 to 19, weight and bias
    assert all("query" in name and "layer.1" in name for name in names)
    browser.click("form input[value='skipped']")
    assert all(cell.startswith("pruned") for cell in browser.run(CELLS, LAYERS, 1))
    assert browser.run("return document.querySelector('form output').textContent") == "11 of 80 shown"
    browser.press("Tab")
    browser.run("document.getElementById('words').focus()")
    browser.press("Enter")
    assert len(browser.run(CELLS, LAYERS, 0)) == 11, "Enter sends no form"
    browser.press(*["Backspace"] * 13)
    browser.press("x", "x")
    assert browser.run(CELLS, LAYERS, 0) == []


@pytest.mark.usefixtures("silent")
def test_details_open_by_link_key_and_all_at_once(browser, pages):
    opened = "return [...document.querySelectorAll('details.tensor')].map((one) => one.open)"
    browser.open(pages["deep"])
    assert browser.run(opened) == [False] * 40
    browser.click(f"{LAYERS} tbody tr:nth-child(1) a")
    assert browser.run(opened) == [True] + [False] * 39
    browser.run("document.querySelectorAll('details.tensor summary')[1].focus()")
    browser.press("Enter")
    assert browser.run(opened)[:3] == [True, True, False]
    browser.click("button[data-all]")
    assert browser.run(opened) == [True] * 40
    browser.click("button[data-all]")
    assert browser.run(opened) == [False] * 40


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("page", ["sample", "deep", "hostile", "comparison"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_hangs_out_of_the_page(browser, pages, page, width):
    browser.open(pages[page], width=width)
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.run("return innerWidth") == width
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


CONTRASTS = r"""
const linear = (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = (colour) => {
  const [r, g, b] = colour.match(/[\d.]+/g).map((part) => linear(part / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = light(getComputedStyle(document.body).backgroundColor);
const contrast = (one) => (Math.max(one, paper) + 0.05) / (Math.min(one, paper) + 0.05);
const found = {};
for (const [selector, property] of arguments[0]) {
  found[selector] = contrast(light(getComputedStyle(document.querySelector(selector))[property]));
}
return found;
"""
TEXTS = [
    (selector, "color")
    for selector in ("h1", "p", ".soft", "a[href]", "td.n", "thead button", "summary", "small", "td.how", "dt")
]
LINES = [("svg text", "fill"), ("svg text.soft", "fill"), *((f"svg .line.s{n}", "stroke") for n in range(8))]


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_can_be_read(browser, pages, dark):
    """Contrasts of WCAG 2.1: 4.5 for text, at least 2 for the lines of charts, which have dashes and labels too."""
    browser.open(pages["deep"], dark=dark)
    (paper,) = browser.run("return [getComputedStyle(document.body).backgroundColor]")
    assert (paper != "rgb(255, 255, 255)") is dark
    texts = browser.run(CONTRASTS, TEXTS)
    assert {name: value for name, value in texts.items() if value < 4.5} == {}
    lines = browser.run(CONTRASTS, LINES)
    assert len(lines) == 10
    assert {name: value for name, value in lines.items() if value < 2} == {}


@pytest.mark.usefixtures("silent")
def test_what_has_the_focus_is_seen(browser, pages):
    browser.open(pages["deep"])
    seen = "const s = getComputedStyle(document.activeElement); return [document.activeElement.tagName, s.outlineStyle]"
    tags = []
    for _ in range(40):
        browser.press("Tab")
        tag, outline = browser.run(seen)
        tags.append(tag)
        assert outline not in ("none", "hidden"), tag
    assert {"A", "INPUT", "BUTTON", "DIV"} <= set(tags)


def test_without_its_script_everything_is_there_to_read(browser, pages, tmp_path):
    text = pages["deep"].read_text(encoding="utf-8")
    (tmp_path / "bare.html").write_text(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL), encoding="utf-8")
    browser.open(tmp_path / "bare.html")
    assert len(browser.run(CELLS, LAYERS, 0)) == 80
    assert browser.run("return document.querySelectorAll('button:not([hidden])').length") == 0
    assert browser.run("return getComputedStyle(document.querySelector('form')).display") == "none"


PLANTED = {
    "an error": ("console.error('planted')", "planted"),
    "a warning": ("console.warn('planted')", "planted"),
    "an exception": ("setTimeout(() => { throw new Error('planted') }, 0)", "planted"),
    "a request": ("fetch('http://127.0.0.1:9/planted').catch(() => 0)", "planted"),
    "an image": ("new Image().src = 'http://example.invalid/planted.png'", "planted"),
    "a script": ("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))", "script"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_whoever_listens_hears_a_planted_fault(browser, pages, what):
    script, words = PLANTED[what]
    browser.open(pages["sample"])
    assert complaints(browser) == []
    browser.run(f"{script}; return 0")
    assert heard(browser, words)


def heard(browser, words):
    """Whether a complaint with these words arrives: what runs after the script, or over the network, takes its time."""
    for _ in range(200):
        if any(words in line for line in complaints(browser)):
            return True
        time.sleep(0.05)
    return False


def test_a_page_that_reaches_out_is_noticed(browser, tmp_path):
    (tmp_path / "page.html").write_text("<img src='http://example.invalid/a.png'><a href='#x'>x</a>")
    browser.open(tmp_path / "page.html")
    assert heard(browser, "example.invalid")


@pytest.mark.parametrize(
    ("cells", "numeric", "direction", "right"),
    [
        (["1,200", "980", "-"], True, "descending", True),
        (["-", "980"], True, "ascending", False),
        (["980 k", "1.2 M"], True, "ascending", True),
        ([f"2{TIMES}3", "5"], True, "ascending", False),
        (["layer 9", "layer 10"], False, "ascending", True),
    ],
)
def test_what_order_means(cells, numeric, direction, right):
    assert in_order(cells, numeric, direction) is right
