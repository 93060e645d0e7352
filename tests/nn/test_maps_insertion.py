"""nn.maps.insertion: quantizers between a model's own calls, in both modes; the model stays what it was to torch."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from map_nets import NETS, ResNet, Vgg, settled
from secateur.errors import ArtifactError, DataError, PlanError, SecateurWarning
from secateur.ir.map_names import key_of
from secateur.ir.rules import Prune, Quantize
from secateur.maths.map_grid import codes
from secateur.nn.map_quantize import FrozenMap
from secateur.nn.map_sites import maps_of
from secateur.nn.maps.insertion import freeze_, frozen_maps, quantizers_of
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.strip import bake_, strip_


def prepared(name, bits=(4, 8), **rules):
    net = NETS[name]
    model = settled(net)
    return prepare_(model, plan(model, net.example(), maps=Quantize(bits), **rules)), net.example()


def hardened(name, bits=6):
    model, x = prepared(name, bits)
    model.train()
    model(x)  # the ranges are seen
    for site in maps_of(model):
        site.quantizer.start()
        site.quantizer.harden(bits)
    return model.eval(), x


def literally(model):
    """The quantizer of a literal forward: the definition of a quantized map with the model's scales."""

    def quantize(name, value):
        (site,) = [site for site in maps_of(model) if site.name == name]
        scale = site.quantizer.scale()
        lowest, largest = codes(site.quantizer.width(), signed=site.quantizer.signed)
        return ((value / scale + 0.5).floor().clamp(lowest, largest)) * scale

    return quantize


@pytest.mark.parametrize("name", NETS)
def test_hard_maps_equal_a_forward_written_by_hand(name):
    model, x = hardened(name)
    plain = copy.deepcopy(settled(NETS[name]))
    plain.load_state_dict({key: v for key, v in model.state_dict().items() if not key.startswith("secateur_maps")})
    with torch.no_grad():
        assert torch.equal(model(x), NETS[name].by_hand(plain, x, literally(model)))
        assert not torch.equal(model(x), plain(x)), "quantizing changes something"


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("training", [True, False])
def test_while_they_are_off_nothing_changes(name, training):
    model, x = prepared(name)
    plain = settled(NETS[name]).train(training)
    model.train(training)
    for seed in (0, 1):
        torch.manual_seed(seed)
        expected = plain(x)
        torch.manual_seed(seed)
        assert torch.equal(model(x), expected)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), plain.eval()(x)), "statistics of norms moved alike"


def test_quantizers_have_names_rows_and_keys():
    model, _ = prepared("resnet")
    site = next(site for site in maps_of(model) if site.name == "layer1.0.bn2")
    assert site.quantizer is model.secateur_maps["layer1:0:bn2"]
    assert (site.row.shape, site.quantizer.signed, site.quantizer.elements) == ((4, 8, 8), True, 256)
    assert "secateur_maps.layer1:0:bn2.log_range" in model.state_dict()
    assert [key for key in model.state_dict() if not key.startswith("secateur")] == list(ResNet().state_dict())


def test_a_parameter_that_a_sum_reads_is_no_room_an_example_takes():
    model, _ = prepared("transformer")
    sizes = {site.name: (site.quantizer.elements, site.row.size) for site in maps_of(model)}
    assert sizes["places"] == (0, 48)
    assert sizes["embed"] == (48, 48)


def test_maps_kept_by_choice_have_no_quantizer():
    net = NETS["resnet"]
    model = settled(net)
    prepare_(model, plan(model, net.example(), maps=Quantize()).replace("layer1", maps=None))
    assert [site.name for site in maps_of(model) if site.name.startswith("layer1")] == []
    assert len(maps_of(model)) == 7


def test_a_copy_computes_by_itself():
    model, x = hardened("resnet")
    twin = copy.deepcopy(model)
    expected = model(x)
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        twin.fc.bias.add_(1)
        next(iter(twin.secateur_maps.values())).log_range.add_(2)
    assert torch.equal(model(x), expected)
    assert not torch.allclose(twin(x), expected + 1)


