"""The penalty of several layers in one call and its gradients in another: against the passes they are made of."""

import numpy as np
import pytest

from kernel_cases import GUARD, HERE, guarded
from secateur.kernels.moments import moments_of
from secateur.kernels.norm_penalty import BLOCKS, ROW, norm_penalty_of
from secateur.kernels.norm_terms import Bounds, norm_terms_of
from secateur.kernels.target import TARGETS

BOUNDS = {squared: Bounds(3.0, 10.0, 0.5, squared) for squared in (False, True)}
SHAPES = [((2, 3, 49), False), ((1, 17, 5), True), ((1, 1, 1), False), ((3, 40, 4), True)]
"""(batch, channels, positions) of every layer, and whether its channels come last."""


class Network:
    """Inputs and multipliers of layers, and rows of all their numbers between NaN."""

    def __init__(self):
        draw = np.random.default_rng(0)
        self.inputs, self.multipliers, self.channels = [], [], [shape[1] for shape, _ in SHAPES]
        for (batch, channels, positions), last in SHAPES:
            ordered = (batch, positions, channels) if last else (batch, channels, positions)
            self.inputs.append((3 * draw.standard_normal(ordered) + 1).astype(np.float32))
            self.multipliers.append((4 * draw.standard_normal((2, channels))).astype(np.float32))
        size = 2 * sum(self.channels)
        self.blocks = {name: guarded((size,), 77.0) for name in BLOCKS["penalty"]}
        self.blocks["wanted"][1][:] = draw.choice([0.0, 1.0], size)
        self.blocks["weights"][1][:] = draw.uniform(1e-3, 1e-2, size)

    def rows(self, others):
        """As the calls take them."""
        found = []
        for (shape, last), x, other in zip(SHAPES, self.inputs, others, strict=True):
            batch, channels, positions = shape
            sizes = (1, batch * positions, channels) if last else shape
            found += [x.ctypes.data, other.ctypes.data, int(last), *sizes, channels]
        assert len(found) == len(ROW) * len(SHAPES)
        return found

    def addresses(self, name):
        return [self.blocks[one][1].ctypes.data for one in BLOCKS[name]]

    def block(self, name, layer):
        """The numbers of one layer, (2, channels)."""
        start = 2 * sum(self.channels[:layer])
        return self.blocks[name][1][start : start + 2 * self.channels[layer]].reshape(2, -1)


def passes(network, layer, target, squared):
    """(moments, value, slope, ascent) of one layer by the passes themselves."""
    shape, last = SHAPES[layer]
    code, channels = moments_of(TARGETS[target]), shape[1]
    sizes = (1, shape[0] * shape[2], channels) if last else shape
    moments, slope, ascent = (np.zeros((2, channels), np.float32) for _ in range(3))
    forward = code.last_forward if last else code.by_channel_forward
    forward(network.inputs[layer].ctypes.data, moments[0].ctypes.data, moments[1].ctypes.data, *sizes)
    wanted, weights = (network.block(name, layer).ctypes.data for name in ("wanted", "weights"))
    read = moments.ctypes.data, network.multipliers[layer].ctypes.data, wanted, weights
    terms = norm_terms_of(BOUNDS[squared], TARGETS[target])
    return moments, terms((*read, slope.ctypes.data, ascent.ctypes.data), 2 * channels), slope, ascent


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("squared", [False, True])
def test_one_call_is_all_layers_one_by_one(target, squared):
    network, total = Network(), 0.0
    code = norm_penalty_of(BOUNDS[squared], TARGETS[target])
    value = code.penalty(network.rows(network.multipliers), network.addresses("penalty"))
    for layer in range(len(SHAPES)):
        moments, one, slope, ascent = passes(network, layer, target, squared)
        total += one
        for name, wanted in (("moments", moments), ("slope", slope), ("ascent", ascent)):
            np.testing.assert_array_equal(network.block(name, layer), wanted, err_msg=f"{name} of layer {layer}")
    assert value == total
    for buffer, _ in network.blocks.values():
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()


@pytest.mark.parametrize("target", HERE)
def test_the_pulls_are_those_of_the_layers(target):
    network = Network()
    code = norm_penalty_of(BOUNDS[False], TARGETS[target])
    code.penalty(network.rows(network.multipliers), network.addresses("penalty"))
    pulls = [np.full_like(x, np.nan) for x in network.inputs]
    code.pulls(network.rows(pulls), network.addresses("pulls"))
    for layer, (shape, last) in enumerate(SHAPES):
        count, axis = shape[0] * shape[2], 2 if last else 1
        x = network.inputs[layer].astype(np.float64)
        broad = (1, 1, -1) if axis == 2 else (1, -1, 1)
        (mean, _), (toward, slope) = (network.block(name, layer).astype(np.float64) for name in ("moments", "slope"))
        wanted = (toward.reshape(broad) + 2 * slope.reshape(broad) * (x - mean.reshape(broad))) / count
        np.testing.assert_allclose(pulls[layer], wanted, rtol=2e-5, atol=1e-7)


def test_no_layers_cost_nothing():
    code = norm_penalty_of(BOUNDS[False], TARGETS[HERE[0]])
    assert code.penalty([], [0] * len(BLOCKS["penalty"])) == 0
