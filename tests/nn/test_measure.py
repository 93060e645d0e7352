"""nn.measure: the size it predicts is the size pack writes."""

import pytest
import torch

from prepared import EXAMPLE, prepared
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.measure import packed_bytes, untransformed_bytes
from secateur.nn.pack import pack
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
