"""nn.repair: closed form for one layer, never worse on the calibration batches, nothing where nothing was cut."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from zoo import another, inputs_of

from prepared import Tied
from secateur.ir.rules import Prune
from secateur.maths.least_squares import exact
from secateur.nn import repair
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.repair import input_energies, repair_, viewed
from secateur.nn.strip import strip_
from secateur.nn.transform import transforms_of


@torch.no_grad()
def both(model, inputs, density):
    """A hardened copy that keeps a random share of every weight, and the dense one."""
    cut = prepare_(copy.deepcopy(model), plan(model, inputs, prune=Prune())).eval()
    generator = torch.Generator().manual_seed(0)
    for site in transforms_of(cut):
        site.transform.prune.harden(torch.ones_like(site.original, dtype=torch.bool))
    dense = strip_(copy.deepcopy(cut))
    for site in transforms_of(cut):
        site.transform.prune.harden(torch.rand(site.original.shape, generator=generator) < density)
    return cut, dense


@torch.no_grad()
def repaired(model, batches, density):
    cut, dense = both(model, batches[0], density)
    calls, reasons = viewed(transforms_of(cut), dense, (0, batches[0]))
    found = repair_(cut, dense, batches, calls, lambda *_: None)
    return cut, dense, found, reasons


@torch.no_grad()
def test_a_linear_layer_equals_closed_form_least_squares():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4))
    batches = [(torch.randn(9, 6),) for _ in range(3)]
    cut, dense, found, _ = repaired(model, batches, 0.5)
    x = np.concatenate([np.c_[batch[0].double().numpy(), np.ones(9)] for batch in batches])
    w0 = np.c_[dense[0].weight.double().numpy(), dense[0].bias.double().numpy()]
    (site,) = transforms_of(cut)
    mask = np.c_[site.transform.prune.mask.numpy(), np.ones(4, bool)]
    gram, wanted = x.T @ x, (x @ w0.T).T @ x
    expected = exact(gram, wanted, w0 * mask, mask, ridge=repair.RIDGE * np.diag(gram).mean())
    np.testing.assert_allclose(cut[0].weight.numpy(), expected[:, :-1], atol=1e-5)
    np.testing.assert_allclose(cut[0].bias.numpy(), expected[:, -1], atol=1e-5)
    error = np.square(x @ expected.T - x @ w0.T).sum() / np.square(x @ w0.T).sum()
    assert found["0.weight"].after == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("name", ["lenet5", "residual", "waves", "pools", "encoder", "sentence"])
@pytest.mark.parametrize("density", [0.2, 0.7])
def test_no_layer_is_worse_on_the_batches_and_no_cut_weight_comes_back(name, density):
    batches = [inputs_of(name, 6, seed) for seed in range(3)]
    cut, _, found, reasons = repaired(another(name), batches, density)
    assert found
    assert all(0 <= layer.after <= layer.before for layer in found.values())
    assert {site.name for site in transforms_of(cut)} == found.keys() | reasons.keys()
    for site in transforms_of(cut):
        assert not site.transform(site.original)[~site.transform.prune.mask].any()
        assert torch.isfinite(site.original).all()


@pytest.mark.parametrize("name", ["residual", "waves", "sentence"])
def test_where_nothing_was_cut_nothing_changes(name):
    batches = [inputs_of(name, 6, seed) for seed in range(2)]
    cut, dense, _, _ = repaired(another(name), batches, 2.0)
    state = strip_(cut).state_dict()
    for key, tensor in dense.state_dict().items():
        torch.testing.assert_close(state[key], tensor, rtol=1e-4, atol=1e-5)


def test_a_fault_in_the_sums_is_found(monkeypatch):
    """The law above can fail: least squares that goes the wrong way is noticed."""
    monkeypatch.setattr(repair, "masked_least_squares", lambda gram, wanted, start, mask, ridge: start * 1.5)
    _, _, found, _ = repaired(another("lenet5"), [inputs_of("lenet5", 6)], 0.7)
    assert any(layer.after > layer.before for layer in found.values())


@torch.no_grad()
def test_statistics_move_with_the_inputs_of_a_batch_norm():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3)).eval()
    model[1].running_mean.copy_(torch.tensor([0.3, -0.2, 0.1]))
    batches = [(torch.randn(8, 2, 6, 6),)]
    cut, dense, _, _ = repaired(model, batches, 0.4)
    old, new = dense[0](*batches[0]), cut[0](*batches[0])
    assert (new - old).abs().max() > 0.01
    moved = new.mean((0, 2, 3)) - old.mean((0, 2, 3))
    torch.testing.assert_close(cut[1].running_mean, dense[1].running_mean + moved, rtol=1e-4, atol=1e-5)
    ratio = new.var((0, 2, 3)) / old.var((0, 2, 3))
    torch.testing.assert_close(cut[1].running_var, dense[1].running_var * ratio, rtol=1e-4, atol=1e-5)


def test_weights_whose_inputs_cannot_be_seen_are_named():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen, self.hidden = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return nn.functional.linear(self.seen(x), self.hidden.weight)

    def reasons(model, *inputs):
        cut, dense = both(model, inputs, 0.5)
        return viewed(transforms_of(cut), dense, (0, inputs))[1]

    found = reasons(Functional(), torch.ones(2, 4))
    assert list(found) == ["hidden.weight"]
    assert "never called" in found["hidden.weight"]
    found = reasons(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval(), torch.randn(2, 3, 8))
    assert set(found) == {"self_attn.in_proj_weight", "self_attn.out_proj.weight"}
    assert "MultiheadAttention" in found["self_attn.in_proj_weight"]
    (reason,) = reasons(Tied(), torch.arange(7)[None]).values()
    assert "Embedding" in reason or "one tensor with" in reason


@pytest.mark.parametrize("size", [0.0, 1e-170], ids=["zero", "squares underflow"])
@torch.no_grad()
def test_a_layer_whose_inputs_are_all_zero_keeps_its_weights_and_hurts_nobody(size):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(8, 8, 3, groups=2, bias=False), nn.Conv1d(8, 3, 1)).eval().double()
    x = torch.randn(5, 8, 6).double()
    x[:, :4] *= size  # the first of the two groups
    cut, dense, found, _ = repaired(model, [(x,)], 0.5)
    kept = transforms_of(cut)[0]
    mask = kept.transform.prune.mask
    assert torch.equal(kept.original[:4][mask[:4]], dense[0].weight[:4][mask[:4]])
    assert not torch.equal(kept.original[4:][mask[4:]], dense[0].weight[4:][mask[4:]]), "the other group is fitted"
    assert all(torch.isfinite(site.original).all() for site in transforms_of(cut))
    assert all(0 <= layer.after <= layer.before for layer in found.values())


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Linear(6, 4, bias=False), nn.Conv1d(4, 6, 3, groups=2)])
@torch.no_grad()
def test_of_a_layer_too_wide_the_bias_alone_is_fitted_and_that_is_said(monkeypatch, layer):
    monkeypatch.setattr(repair, "LARGEST_INPUT", 5)
    torch.manual_seed(0)
    x = torch.randn(9, *((6,) if isinstance(layer, nn.Linear) else (4, 7)))
    cut, dense, found, reasons = repaired(nn.Sequential(layer), [(x,)], 0.5)
    assert reasons == {}
    lost = (cut(x) - dense(x)).double()
    scale = float(dense(x).double().square().sum())
    assert found["0.weight"].after == pytest.approx(float(lost.square().sum()) / scale, rel=1e-4)
    assert found["0.weight"].after <= found["0.weight"].before
    assert "more than 5 inputs" in found["0.weight"].note
    if layer.bias is not None:
        assert lost.transpose(0, 1).flatten(1).mean(1).abs().max() < 1e-6
    assert torch.equal(transforms_of(cut)[0].original, layer.weight)


@torch.no_grad()
def test_energies_are_the_mean_squares_of_what_a_weight_multiplies():
    model = nn.Sequential(nn.Conv2d(2, 4, 2, groups=2), nn.Flatten(), nn.Linear(16, 3))
    x = torch.randn(5, 2, 3, 3)
    energies = input_energies(model, {model[0]: 1, model[2]: 1}, [(x,)])
    assert energies[model[0]].shape == (2, 4)
    assert energies[model[0]][1, 0] == pytest.approx(float(x[:, 1, :2, :2].square().mean()))
    torch.testing.assert_close(energies[model[2]], model[1](model[0](x)).double().square().mean(0, keepdim=True))
