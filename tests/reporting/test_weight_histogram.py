"""Histograms that lose no weight."""

import numpy as np

from secateur.reporting.weight_histogram import WeightHistogram


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
