"""What bench_accuracy.py rests on: layers fixed beforehand, and a summary that sees a tiling that left its class."""

import pytest

import bench_accuracy
from bench_accuracy import Case, beyond, drawn_layers, layer_name, near, real_errors, summary
from secateur.kernels.accuracy import ACCURACY, SAMPLE_MARGIN, WHOLE_MARGIN
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.runnable import Setting
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import host_target

LIMIT = ACCURACY["default"]


def case(sample, whole, *real):
    """Errors as shares of the limit of the class "default"."""
    return Case("layer", "tiling", sample * LIMIT, whole and whole * LIMIT, tuple(one * LIMIT for one in real))


def test_sets_are_fixed_and_apart():
    first, second = ([layer_name(shape) for shape in drawn_layers(number)] for number in (0, 1))
    assert first[:2] == ["7x7 49-55@15x15, batch 1", "5x5 149-12@40x40, batch 1"]
    assert len(set(first) | set(second)) == 2 * bench_accuracy.COUNT
    assert len(drawn_layers(2)) == len(bench_accuracy.LAYERS)


@pytest.mark.parametrize(
    ("sample", "whole", "admitted"),
    [(0.5, None, True), (0.55, None, False), (0.55, 0.6, True), (0.55, 0.7, False), (0.7, 0.6, False)],
)
def test_the_summary_admits_as_the_product_does(sample, whole, admitted):
    assert case(sample, whole, 0.1).admitted(LIMIT, (1.9, 1.5)) == admitted


def test_what_left_its_class_is_seen(monkeypatch):
    kept, left = case(0.4, 0.4, 0.3, 0.6), case(0.4, None, 0.3, 1.2)
    assert beyond([kept], (1.9, 1.5)) == []
    assert beyond([kept, left], (1.9, 1.5)) == [("default", left, pytest.approx(1.2))]
    assert beyond([left], (2.6, 1.5)) == []
    monkeypatch.setattr(bench_accuracy, "cases", lambda number: [kept, left])
    text = summary(0)
    assert "LEFT default: layer tiling 1.20" in text
    assert "least sample margin that lets none leave: 2.55" in text
    assert (SAMPLE_MARGIN, WHOLE_MARGIN) < (2.55, 2)


def test_real_errors_are_those_of_whole_layers_on_other_data(monkeypatch):
    monkeypatch.setattr(bench_accuracy, "SEEDS", 2)
    shape = ConvShape(1, 12, 12, 16, 16, (3, 3), padding=(1, 1, 1, 1))
    samples = near(Setting(shape, Epilogue(), host_target(), 1))
    strictest = min(samples, key=samples.__getitem__)
    errors = real_errors(shape, [strictest], (0, 0))[strictest]
    assert len(set(errors)) == 2
    assert all(0.2 * samples[strictest] < error < 2 * samples[strictest] for error in errors)