def test_states_go_on_where_they_were():
    model, x = prepared("resnet")
    fresh = prepare_(settled(NETS["resnet"], seed=1), plan(model_of("resnet"), x, maps=Quantize((4, 8))))
    model.train()(x)
    for site in maps_of(model):
        site.quantizer.start()
        site.quantizer.learn(0.5)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(x), fresh.eval()(x))
    for site in maps_of(model):
        site.quantizer.harden(4)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(model(x), fresh(x))
    assert all(site.quantizer.is_hard for site in maps_of(fresh))


def model_of(name):
    return settled(NETS[name])


@pytest.mark.parametrize("name", ["resnet", "twice"])
def test_torch_compile_takes_both_modes_whole(name):
    model, x = hardened(name)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(x), model(x), atol=1e-6)
    torch._dynamo.reset()
    soft, x = prepared(name)
    for site in maps_of(soft):
        site.quantizer.start(4.0)
        site.quantizer.learn(1.0)
    soft.train()
    compiled = torch.compile(soft, backend="aot_eager", fullgraph=True)
    torch.manual_seed(0)
    compiled(x).square().sum().backward()
    gradients = [p.grad.clone() for p in soft.parameters() if p.grad is not None]
    soft.zero_grad()
    torch.manual_seed(0)
    soft(x).square().sum().backward()
    again = [p.grad for p in soft.parameters() if p.grad is not None]
    assert len(gradients) == len(again)
    if name != "twice":  # dropout draws other numbers when compiled
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(gradients, again, strict=True))
    torch._dynamo.reset()


def test_torch_export_keeps_the_names_of_inputs():
    model, x = hardened("resnet")
    freeze_(model)
    program = torch.export.export(model, (x,))
    assert program.graph_signature.user_inputs == ("x",)
    assert torch.equal(program.module()(x), model(x))


def test_autocast_and_narrow_inputs():
    model, x = hardened("vgg")
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), model(x), atol=0.1)


def test_gradients_are_those_of_checkpointing():
    model, x = prepared("resnet")
    for site in maps_of(model):
        site.quantizer.start(4.0)
        site.quantizer.learn(1.0)
    model(x).sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    assert len(expected) == len(list(model.parameters())), "every range, width and weight learns"
    model.zero_grad()
    checkpoint(model, x, use_reentrant=False).sum().backward()
    assert all(torch.equal(p.grad, e) for p, e in zip(model.parameters(), expected, strict=True))


def test_moving_a_model_moves_its_quantizers():
    model, _ = prepared("vgg")
    model.double()
    assert {p.dtype for p in quantizers_of(model).parameters()} == {torch.float32}, "ranges stay what they are"
    model.to("meta")
    assert {p.device.type for p in quantizers_of(model).parameters()} == {"meta"}


def test_tensors_that_the_code_makes_move_too_and_are_in_no_state_dict():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x, scale=None, *, twice=True):
            y = self.fc(x) + torch.tensor([1.0, 2.0, 3.0])
            return y * 2 if twice else y

    model, x = Shifted(), torch.randn(2, 3)
    expected, keys = model(x), list(model.state_dict())
    prepare_(model, plan(model, x, maps=Quantize(8)))
    assert vars(model).keys() - vars(Shifted()).keys() == {"forward"}
    assert torch.equal(model(x), expected)
    assert torch.equal(model(x, scale=None, twice=True), expected)
    assert [key for key in model.state_dict() if "secateur" not in key] == keys
    assert sorted(name for name, _ in model.secateur_maps.named_buffers(recurse=False)) == [
        "evaluation_tensor_constant0",
        "training_tensor_constant0",
    ]
    with pytest.raises(DataError, match="scale"):
        model(x, scale=x)


