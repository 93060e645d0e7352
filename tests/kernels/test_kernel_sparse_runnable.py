"""kernels.sparse_runnable: code and numbers of one layer, with any cut."""

import numpy as np
import pytest

from kernel_cases import HERE, error, make_layer
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.memory import aligned
from secateur.kernels.runnable import Setting, padded_bias
from secateur.kernels.shape import ConvShape
from secateur.kernels.sparse_cut import Lanes, SparseCut
from secateur.kernels.sparse_runnable import chunk_rows, sparse_runnable, sparse_unit, sparse_weights
from secateur.kernels.target import TARGETS

SHAPE = ConvShape(2, 10, 12, 20, 40, (3, 3), padding=(1, 1, 1, 1))


@pytest.mark.parametrize("target", HERE)
@pytest.mark.parametrize(
    "cut",
    [
        SparseCut((1, 1), (1, 1), 1),
        SparseCut((10, 12), (2, 3), 7),
        SparseCut((4, 5), (2, 5), 20),
        SparseCut((16, 16), (4, 2), 6),
    ],
)
def test_every_cut_gives_the_same(target, cut):
    layer = make_layer(SHAPE)
    weight = np.where(layer.weight > 0.08, layer.weight, np.float32(0))
    setting = Setting(SHAPE, Epilogue(), TARGETS[target], 1)
    y = aligned(SHAPE.output_shape)
    y[:] = np.nan
    bias = padded_bias(layer.bias, SHAPE, setting.target)
    made = sparse_runnable(setting, cut, sparse_weights(weight, setting, cut), bias)
    made.run(layer.x.ctypes.data, y.ctypes.data)
    assert error(y, type(layer)(**{**vars(layer), "weight": weight}).expected()) < 1e-6


def test_layers_of_one_geometry_share_their_code():
    cut, target = SparseCut((4, 4), (2, 4), 3), TARGETS["avx2"]
    shapes = [ConvShape(n, size, size, 8 * n, 16, (3, 3), padding=(1, 1, 1, 1)) for n, size in ((1, 8), (2, 20))]
    units = {sparse_unit(Setting(shape, Epilogue(), target, 1), cut) for shape in shapes}
    assert len(units) == 1


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_chunks_of_output_channels(threads):
    target, lanes = TARGETS["avx512"], Lanes(SHAPE, SparseCut((4, 4), (2, 4), 3), 16)
    rows = chunk_rows(SHAPE, lanes, target, threads)
    assert rows % 16 == 0
    assert rows == (48 if threads == 1 else 16)
