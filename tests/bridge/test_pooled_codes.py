"""bridge.pooled_codes: maxima of codes in every window, as torch finds them of the same numbers."""

import itertools

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from secateur.bridge.graph_forms import arguments_by_position
from secateur.bridge.pooled_codes import PooledCodes, pooling

WINDOWS = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": [2, 1]},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": [3], "stride": [], "padding": (1, 0), "dilation": (1, 2)},
    {"kernel_size": 3, "stride": 4, "padding": 1, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    {"kernel_size": 1, "stride": 2, "ceil_mode": True},
]


def codes(*shape, dtype=torch.int8, layout=torch.channels_last):
    made = torch.randint(-128 if dtype == torch.int8 else 0, 128, shape, generator=torch.Generator().manual_seed(0))
    made = made.to(dtype)
    return made.contiguous(memory_format=layout) if len(shape) == 4 else made


@pytest.mark.parametrize("options", WINDOWS)
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_every_window_and_size(options, dtype):
    pool = PooledCodes(**options)
    for height, width in itertools.product((5, 8, 12, 16, 17), repeat=2):
        for layout in (torch.channels_last, torch.contiguous_format):
            x = codes(2, 3, height, width, dtype=dtype, layout=layout)
            found = pool(x)
            assert found.dtype == dtype
            assert torch.equal(found.float(), F.max_pool2d(x.float(), **options))
            assert pool.taps == (1, 1) or found.is_contiguous(memory_format=layout)


def test_without_a_batch_and_with_an_empty_one():
    pool = PooledCodes(2)
    assert torch.equal(pool(codes(3, 13, 14)).float(), F.max_pool2d(codes(3, 13, 14).float(), 2))
    assert pool(codes(0, 3, 6, 6)).shape == (0, 3, 3, 3)


def test_too_few_pixels_are_refused_as_by_torch():
    with pytest.raises(RuntimeError, match="too small"):
        PooledCodes(4)(codes(1, 2, 3, 9))


class Pools(nn.Module):
    """The same pool in every way to write it, then those that are none of codes."""

    def __init__(self):
        super().__init__()
        self.pool, self.both = nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, return_indices=True)

    def forward(self, x, y):
        same = [
            *(self.pool(x), self.pool(input=x), F.max_pool2d(x, 3, 2, 1), torch.max_pool2d(x, (3, 3), 2, padding=1)),
            F.max_pool2d(stride=2, padding=1, input=x, kernel_size=3),
        ]
        return same, self.both(x)[0], F.max_pool2d(x, 2, return_indices=True)[0], F.max_pool2d(x, y.size(0)), x.amax()


def test_which_nodes_pool():
    graph = fx.symbolic_trace(Pools())
    arguments_by_position(graph)
    found = {node: pooling(node, graph) for node in graph.graph.nodes if pooling(node, graph) is not None}
    assert len(found) == 5
    x = codes(1, 4, 14, 11)
    wanted = F.max_pool2d(x.float(), 3, 2, 1)
    assert all(torch.equal(pool(x).float(), wanted) for pool in found.values())
    assert all(node.args[:1] == (next(iter(graph.graph.nodes)),) for node in found)