def test_what_a_model_gives_out_stays_float_though_a_layer_reads_it_too():
    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            y = torch.relu(self.fc(x))
            return y, self.fc(y)

    torch.manual_seed(0)
    model, x = Features(), torch.randn(2, 3)
    rows = plan(model, x, maps=Quantize(2)).replace("x", maps=None)
    expected = model(x)
    prepare_(model, rows)
    for site in maps_of(model):
        site.quantizer.start(0.5)
        site.quantizer.harden(2)
    assert [site.name for site in maps_of(model)] == ["relu"]
    assert torch.equal(model(x)[0], expected[0])
    assert not torch.allclose(model(x)[1], expected[1])


def test_stripping_takes_them_out_and_says_that_maps_are_float():
    model, x = prepared("vgg", prune=Prune())
    plain = settled(NETS["vgg"])
    assert parametrize.is_parametrized(model.features[0])
    with pytest.warns(SecateurWarning, match="float again") as caught:
        strip_(model)
    assert caught[0].filename == __file__
    assert list(model.state_dict()) == list(Vgg().state_dict())
    assert vars(model).keys() == vars(plain).keys()
    assert maps_of(model) == ()
    prepare_(model, plan(model, x, maps=Quantize()))


def test_baking_leaves_them_in_and_freezing_fixes_them():
    model, x = hardened("resnet")
    expected = model(x)
    assert torch.equal(bake_(model)(x), expected)
    freeze_(model)
    found = frozen_maps(model)
    assert found["layer1:0:relu"].bits == 6
    assert all(isinstance(one, FrozenMap) for one in found.values())
    assert torch.equal(model(x), expected)
    soft, _ = prepared("resnet")
    with pytest.raises(PlanError, match="harden_ first"):
        freeze_(soft)


def test_a_model_is_not_pickled_without_its_forward():
    model, _ = prepared("vgg")
    with pytest.raises(TypeError, match=r"save its state_dict"):
        pickle.dumps(model)


def test_a_plan_that_does_not_fit_changes_nothing():
    net = NETS["vgg"]
    other = settled(net)
    rows = plan(settled(NETS["resnet"]), net.example(), maps=Quantize())
    wrong = plan(other, net.example(), prune=Prune(), maps=Quantize())
    before = set(vars(other))
    with pytest.raises(PlanError, match="the plan speaks of"):
        prepare_(other, rows)
    with pytest.raises(PlanError, match="makes no map 'relu' in training"):
        prepare_(other, type(wrong)(wrong.tensors, rows.maps))
    assert set(vars(other)) == before
    assert not parametrize.is_parametrized(other.features[0])
    prepare_(other, wrong)
    with pytest.raises(PlanError, match="already prepared"):
        prepare_(other, wrong)
    alone = prepare_(settled(net), type(wrong)(wrong.tensors, wrong.maps).replace("*", prune=None))
    with pytest.raises(PlanError, match="already prepared"):
        prepare_(alone, wrong)


def test_the_mode_is_that_of_the_model_when_it_runs():
    class Dropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, 64)

        def forward(self, x):
            return self.fc(F.dropout(x, 0.5, self.training))

    model, x = Dropped().eval(), torch.randn(2, 64)
    prepare_(model, plan(model, x, maps=Quantize()))
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_soft_maps_are_not_packed():
    from secateur.nn.pack import pack

    model, x = prepared("vgg")
    with pytest.raises(ArtifactError, match="the feature map x is still soft"):
        pack(model, x)


def test_maps_may_be_called_what_containers_of_modules_have_taken():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.keys, self.values = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.values(torch.relu(self.keys(x))) @ self.keys(x).transpose(0, 1)

    x = torch.rand(3, 4)
    table = plan(Named(), x, maps=Quantize(8))
    model = prepare_(Named(), table)
    assert {"keys_1", "values"} <= {site.name for site in maps_of(model)}
    for site in maps_of(model):
        assert site.quantizer is model.secateur_maps[key_of(site.name)]
    model.train()(x).sum().backward()
    assert model.secateur_maps["values:"].row.name == "values"
