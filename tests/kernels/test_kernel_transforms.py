"""Transforms as code: nested, split over fields, in one dimension, all from the exact factors."""

import numpy as np
import pytest

from kernel_cases import HERE, error, make_layer, result
from secateur.kernels.algorithms import LONGEST_TILE, Exact, Tiling, axis_algorithm, catalogue
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import PACKED_CHANNELS, Blocking, fast_weights
from secateur.kernels.runnable import Setting, fast_runnable, padded_bias
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import host_target
from secateur.maths.nesting import split_fields

SAME = (1, 1, 1, 1)


@pytest.mark.parametrize("name", HERE)
def test_an_algorithm_split_over_fields_runs_from_its_factors(name):
    """46 products for F(4x4, 3x3) over x(x^4 - 1): not a nesting, its stages are not regular in rows and columns."""
    algorithm = Exact(split_fields((4, 4), (3, 3), ("x, x^4-1", "x, x^4-1")))
    assert algorithm.products == 46
    target = host_target(name)
    layer = make_layer(ConvShape(1, 11, 10, 9, 20, (3, 3), padding=SAME))
    weights = fast_weights(layer.weight, algorithm, target)
    bias = padded_bias(layer.bias, layer.shape, target)
    made = fast_runnable(Setting(layer.shape, Epilogue(), target, 1), algorithm, Blocking(5, 1, False), weights, bias)
    out = np.zeros(layer.shape.output_shape, np.float32)
    made.run(layer.x.ctypes.data, out.ctypes.data)
    assert error(out, layer.expected()) < 2e-6


@pytest.mark.parametrize("blocking", [Blocking(1, 1, False), Blocking(3, 1, True), Blocking(100, 2, False)])
def test_every_way_to_cut_a_layer_up_gives_the_same(blocking):
    layer = make_layer(ConvShape(2, 9, 9, 5, 70, (3, 3), padding=SAME))
    algorithm, target = Tiling((4, 4), (3, 3)), host_target()
    weights, bias = fast_weights(layer.weight, algorithm, target), padded_bias(layer.bias, layer.shape, target)
    made = fast_runnable(Setting(layer.shape, Epilogue(), target, 2), algorithm, blocking, weights, bias)
    out = np.zeros(layer.shape.output_shape, np.float32)
    made.run(layer.x.ctypes.data, out.ctypes.data)
    np.testing.assert_array_equal(out, result(layer, layer.kernel(algorithm.name)))


@pytest.mark.parametrize("shape", [(3, 2), (70, 5), (33, PACKED_CHANNELS + 3)])
def test_weights_are_transformed_in_float64_and_rounded_once(shape):
    algorithm, target = Tiling((2, 4), (3, 3)), host_target()
    weight = np.random.default_rng(0).standard_normal((*shape, 3, 3)).astype(np.float32)
    packed = fast_weights(weight, algorithm, target)
    wide = np.einsum("pt,kct->pck", np.asarray(algorithm.exact.g, np.float64), weight.reshape(*shape, 9).astype(float))
    for k in range(shape[0]):
        panel, column = divmod(k, target.panel)
        width = -(-min(target.panel, shape[0] - panel * target.panel) // target.lanes) * target.lanes
        found = packed[:, panel].ravel().reshape(len(wide), -1)[:, column : shape[1] * width : width]
        np.testing.assert_allclose(found, wide[:, :, k], rtol=1e-7, atol=1e-7)
    sums = packed.sum(dtype=np.float64), wide.sum()
    assert sums[0] == pytest.approx(sums[1], abs=1e-3)  # zeros where there is no weight


@pytest.mark.parametrize("taps", range(2, 8))
def test_every_algorithm_of_the_catalogue_is_one(taps):
    tilings = catalogue((taps, 1))
    assert max(one.outputs[0] for one in tilings if not one.beside[0]) == min(8, LONGEST_TILE + 1 - taps)
    for one in tilings:
        axis = axis_algorithm(one.outputs[0], taps, one.beside[0])
        assert axis.proves()
        assert axis.products == one.products


def test_catalogue():
    assert catalogue((1, 1)) == [Tiling((1, 1), (1, 1))]
    assert catalogue((1, 3))[0] == Tiling((1, 2), (1, 3))
    assert {Tiling((4, 4), (3, 3)), Tiling((8, 8), (3, 3))} < set(catalogue((3, 3)))
    assert Tiling((4, 4), (7, 7), ("x^2+1", "x^2+1")) in catalogue((7, 7))
    assert all(one.exact.taps == (7, 7) for one in catalogue((7, 7)))
