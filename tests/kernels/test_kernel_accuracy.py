"""Classes of accuracy hold on whole layers, though only a sample is measured."""

from dataclasses import replace
from math import inf, sqrt

import numpy as np
import pytest

from kernel_cases import error, make_layer, result
from secateur.errors import KernelError
from secateur.kernels.accuracy import (
    ACCURACY,
    SAMPLE_MARGIN,
    SAMPLE_OUTPUTS,
    WHOLE_MACS,
    WHOLE_MARGIN,
    accuracy_limit,
    expected_error,
    measured_error,
    sample_error,
    sample_shape,
    whole_error,
)
from secateur.kernels.algorithms import Tiling
from secateur.kernels.choice import choose, tilings
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.runnable import Setting
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import host_target

SHAPE = ConvShape(1, 12, 12, 16, 16, (3, 3), padding=(1, 1, 1, 1))
TARGET = host_target()


def setting(shape=SHAPE, threads=1):
    return Setting(shape, Epilogue(), TARGET, threads)


def test_strict_is_stricter():
    wide = replace(SHAPE, in_channels=64)
    for name, limit in ACCURACY.items():
        for one in choose(setting(wide), name).candidates:
            assert one.error is not None
            assert one.error <= limit or one.algorithm == "direct"
    assert measured_error(setting(wide), Tiling((8, 8), (3, 3))) > ACCURACY["strict"]
    with pytest.raises(KernelError, match="sloppy"):
        accuracy_limit("sloppy")


@pytest.mark.parametrize("outputs", [(2, 2), (4, 4), (6, 6)])
def test_the_guess_of_an_error_is_near_the_measured_one(outputs):
    algorithm = Tiling(outputs, (3, 3))
    ratio = measured_error(setting(), algorithm) / expected_error(algorithm, SHAPE.in_channels)
    assert 0.2 < ratio < 4


def test_the_sample_is_part_of_the_layer():
    large = ConvShape(8, 224, 200, 64, 512, (3, 3), (2, 1), (1, 1, 1, 1))
    sample = sample_shape(large)
    assert (sample.batch, sample.in_channels, sample.taps) == (1, 64, (3, 3))
    assert sample.macs < large.macs / 100
    assert sample_shape(SHAPE).height == SHAPE.height


def whole_error_of(shape, algorithm, seed):
    """max|y - y64| / max|y64| over all outputs, with data the sample does not have."""
    layer = make_layer(shape, seed=seed)
    spread = np.float32(sqrt(2))  # make_layer keeps the scale; He weights double the square
    layer = replace(layer, weight=layer.weight * spread, bias=0 * layer.bias)
    return error(result(layer, layer.kernel(algorithm.name)), layer.expected())


@pytest.mark.parametrize(
    "shape",
    [
        replace(SHAPE, height=70, width=80, in_channels=32, out_channels=48),
        replace(SHAPE, height=90, width=90, in_channels=64, out_channels=3),
        replace(SHAPE, batch=4, height=28, width=28, taps=(5, 5), padding=(2,) * 4, out_channels=64),
    ],
)
def test_classes_hold_on_whole_layers(shape):
    """The tilings a class only just allows; with the bare sample instead of its margin some would be beyond."""
    guesses = {one: expected_error(one, shape.in_channels) for one in tilings(setting(shape))}
    beyond = 0
    for limit in ACCURACY.values():
        near = sorted((one for one in guesses if guesses[one] < limit), key=guesses.__getitem__)[-2:]
        for algorithm in near:
            measured = measured_error(setting(shape), algorithm)
            found = max(whole_error_of(shape, algorithm, seed) for seed in (1, 2))
            assert found <= measured
            beyond += found > measured / SAMPLE_MARGIN
    assert beyond


@pytest.mark.parametrize(
    ("shape", "algorithm"),
    [
        (replace(SHAPE, height=40, width=44, out_channels=64), Tiling((6, 6), (3, 3))),
        (
            replace(SHAPE, batch=12, height=24, width=24, taps=(7, 7), padding=(3,) * 4),
            Tiling((4, 4), (7, 7), ("x^2+1", "x^2+1")),
        ),
        (
            replace(SHAPE, height=56, width=56, in_channels=32, out_channels=64, taps=(5, 5), padding=(2,) * 4),
            Tiling((8, 8), (5, 5), ("x^2+1", "x^2+1")),
        ),
    ],
)
def test_an_error_from_whole_layers_holds_for_other_data(shape, algorithm):
    """And is no larger than it must be."""
    found = [whole_error_of(shape, algorithm, seed) for seed in range(100, 108)]
    measured = max(sample_error(setting(shape), algorithm), whole_error(setting(shape), algorithm))
    assert max(found) <= WHOLE_MARGIN * measured < 3 * WHOLE_MARGIN * max(found)


def test_layers_too_large_or_too_small_to_be_measured_whole():
    large = replace(SHAPE, height=1500, width=1500, in_channels=64, out_channels=64)
    assert large.macs > 4 * WHOLE_MACS
    assert whole_error(setting(large), Tiling((2, 2), (3, 3))) == inf
    assert whole_error(setting(), Tiling((2, 2), (3, 3))) == inf
    assert whole_error(setting(replace(SHAPE, batch=0)), Tiling((2, 2), (3, 3))) == inf


def test_small_maps_are_filled_up_with_images():
    wide = replace(SHAPE, out_channels=64)
    assert sample_shape(wide).batch == SAMPLE_OUTPUTS // (144 * 32)
    assert sample_shape(replace(wide, out_channels=3)).batch == SAMPLE_OUTPUTS // (144 * 3)
    assert sample_shape(replace(wide, batch=1000)) == sample_shape(replace(wide, batch=0)) == sample_shape(wide)
    assert sample_shape(replace(wide, groups=2)).batch == SAMPLE_OUTPUTS // (144 * 64)
    assert sample_shape(replace(wide, height=300, width=300)).batch == 1


def test_whole_layers_are_measured_where_the_sample_leaves_a_limit_open(monkeypatch):
    tiling, asked, answers = Tiling((4, 4), (3, 3)), [], []

    def whole(given, algorithm):
        asked.append((given, algorithm))
        return answers.pop()

    monkeypatch.setattr("secateur.kernels.accuracy.whole_error", whole)
    sample = sample_error(setting(), tiling)
    for limit in (inf, SAMPLE_MARGIN * sample, 0.99 * sample):
        assert measured_error(setting(), tiling, limit) == SAMPLE_MARGIN * sample
    assert measured_error(setting(), None, sample_error(setting(), None)) == SAMPLE_MARGIN * sample_error(
        setting(), None
    )
    assert asked == []
    answers[:] = 0.1 * sample, 1.2 * sample, inf
    expected = [SAMPLE_MARGIN * sample, WHOLE_MARGIN * 1.2 * sample, WHOLE_MARGIN * sample]
    assert [measured_error(setting(), tiling, sample) for _ in range(3)] == pytest.approx(expected)
    assert asked == [(setting(), tiling)] * 3
