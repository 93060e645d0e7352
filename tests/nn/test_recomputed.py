"""nn.recomputed: models under torch.nn.utils.prune, spectral_norm and weight_norm, from plan to file: right or told."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune, weight_norm

from recomputed_nets import BOTH, IGNORED, INPUTS, UNDO, UTILITIES, Attention, layers_of, trained
from secateur.errors import PlanError, SecateurWarning
from secateur.ir.execute import interpret
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.copying import copied
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.recomputed import PRUNE, WEIGHT_NORM, all_recomputed, for_good_, recomputed, refresh_
from secateur.nn.restore import restore_
from secateur.nn.strip import strip_
from secateur.train.one_shot import one_shot_

pytestmark = pytest.mark.filterwarnings(IGNORED)
KINDS, OF = pytest.mark.parametrize("kind", BOTH), pytest.mark.parametrize("utility", UTILITIES)
WITHOUT_GRAPH = {"weight_norm"}


def evaluated(model, kind):
    with torch.no_grad():
        return model.eval()(INPUTS[kind]).numpy()


def apart(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def packed(model, kind, utility):
    """Weights alone, with a warning that says what to do, where no graph holds the computation."""
    if utility not in WITHOUT_GRAPH:
        return pack(model, INPUTS[kind])
    with pytest.warns(SecateurWarning, match=rf"{utility} computes .*before every.*{UNDO[utility]}\(layer, name\)"):
        return pack(model, INPUTS[kind])


def assert_file_is(artifact, model, kind, fresh):
    wanted = evaluated(model, kind)
    assert apart(evaluated(restore_(fresh, artifact), kind), wanted) < 1e-5
    if artifact.graph is not None:
        assert apart(interpret(artifact, INPUTS[kind].numpy()), wanted) < 1e-5


@KINDS
@OF
def test_a_trained_model_is_packed_and_restored(kind, utility):
    model = trained(kind, utility)
    kept = [(layer, layer.weight, layer.weight.grad_fn) for layer in layers_of(model)]
    assert all(function is not None for *_, function in kept)
    artifact = packed(model, kind, utility)
    assert all(layer.weight is weight and weight.grad_fn is function for layer, weight, function in kept)
    assert (artifact.graph is None) == (utility in WITHOUT_GRAPH)
    told = artifact.meta["weights_only"] if artifact.graph is None else str(artifact.meta["notes"])
    assert f"{utility} computes 0.weight and {len(kept) - 1} more" in told
    assert f"{UNDO[utility]}(layer, name)" in told
    assert_file_is(artifact, model, kind, trained(kind, utility, seed=1))


@KINDS
@OF
def test_such_weights_are_kept_by_a_plan_and_the_reason_says_what_to_do(kind, utility):
    model = trained(kind, utility)
    rows = plan(model, INPUTS[kind], prune=Prune(), quantize=Quantize(bits=8))
    assert not rows.changed
    reasons = [row.reason for row in rows if "weight_" in row.name]
    assert len(reasons) == len(layers_of(model)) * (2 if utility == "weight_norm" else 1)
    wanted = f"torch.nn.utils.{utility} computes weight from it before every forward pass: torch.nn.utils."
    assert set(reasons) == {f"{wanted}{UNDO[utility]}(layer, 'weight') first"}
    with pytest.raises(PlanError, match=rf"changes nothing.*{utility} computes 0\.weight and .*{UNDO[utility]}\("):
        prepare_(model, rows)


@pytest.mark.parametrize("maps", [None, Quantize(bits=8)])
@KINDS
@OF
def test_the_other_layers_go_through_the_whole_line(kind, utility, maps):
    model = trained(kind, utility, first=1)
    quantize = None if maps is None else Quantize(bits=8)
    prepare_(model, plan(model, INPUTS[kind], prune=Prune(), quantize=quantize, maps=maps))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        model.train()(INPUTS[kind]).square().sum().backward()
        optimizer.step()
    moved = [name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)]
    assert any(name.endswith(("weight_orig", "weight_v")) for name in moved)
    hardened = harden_(model, Target(density=0.5), example=INPUTS[kind])
    assert [row.name for row in hardened.tensors] == ["0.weight"]
    artifact = packed(model, kind, utility)
    assert_file_is(artifact, model, kind, trained(kind, utility, first=1, seed=1))
    if maps is None:
        assert np.array_equal(evaluated(strip_(copied(model)), kind), evaluated(model, kind))


@KINDS
@OF
@pytest.mark.parametrize("seen", [False, True])
def test_the_other_layers_are_cut_at_once(kind, utility, seen):
    model = trained(kind, utility, first=1)
    prepare_(model, plan(model, INPUTS[kind], prune=Prune()))
    one_shot_(model, Target(density=0.5), batches=[INPUTS[kind]] if seen else None)
    assert_file_is(packed(model, kind, utility), model, kind, trained(kind, utility, first=1, seed=1))


@OF
def test_weights_of_recurrent_layers_are_kept_too(utility):
    layer = nn.GRU(3, 4, batch_first=True)
    apply = {"prune": lambda: prune.l1_unstructured(layer, "weight_hh_l0", amount=0.5)}
    apply.get(utility, lambda: UTILITIES[utility](layer, "weight_hh_l0"))()
    x = torch.randn(2, 5, 3)
    layer(x)[0].sum().backward()
    rows = plan(layer, x, prune=Prune())
    assert [row.name for row in rows.pruned] == ["weight_ih_l0"]
    assert sum(f"{utility} computes weight_hh_l0 from it" in row.reason for row in rows) in (1, 2)
    prepare_(layer, rows)
    layer(x)[0].sum().backward()
    assert torch.equal(copied(layer.eval())(x)[0], layer(x)[0])


def test_a_bias_is_no_reason_against_its_layer():
    layer = nn.Linear(3, 2)
    prune.random_unstructured(layer, "bias", amount=1)
    rows = plan(layer, torch.randn(2, 3), prune=Prune())
    assert [row.name for row in rows.pruned] == ["weight"]
    assert rows["bias_orig"].reason == "Linear.bias_orig has no pruning rule"


def test_names_by_what_computes_them():
    model = nn.Sequential(weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2), weight_norm(nn.Linear(2, 2)))
    prune.random_unstructured(model[1], "bias", amount=1)
    prune.random_unstructured(model[1], "bias", amount=1)  # two in a container are one hook
    model[1].register_forward_pre_hook(lambda *_: None)
    assert recomputed(model[1]) == {"bias": PRUNE}
    assert all_recomputed(model) == {WEIGHT_NORM: ["0.weight", "2.weight"], PRUNE: ["1.bias"]}
    assert all_recomputed(model[0]) == {WEIGHT_NORM: ["weight"]}
    assert all_recomputed(nn.Sequential(nn.Linear(2, 2))) == {}


@KINDS
@OF
def test_for_good_is_what_the_run_computed(kind, utility):
    model = copied(trained(kind, utility)).eval()
    wanted = evaluated(copied(model), kind)
    assert np.array_equal(for_good_(model, lambda: model(INPUTS[kind])).numpy(), wanted)
    assert all_recomputed(model) == {}
    assert all(isinstance(layer.weight, nn.Parameter) and not layer.weight.requires_grad for layer in layers_of(model))
    assert np.array_equal(evaluated(model, kind), wanted)


def test_for_good_leaves_alone_what_was_not_called_or_has_further_hooks():
    model = nn.Sequential(*(weight_norm(nn.Linear(2, 2)) for _ in range(3)))
    model[1].register_forward_pre_hook(lambda *_: None)
    x = torch.randn(1, 2)
    for_good_(model, lambda: model[1](model[0](x)))
    assert all_recomputed(model) == {WEIGHT_NORM: ["1.weight", "2.weight"]}


@OF
def test_refreshed_weights_are_those_of_the_parameters(utility):
    layer = UTILITIES[utility](nn.Linear(6, 4))
    layer = layer if isinstance(layer, nn.Module) else layer.module
    layer(torch.randn(2, 6))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    refresh_(layer)
    assert layer.training
    assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())
    found = layer.weight
    layer.eval()(torch.randn(2, 6))
    assert torch.equal(layer.weight, found)


def test_a_weight_read_without_its_layer_is_packed_alone_and_restored():
    model, x = Attention().eval(), torch.randn(2, 3, 8)
    with pytest.warns(SecateurWarning, match=r"out_proj\.weight is read without .*prune\.remove\(layer, 'weight'\)"):
        artifact = pack(model, x)
    assert artifact.graph is None
    other = Attention(seed=1).eval()
    assert not torch.allclose(other(x), model(x), atol=1e-3)
    assert torch.equal(restore_(other, artifact)(x), model(x))


def test_one_utility_on_what_another_computes_from_is_packed_alone_and_restored():
    def chain(seed):
        torch.manual_seed(seed)
        layer = weight_norm(nn.Linear(6, 4))
        prune.l1_unstructured(layer, "weight_v", amount=0.5)
        return nn.Sequential(layer).eval()

    model, x = chain(0), torch.randn(2, 6)
    model(x)
    with pytest.warns(SecateurWarning, match=r"0\.weight_v is read without"):
        artifact = pack(model, x)
    assert torch.equal(restore_(chain(1), artifact)(x), model(x))


def test_what_is_computed_from_another_is_refreshed_after_it():
    layer = weight_norm(nn.Linear(6, 4))
    prune.l1_unstructured(layer, "weight_v", amount=0.5)
    with torch.no_grad():
        layer.weight_v_orig.add_(1)
    refresh_(layer)
    found = layer.weight
    layer(torch.randn(2, 6))
    assert torch.equal(layer.weight, found)
