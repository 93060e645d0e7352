"""Quantized tensors stay on a grid through folding, removal and sorting of units, with the same integers as codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import Net, assert_close, outputs_of

from secateur.errors import ArtifactError
from secateur.ir.dead_units import remove_dead_units
from secateur.ir.fold import fold_batch_norm
from secateur.ir.formats import on_grid, same_bits
from secateur.ir.grid import Grid
from secateur.ir.grids import Folded, fold_grids, in_order, without_units
from secateur.ir.sort_units import sort_units


def quantized(net: Net, bits: int = 4, by_channel: bool = False) -> dict[str, Grid]:
    """Put every weight of a net on a grid, in place."""
    grids = {}
    for name, array in net.constants.items():
        if array.ndim < 2:
            continue
        grid = Grid.spanning(array, bits)
        if by_channel:
            largest = np.abs(array).reshape(len(array), -1).max(axis=1, initial=0)
            grid = Grid(bits, (largest / grid.largest).astype(np.float16))
        grids[name] = grid
        net.constants[name] = on_grid(array, grid, nearest=True).to_dense()
    return grids


def folded(net: Net, grids: dict[str, Grid]) -> Folded:
    """The law: the same function, every tensor on a grid, codes the same but for signs and channels of zeros."""
    graph = net.graph(net.nodes[-1].output)
    after = fold_batch_norm(graph, net.constants)
    found = fold_grids(graph, net.constants, after[1], grids)
    assert_close(outputs_of(graph, net.constants), outputs_of(after[0], found.tensors))
    for name, grid in found.grids.items():
        stored = on_grid(found.tensors[name], grid)
        assert same_bits(stored.to_dense(), found.tensors[name])
        codes = np.abs(on_grid(net.constants[name], grids[name]).codes)
        kept = np.broadcast_to(grid.steps(codes.ndim) > 0, codes.shape)
        np.testing.assert_array_equal(np.abs(stored.codes), codes * kept)
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.sampled_from([1, 2]), st.booleans(), st.booleans())
def test_norms_multiply_scales(seed: int, rank: int, groups: int, bias: bool, by_channel: bool):
    net = Net(-1, 4, *(3,) * rank, seed=seed, sparsity=0.2)
    x = net.conv("x", "first", 6, 2, bias, groups=groups) if rank else net.linear("x", "first", 6, bias)
    x = net.batch_norm(x, "norm")
    net.constants["first.weight"][0, 0] = 1
    net.constants["norm.weight"][[1, 2]] = -0.5, 0
    net.linear(net.flatten(net.add("relu", x)), "last", 3)
    grids = quantized(net, by_channel=by_channel)
    found = folded(net, grids)
    assert found.grids["first.weight"].by_channel
    assert found.grids["first.weight"].scale[2] == 0
    assert found.grids["last.weight"] is grids["last.weight"]
    assert not found.notes


def test_scales_are_float16_where_that_is_exact():
    net = Net(-1, 4, 3, 3)
    net.batch_norm(net.conv("x", "conv", 3), "norm", eps=0.25)
    net.constants["norm.running_var"][:] = 0.75
    net.constants["norm.weight"][:] = 2, -4, 1
    grids = quantized(net)
    found = folded(net, grids)
    scale = grids["conv.weight"].scale
    np.testing.assert_array_equal(found.grids["conv.weight"].scale, np.float16([2, 4, 1]) * scale)
    assert found.grids["conv.weight"].scale.dtype == np.float16
    net.constants["norm.weight"][0] = 0.3
    assert folded(net, grids).grids["conv.weight"].scale.dtype == np.float32


def test_a_transposed_convolution_has_its_channels_on_axis_1():
    net = Net(-1, 4, 3, 3)
    net.batch_norm(net.conv_transpose("x", "conv", 6), "norm")
    found = folded(net, quantized(net))
    assert found.grids["conv.weight"].axis == 1
    net = Net(-1, 4, 3, 3)
    net.batch_norm(net.conv_transpose("x", "conv", 6, groups=2), "norm")
    found = folded(net, quantized(net))
    assert not found.grids
    assert found.notes == ("conv.weight lies on no grid once its norm is folded: its scales differ along several axes",)


def test_what_is_not_on_its_grid_is_refused():
    net = Net(-1, 4)
    net.linear("x", "first", 6)
    graph = net.graph(net.nodes[-1].output)
    with pytest.raises(ArtifactError, match=r"first\.weight: .* are not on a grid of 3 bits"):
        fold_grids(graph, net.constants, net.constants, {"first.weight": Grid(3, np.array(0.1, np.float16))})


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_scales_go_and_move_with_their_channels(seed: int, along_columns: bool):
    net = Net(-1, 6, seed=seed, sparsity=0.3)
    x = net.add("relu", net.linear("x", "first", 9))
    net.linear(net.add("relu", net.linear(x, "second", 7)), "third", 4)
    net.constants["first.weight"][0] = 0
    if along_columns:  # a scale for each unit that is read
        array = net.constants["second.weight"]
        grids = {"second.weight": Grid(4, (np.abs(array).max(axis=0) / 7).astype(np.float16), axis=1)}
        net.constants["second.weight"] = on_grid(array, grids["second.weight"], nearest=True).to_dense()
    else:
        grids = quantized(net, by_channel=True)
    graph = net.graph(net.nodes[-1].output)
    removed = remove_dead_units(graph, net.constants)
    smaller = without_units(grids, removed[2].groups, removed[2].axes)
    for name, grid in smaller.items():
        assert same_bits(on_grid(removed[1][name], grid).to_dense() + 0, removed[1][name] + 0)
    result = sort_units(graph, net.constants, removed, rescale=True, fixed=grids)
    assert set(result.unscaled) == ({"first", "second"})
    for name, grid in in_order(smaller, result.orders).items():
        on_grid(result.tensors[name], grid)
