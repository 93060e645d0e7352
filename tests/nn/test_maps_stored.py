"""nn.maps.stored, and restore_ with it: quantized maps of an artifact, with a graph or without, back in torch."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from map_nets import NETS, Vgg, settled
from secateur.errors import ArtifactError, SecateurWarning
from secateur.ir.artifact import Artifact
from secateur.ir.execute import interpret
from secateur.ir.formats import Dense
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.map_names import name_of, scale_key
from secateur.ir.rules import Quantize
from secateur.nn.harden import harden_
from secateur.nn.map_sites import maps_of
from secateur.nn.maps.insertion import frozen_maps
from secateur.nn.maps.stored import StoredMap, stored_maps
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.restore import restore_
from secateur.nn.strip import strip_


def hardened(model, x, bits=8):
    """A model whose maps are hard; ranges as one batch shows them."""
    prepare_(model, plan(model, x, maps=Quantize(bits)))
    model.train()(x)
    for site in maps_of(model):
        site.quantizer.start()
        site.quantizer.harden(bits)
    return model.eval()


def as_float(artifact, x):
    """What the graph computes in float32."""
    return torch.from_numpy(interpret(artifact, x.numpy(), arithmetic="float"))


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_maps_of_a_graph_come_back_under_their_names(name):
    net = NETS[name]
    model, x = hardened(settled(net), net.example(), bits=6), net.example()
    artifact = Artifact.from_bytes(pack(model, x).to_bytes())
    maps = stored_maps(artifact)
    assert maps.inputs == 1
    assert artifact.meta["parameters"] == pack(settled(net), x).meta["parameters"], "scales of maps are none"
    assert {name_of(key) for key in maps.maps} == {site.name for site in maps_of(model)}
    for site in maps_of(model):
        key = next(key for key in maps.maps if name_of(key) == site.name)
        assert maps.maps[key] == StoredMap(6, site.quantizer.signed)
        assert float(artifact.constants[scale_key(key)]) == float(site.quantizer.scale())
    restored = restore_(settled(net, seed=5), artifact)
    with torch.no_grad():
        assert torch.allclose(restored(x), model(x), atol=1e-5), "norms are folded, so sums round alike but not equally"
        assert torch.allclose(as_float(artifact, x), restored(x), atol=1e-5)


def test_restored_models_are_packed_and_stripped_like_others():
    net = NETS["twice"]
    x = net.example()
    artifact = pack(hardened(settled(net), x), x)
    restored = restore_(settled(net), artifact)
    assert stored_maps(pack(restored, x)) == stored_maps(artifact)
    with pytest.warns(SecateurWarning, match="float again"):
        strip_(restored)
    assert list(restored.state_dict()) == list(settled(net).state_dict())


def test_values_of_a_file_leave_scales_as_they_are():
    net = NETS["vgg"]
    model, x = hardened(settled(net), net.example()), net.example()
    for values in ("float16", "int8"):
        artifact = Artifact.from_bytes(pack(model, x, values=values, sort=True).to_bytes())
        restored = restore_(Vgg().eval(), artifact)
        for key, frozen in frozen_maps(restored).items():
            assert frozen.scale == model.secateur_maps[key].scale()
        assert torch.allclose(as_float(artifact, x), restored(x), atol=1e-5)


class Sorting(nn.Module):
    """What torch.fx can trace and no graph holds."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(torch.relu(self.fc(x)).sort(-1).values)


def weights_alone():
    model, x = hardened(Sorting(), torch.randn(3, 4)), torch.randn(3, 4)
    with pytest.warns(SecateurWarning, match="weights alone"):
        artifact = pack(model, x)
    return model, x, artifact


def test_weights_alone_keep_their_maps():
    model, x, artifact = weights_alone()
    restored = restore_(Sorting().eval(), Artifact.from_bytes(artifact.to_bytes()))
    assert torch.equal(restored(x), model(x))
    assert len(frozen_maps(restored)) == 2


def test_scales_found_at_run_time_come_back_as_such():
    model, x = Sorting(), torch.randn(3, 4)
    prepare_(model, plan(model, x, maps="dynamic"))
    harden_(model)
    with pytest.warns(SecateurWarning, match="weights alone"):
        artifact = Artifact.from_bytes(pack(model.eval(), x).to_bytes())
    restored = restore_(Sorting().eval(), artifact)
    assert {frozen.per for frozen in frozen_maps(restored).values()} == {"row"}
    assert torch.equal(restored(x), model(x))


def test_found_scales_of_other_axes_have_no_torch_quantizer():
    nodes = (Node("dynamic_quantize", ("x", scale_key("x")), "y", {"bits": 8, "signed": True, "axes": (1,)}),)
    types = {name: ValueType(shape) for name, shape in (("x", (-1, 3, 4)), (scale_key("x"), ()), ("y", (-1, 3, 4)))}
    graph = Graph(("x",), ("y",), (scale_key("x"),), nodes, types)
    tensors = {scale_key("x"): Dense(np.array(2.0**-24, np.float16))}
    with pytest.raises(ArtifactError, match="neither a row's nor an example's"):
        stored_maps(Artifact(graph, tensors))


@pytest.mark.parametrize(
    "fact",
    [
        [],
        {"inputs": "1", "quantized": {"x": [8, True]}},
        {"inputs": 1, "quantized": [8]},
        {"inputs": 1, "quantized": {"x": 8}},
        {"inputs": 1, "quantized": {"x": [9, True]}},
        {"inputs": 1, "quantized": {"x": [8, 1]}},
        {"inputs": 1, "quantized": {"y": [8, True]}},
        {"inputs": 1, "quantized": {"x": [8, True, "column"]}},
        {"inputs": 1, "quantized": {"x": [8, True, ""]}},
        {"inputs": 1, "quantized": {"x": [8, True, 1]}},
    ],
)
def test_nonsense_about_maps_is_refused(fact):
    artifact = weights_alone()[2]
    with pytest.raises(ArtifactError, match=r"feature map"):
        stored_maps(replace(artifact, meta={**artifact.meta, "maps": fact}))


def test_maps_that_do_not_fit_change_nothing():
    net = NETS["vgg"]
    x = net.example()
    artifact = pack(hardened(settled(net), x), x)

    class Other(Vgg):
        def forward(self, x):
            return self.head(torch.flatten(torch.sigmoid(self.features(x)) if x.sum() > 0 else x, 1))

    plain = Other()
    before = copy.deepcopy(plain.state_dict())
    with pytest.raises(ArtifactError, match=r"do not fit the model: .*control flow"):
        restore_(plain, artifact)
    renamed = nn.Sequential(Vgg())
    with pytest.raises(ArtifactError, match=r"makes no map 'x'"):
        restore_(renamed, artifact)
    assert all(torch.equal(before[key], value) for key, value in plain.state_dict().items())
    restored = restore_(Vgg(), artifact)
    with pytest.raises(ArtifactError, match="plain model"):
        restore_(restored, artifact)


def test_artifacts_without_maps_have_none():
    net = NETS["vgg"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        artifact = pack(settled(net), net.example())
    assert stored_maps(artifact).maps == {}
    assert np.isfinite(as_float(artifact, net.example()).numpy()).all()
