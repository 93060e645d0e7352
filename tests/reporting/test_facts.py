"""The facts of a report: densities weighted by size."""

from dataclasses import dataclass, field

import pytest
from sample_report import sample_artifact, sample_report

from secateur.reporting.facts import Training


@dataclass
class Record:
    phase: str = "prune"
    loss: float = 0.5
    score: float = 0.9
    density: dict = field(default_factory=lambda: {"a": 0.1, "b": 0.5})
    thresholds: dict = field(default_factory=lambda: {"a": 0.01, "b": 0.02})


def test_density_of_all_tensors_is_weighted_by_their_size():
    training = Training.of([Record(), Record("finetune", density={}, thresholds={})], {"a": 300, "b": 100}, "accuracy")
    assert training.epochs[0].density == pytest.approx(0.2)
    assert training.epochs[0].thresholds == {"a": 0.01, "b": 0.02}
    assert training.epochs[1].density == 1.0
    assert [epoch.phase for epoch in training.epochs] == ["prune", "finetune"]


def test_what_a_record_may_lack_is_taken_where_it_has_it():
    (without,) = Training.of([Record()], {"a": 300, "b": 100}, "accuracy").epochs
    assert (without.multipliers, without.costs, without.terms) == ({}, {}, {})
    record = Record()
    record.multipliers, record.costs, record.terms = {"macs": 0.5}, {"macs": (9.0, 8.0)}, {"task": 0.4, "budget": 0.1}
    (epoch,) = Training.of([record], {"a": 300, "b": 100}, "accuracy").epochs
    assert (epoch.multipliers, epoch.costs, epoch.terms) == (record.multipliers, record.costs, record.terms)


def test_file_bytes_are_those_of_the_file():
    assert sample_report().file_bytes == len(sample_artifact().to_bytes())
