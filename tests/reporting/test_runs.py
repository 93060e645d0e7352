"""Runs beside one another: who is beaten, and what cannot be compared."""

import math
from dataclasses import replace

import pytest
from sample_report import sample_report

from secateur.errors import DataError
from secateur.reporting.measurement import Change, Measurement
from secateur.reporting.runs import COSTS, runs_of


def run(score, file_bytes, density, *, name="accuracy", unit="fraction", higher=None):
    """A report with these figures."""
    made = sample_report()
    layer = replace(made.layers[0], weights=1000, nonzeros=round(1000 * density))
    used = made.file_bytes - made.header_bytes
    rows = [Measurement(name, value, unit, "somewhere", higher) for value in (0.9, score)]
    return replace(made, summary=(Change(*rows),), layers=(layer,), header_bytes=file_bytes - used)


def test_the_unbeaten_are_marked_for_each_cost():
    runs = runs_of(
        {
            "small": run(0.80, 1000, 0.5),
            "good": run(0.90, 3000, 0.3),
            "beaten": run(0.89, 3000, 0.4),
            "sparse": run(0.85, 4000, 0.1),
            "twin": run(0.85, 4000, 0.1),
        }
    )
    assert {one.label: one.best_in for one in runs} == {
        "small": ("file_bytes",), "good": COSTS, "beaten": (), "sparse": ("density",), "twin": ("density",),
    }  # fmt: skip
    assert [one.file_bytes for one in runs] == [1000, 3000, 3000, 4000, 4000]
    assert [one.density for one in runs] == [0.5, 0.3, 0.4, 0.1, 0.1]
    assert runs[0].density_of == "1 pruned tensors"


def test_less_can_be_better():
    losses = {"a": run(0.5, 1000, 0.5, name="loss", unit="1", higher=False)}
    losses["b"] = run(0.6, 2000, 0.6, name="loss", unit="1", higher=False)
    assert [one.best_in for one in runs_of(losses)] == [COSTS, ()]


def test_a_run_without_a_number_is_never_best():
    assert [one.best_in for one in runs_of({"a": run(math.nan, 10, 0.1), "b": run(0.5, 20, 0.2)})] == [(), COSTS]


def test_density_without_layers_is_that_of_the_file():
    (one,) = runs_of({"a": replace(run(0.9, 1000, 0.5), layers=())})
    tensors = sample_report().tensors
    assert one.density_of == "all 2 tensors"
    assert one.density == sum(row.nonzeros for row in tensors) / (sum(row.float32_bytes for row in tensors) / 4)


@pytest.mark.parametrize(
    ("reports", "words"),
    [
        ({}, "nothing to compare"),
        ({"a": replace(sample_report(), summary=sample_report().summary[1:])}, "a: no row of the report's summary"),
        ({"a": run(0.9, 1, 1), "b": run(0.9, 1, 1, name="cosine")}, "a is judged by accuracy .* b by cosine"),
        ({"a": run(0.9, 1, 1), "b": run(0.9, 1, 1, unit="1")}, "accuracy in fraction, b by accuracy in 1"),
        ({"a": run(0.9, 1, 1, higher=True), "b": run(0.9, 1, 1, higher=False)}, "compare runs that share a measure"),
    ],
)
def test_what_cannot_be_compared(reports, words):
    with pytest.raises(DataError, match=words):
        runs_of(reports)


def test_scores_that_differ_by_rounding_are_equal():
    runs = runs_of({"large": run(0.765 + 1e-8, 2000, 0.3), "small": run(0.765, 1000, 0.1)})
    assert [one.best_in for one in runs] == [(), COSTS]
