"""A report comes back from its JSON twin as it was; whatever else a file holds is a DataError or a page."""

import copy
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from sample_report import HOSTILE, sample_report

from secateur.errors import DataError
from secateur.reporting.reading import json_object, made_from
from secateur.reporting.report import MOST_BYTES, Report


@dataclass(frozen=True)
class Part:
    count: int
    name: str = "x"


@dataclass(frozen=True)
class Whole:
    value: float
    parts: tuple[Part, ...]
    pair: tuple[int, float] = (0, 0.0)
    sizes: Mapping[str, int] | None = None
    good: bool | None = None


def test_a_dataclass_comes_back():
    data = {"value": 2, "parts": [{"count": 1}], "pair": [3, 0.5], "sizes": {"a": 4}, "good": True}
    assert made_from(Whole, data, "it") == Whole(2.0, (Part(1),), (3, 0.5), {"a": 4}, True)
    assert made_from(Whole, {"value": None, "parts": []}, "it").value != 0  # NaN


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("value", "1", "it.value is '1', not a number of at most 1e100, or null"),
        ("value", 1e101, "it.value is 1e[+]101, not a number"),
        ("value", True, "it.value is True"),
        ("parts", {}, "it.parts is {}, not a list"),
        ("parts", [3], r"it.parts\[0\] is 3, not an object"),
        ("parts", [{"count": 1}, {"count": -1}], r"it.parts\[1\].count is -1, not a whole number, not negative"),
        ("parts", [{"count": True}], "count is True"),
        ("parts", [{"count": 1.0}], "count is 1.0"),
        ("parts", [{}], r"it.parts\[0\] lacks 'count'"),
        ("parts", [{"count": 1, "nam": ""}], r"has an unknown entry 'nam'; did you mean 'name'\?"),
        ("pair", [1], r"it.pair is \[1\], not a list of 2"),
        ("sizes", [], r"it.sizes is \[\], not an object"),
        ("sizes", {"a": "b"}, r"it.sizes\['a'\] is 'b'"),
        ("good", 0, "it.good is 0, not true or false"),
    ],
)
def test_what_does_not_fit_is_named(entry, value, words):
    with pytest.raises(DataError, match=words):
        made_from(Whole, {"value": 0, "parts": [], entry: value}, "it")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[]", r"it is \[\], not an object"),
        (b"{", "it is no strict JSON"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1, "a": 2}', "a key stands twice"),
        (b'{"a": 1e999}', "beyond every float"),
        (b"\xff", "it is no strict JSON"),
        (b'{"a":' + b"[" * 99_999, "it is"),
        (b'{"a": 99999999999999999999}', "beyond 64 bits"),
    ],
)
def test_json_is_read_strictly(data, words):
    with pytest.raises(DataError, match=words) as caught:
        json_object(data, "it")
    assert "artifact" not in str(caught.value)


@pytest.mark.parametrize("name", ["fc1.weight", HOSTILE])
def test_a_report_comes_back(name, tmp_path):
    made = sample_report(name, title=name)
    made.save(tmp_path / "report.json")
    again = Report.load(tmp_path / "report.json")
    assert json.loads(again.to_json()) == json.loads(made.to_json())
    assert again.to_html() == made.to_html()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "report is no report of version 1: 'secateur_report' is None"),
        ('{"secateur_report": 2}', "'secateur_report' is 2"),
        ('{"secateur_report": 1}', "report lacks 'title'"),
        ('{"secateur_comparison": 1}', "no report of version 1"),
        ('"\ud800"', "no strict JSON"),
    ],
)
def test_other_json_is_no_report(text, words):
    with pytest.raises(DataError, match=words):
        Report.from_json(text)


def test_a_file_that_is_missing_or_endless_is_no_report(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none\.json: No such file"):
        Report.load(tmp_path / "none.json")
    with open(tmp_path / "long.json", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(DataError, match="has more than"):
        Report.load(tmp_path / "long.json")


NUMBERS = (0, 1, -1, 0.5, -0.5, 1e100, -1e100, 1e-300, 5e-324, 2**62, None)
TEXTS = ("", "x", HOSTILE, "prune", "fraction", "1", "pruned", "accuracy")
OTHERS = (True, [], {}, [1], {"density": 0.5}, [0.5, 0.5], {"density": [0.5, None]})


def places(data, path=()):
    """The way to every value in nested data."""
    yield path
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


@pytest.mark.parametrize("seed", range(4))
def test_damaged_twins_are_refused_or_shown(seed):
    """Values that fit their type may be nonsense: the page shows them, and names never become markup."""
    made, random_ = json.loads(sample_report().to_json()), random.Random(seed)
    for part in ("edges", "series"):  # most values are those of the histogram; a few of them stand for all
        histogram = made["layers"][0]["histogram"]
        histogram[part] = histogram[part][:6] if part == "edges" else {k: v[:5] for k, v in histogram[part].items()}
    shown = 0
    for _ in range(120):
        damaged = copy.deepcopy(made)
        for _ in range(random_.randint(1, 3)):
            replace_somewhere(damaged, random_)
        try:
            report = Report.from_json(json.dumps(damaged))
        except DataError:
            continue
        page = report.to_html()
        assert page.count("<script") == 1
        shown += 1
    assert 10 < shown < 110, "both ends are reached"


def replace_somewhere(data, random_):
    """Replace, remove or double one value, in place; mostly by a value of its own kind, which passes more doors."""
    *way, last = random_.choice(list(places(data))[1:])
    for key in way:
        data = data[key]
    old, kind = data[last], random_.random()
    if kind < 0.7 and isinstance(old, (int, float, str)):
        data[last] = random_.choice(TEXTS if isinstance(old, str) else NUMBERS)
    elif kind < 0.8:
        data[last] = random_.choice(NUMBERS + TEXTS + OTHERS)
    elif kind < 0.9:
        del data[last]
    elif isinstance(data, list):
        data.insert(last, old)
