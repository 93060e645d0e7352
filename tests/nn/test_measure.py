"""nn.measure: what a file is estimated to take, against what pack writes."""

import pytest
import torch
from torch import nn
from zoo import another, inputs_of

from prepared import EXAMPLE, prepared, small_net
from secateur.ir.rules import Prune, Quantize
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
    assert real <= predicted
    if density == 1.0:
        assert real > predicted - 250


def _mobile():
    """Norms with gain 1 and shift 0, whose statistics become biases."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    for _ in range(3):
        layers += [nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
        layers += [nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    model(torch.randn(8, 3, 12, 12))
    return model.eval(), torch.randn(2, 3, 12, 12)


def _transformer():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval(), torch.randn(2, 5, 16)


ZOO = ("mlp", "waves", "pools", "attention", "masked attention", "encoder", "reader", "translator")
MODELS = {"mobile": _mobile, "transformer": _transformer} | {
    name: lambda name=name: (another(name), inputs_of(name, 2)) for name in ZOO
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("bits", "density"), [(4, 0.02), (None, 0.3)])
def test_files_of_torchs_modules_are_within_the_estimate(name, bits, density):
    model, example = MODELS[name]()
    quantize = None if bits is None else Quantize(bits)
    prepare_(model, plan(model, example, prune=Prune(), quantize=quantize))
    harden_(model, Target(density=density))
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    for values in ("float32", "float16"):
        assert len(pack(model, example, values=values).to_bytes()) <= packed_bytes(model, masks, values)


def test_a_forward_with_tables_of_its_own_has_a_file_above_the_estimate():
    """Which is why it is called one."""
    model, example = another("sentence"), inputs_of("sentence", 2)
    prepare_(model, plan(model, example, prune=Prune()))
    harden_(model, Target(density=0.3))
    masks = {site.name: site.transform.prune.mask for site in transforms_of(model)}
    estimated, real = packed_bytes(model, masks, "float32"), len(pack(model, example).to_bytes())
    assert estimated < real < 1.5 * estimated


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
