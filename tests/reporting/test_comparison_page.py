"""The page of several runs: each is a mark in both charts and a row, and says how it was measured."""

import dataclasses
import math
import re

import pytest
from sample_report import HOSTILE
from test_page import Outline
from test_runs import run

from secateur.reporting.comparison_page import render
from secateur.reporting.runs import runs_of

RUNS = {"small": run(0.80, 1000, 0.5), "good": run(0.90, 3000, 0.3), "beaten": run(0.89, 3000, 0.4)}


def words_of(page):
    return " ".join(" ".join(Outline(page).words).split())


def test_every_run_is_in_both_charts_and_the_table():
    page = render("Compared", runs_of(RUNS))
    for label in RUNS:
        assert len(re.findall(rf"<title>{label}: ", page)) == 2
        assert len(re.findall(rf"<text[^>]*>{label}</text>", page)) == 2
    words = words_of(page)
    assert "small: 1 kB, 20 %" in page
    for shown in ("3,000 B", "90.00 %", "30.00 %", "1 pruned tensors", "bytes, density", "somewhere"):
        assert shown in words
    assert "error" not in words
    assert "Lower and further left is better" in words
    assert page.count('class="fill s1 best"') == 3, "small and good by bytes, good by density"
    assert page.count(">dense 10 %<") == 2


@pytest.mark.parametrize(("higher", "better"), [(True, "Higher"), (False, "Lower")])
def test_a_score_that_is_no_fraction_is_drawn_as_it_is(higher, better):
    runs = {n: run(0.5 + i, 1000 + i, 0.5, name="psnr", unit="1", higher=higher) for i, n in enumerate("ab")}
    page = render("Compared", runs_of(runs))
    assert f"{better} and further left is better" in words_of(page)
    assert "b: 1 kB, 1.5" in page
    assert "100 %" not in words_of(page)


def test_different_measuring_and_machines_are_said():
    runs = runs_of(RUNS)
    assert "not measured alike" not in render("Compared", runs)
    how = dataclasses.replace(runs[1].score.after, how="on other images")
    other = dataclasses.replace(
        runs[1], score=dataclasses.replace(runs[1].score, after=how), environment={"processor": "another"}
    )
    words = words_of(render("Compared", (runs[0], other, runs[2])))
    assert "The runs were not measured alike" in words
    assert "dense: somewhere; compressed: on other images" in words
    assert "processor another : good" in words.replace("another:", "another :")


def test_a_run_without_a_number_is_in_the_table_alone():
    page = render("Compared", runs_of({**RUNS, "broken": run(math.nan, 10, 0.0)}))
    assert "<title>broken" not in page
    assert "broken" in words_of(page)
    assert "<title>" in render("Compared", runs_of({"a": run(0.5, 10, 0.0), "b": run(0.6, 10, 0.1)}))


def test_hostile_labels_stay_text():
    page = render(HOSTILE, runs_of({HOSTILE: RUNS["small"], "good": RUNS["good"]}))
    assert page.count("<script") == 1
    assert HOSTILE in Outline(page).words
