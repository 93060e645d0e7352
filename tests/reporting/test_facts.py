"""The facts of a report: densities weighted by size, histograms that lose no weight."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from sample_report import sample_artifact, sample_report

from secateur.reporting.facts import Training, WeightHistogram


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


def test_histograms_count_every_weight_once_in_bins_that_hold_the_edges():
    rng = np.random.default_rng(0)
    series = {"before": rng.normal(size=(50, 3)), "after": np.array([-9.0, 0.0, 0.0, 2.5])}
    histogram = WeightHistogram.of("w", series, 11.0, bins=21)
    assert (histogram.edges[0], histogram.edges[-1], len(histogram.edges)) == (-11.0, 11.0, 22)
    assert {name: sum(counts) for name, counts in histogram.series.items()} == {"before": 150, "after": 4}
    assert histogram.series["after"][10] == 2  # the middle bin lies round zero


def test_a_histogram_of_nothing_has_bins():
    histogram = WeightHistogram.of("w", {"all": np.zeros(4)}, 0.0, bins=3)
    assert histogram.series["all"] == (0, 4, 0)


def test_file_bytes_are_those_of_the_file():
    assert sample_report().file_bytes == len(sample_artifact().to_bytes())
