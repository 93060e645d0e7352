"""The penalty of several layers in one call and its gradients in another: against the passes they are made of."""

import numpy as np
import pytest

from kernel_cases import GUARD, HERE, guarded
from secateur.kernels.moments import moments_of
from secateur.kernels.norm_penalty import BLOCKS, ROW, SCRATCH, SIZES, norm_penalty_of, table_of
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
        self.blocks["scale"] = guarded((1,), 77.0)
        self.blocks["scale"][1][:] = 3.0
        self.blocks["wanted"][1][:] = draw.choice([0.0, 1.0], size)
        self.blocks["weights"][1][:] = draw.uniform(1e-3, 1e-2, size)

    def table(self, pulls):
        """As the calls take layers; no pull of None."""
        found = []
        for (shape, last), x, m, pull in zip(SHAPES, self.inputs, self.multipliers, pulls, strict=True):
            batch, channels, positions = shape
            sizes = (1, batch * positions, channels) if last else shape
            row = [x.ctypes.data, m.ctypes.data, 0 if pull is None else pull.ctypes.data, int(last), *sizes, channels]
            if pull is None:
                row[SIZES] = [0] * 4
            found += row
        assert len(found) == len(ROW) * len(SHAPES)
        return table_of(found)

    def run(self, name, code, pulls):
        """One of the calls for all layers."""
        return getattr(code, name)(self.table(pulls), self.addresses(name))

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
    value = network.run("penalty", code, network.inputs)
    for layer in range(len(SHAPES)):
        moments, one, slope, ascent = passes(network, layer, target, squared)
        total += one
        for name, wanted in (("moments", moments), ("slope", slope), ("ascent", ascent)):
            np.testing.assert_array_equal(network.block(name, layer), wanted, err_msg=f"{name} of layer {layer}")
    assert value == total
    for buffer, _ in network.blocks.values():
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()


def pull_of(network, layer):
    """What a layer's input is pulled by, in float64, of gradients that the network has."""
    shape, last = SHAPES[layer]
    x = network.inputs[layer].astype(np.float64)
    broad = (1, 1, -1) if last else (1, -1, 1)
    (mean, _), (toward, slope) = (network.block(name, layer).astype(np.float64) for name in ("moments", "slope"))
    return (toward.reshape(broad) + 2 * slope.reshape(broad) * (x - mean.reshape(broad))) / (shape[0] * shape[2])


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize("squared", [False, True])
def test_gradients_are_those_of_the_layers_times_a_number(target, squared):
    network = Network()
    code = norm_penalty_of(BOUNDS[squared], TARGETS[target])
    network.run("penalty", code, network.inputs)
    before = {name: network.blocks[name][1].copy() for name in ("slope", "ascent")}
    pulls = [np.full_like(x, np.nan) for x in network.inputs]
    pulls[1] = None
    network.run("gradients", code, pulls)
    for name, numbers in before.items():
        np.testing.assert_allclose(network.blocks[name][1], 3 * numbers, rtol=1e-6)
    for layer, pull in enumerate(pulls):
        if pull is not None:
            np.testing.assert_allclose(pull, pull_of(network, layer), rtol=2e-5, atol=1e-7)
    for buffer, _ in network.blocks.values():
        assert (buffer[:GUARD] == 77).all()
        assert (buffer[-GUARD:] == 77).all()


@pytest.mark.parametrize("target", HERE)
def test_a_pull_is_added_to_a_gradient_from_the_input_alone(target):
    network = Network()
    code = norm_penalty_of(BOUNDS[False], TARGETS[target])
    network.run("penalty", code, network.inputs)
    network.run("gradients", code, [None] * len(SHAPES))
    for layer, x in enumerate(network.inputs):
        gradient = np.random.default_rng(layer).standard_normal(x.shape).astype(np.float32)
        (buffer, place), (around, room) = guarded(x.shape, 77.0), guarded((SCRATCH * SHAPES[layer][0][1],), 77.0)
        place[:] = gradient
        numbers = [network.block(name, layer).ctypes.data for name in ("wanted", "weights")]
        scale = network.blocks["scale"][1].ctypes.data
        code.added(network.table(network.inputs), layer, [*numbers, scale, room.ctypes.data, place.ctypes.data])
        np.testing.assert_allclose(place, gradient + pull_of(network, layer), rtol=2e-5, atol=1e-6)
        for one in (buffer, around):
            assert (one[:GUARD] == 77).all()
            assert (one[-GUARD:] == 77).all()


def test_no_layers_cost_nothing():
    code = norm_penalty_of(BOUNDS[False], TARGETS[HERE[0]])
    assert code.penalty(table_of([]), [0] * len(BLOCKS["penalty"])) == 0
