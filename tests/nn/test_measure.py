"""nn.measure: the size it predicts is the size pack writes."""

import pytest
import torch

from prepared import EXAMPLE, prepared, small_net
from secateur.ir.rules import Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.map_sites import maps_of
from secateur.nn.measure import MAP_BYTES, packed_bytes, untransformed_bytes
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of


@pytest.mark.parametrize("values", ["float32", "float16"])
@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
def test_the_file_is_never_larger_than_predicted(values, density):
    model = prepared()
    harden_(model, Target(density=density))
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    predicted = packed_bytes(model, masks, values)
    real = len(pack(model, EXAMPLE, values=values).to_bytes())
    assert real <= predicted, "dead units and folded norms only make it smaller"
    if density == 1.0:
        assert real > predicted - 200


def test_untransformed_bytes_are_those_of_the_biases():
    assert untransformed_bytes(prepared(), "float32") >= 4 * (4 + 16 + 3)
    frozen = prepared()
    with torch.no_grad():
        for index in (0, 4, 6):
            frozen[index].bias.zero_()
    assert untransformed_bytes(frozen, "float32") < untransformed_bytes(prepared(), "float32")


def test_quantized_maps_are_counted_with_their_names_and_not_with_what_they_learn():
    model = small_net()
    prepare_(model, plan(model, EXAMPLE, maps=Quantize((4, 8))))
    maps = len(maps_of(model))
    assert untransformed_bytes(model, "float32") == untransformed_bytes(small_net(), "float32") + MAP_BYTES * maps
    model.train()(EXAMPLE)
    harden_(model, Target(largest_map_bytes=10_000), example=EXAMPLE)
    real = len(pack(model, EXAMPLE).to_bytes())
    without = len(pack(small_net(), EXAMPLE).to_bytes())
    assert without < real <= without + MAP_BYTES * maps
