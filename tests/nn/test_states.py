"""nn.states: a buffer that is None or a tensor follows the state dict that is loaded."""

import torch
from torch import nn

import secateur as sct
from secateur.nn.states import take_states


class Stage(nn.Module):
    def __init__(self, mask=None):
        super().__init__()
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("mask", mask)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        take_states(self, ("mask",), state_dict, prefix, torch.device("cpu"))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def test_none_and_tensors_replace_one_another():
    hard = torch.tensor([True, False])
    for before in (None, torch.tensor([False, True]), torch.zeros(3)):
        for saved in (None, hard):
            stage = nn.Sequential(Stage(before))
            stage.load_state_dict(nn.Sequential(Stage(saved)).state_dict())
            assert (stage[0].mask is None) == (saved is None)
            assert saved is None or torch.equal(stage[0].mask, saved)


def test_a_part_of_a_state_leaves_the_other_stages_and_names_what_is_missing():
    stages = nn.Sequential(Stage(torch.tensor([True, False])), Stage())
    part = {"1.std": torch.tensor(2.0), "1.mask": torch.tensor([False, True])}
    missing = stages.load_state_dict(part, strict=False).missing_keys
    assert missing == ["0.std", "0.mask"]
    assert torch.equal(stages[0].mask, torch.tensor([True, False]))
    assert torch.equal(stages[1].mask, part["1.mask"])
    stages.load_state_dict({"1.std": torch.tensor(3.0)}, strict=False)
    assert stages[1].mask is None  # the state of a soft stage


def test_a_part_of_a_hardened_models_state_keeps_the_rest_hard():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), torch.randn(4, 64)
    rules = {"prune": sct.Prune(), "quantize": sct.Quantize(bits=2), "maps": sct.Quantize(bits=8)}
    sct.prepare_(model, sct.plan(model, x, **rules))
    sct.calibrate_(model, [x])
    sct.harden_(model, sct.Target(density=0.2))
    before = model.eval()(x)
    part = {name: value for name, value in model.state_dict().items() if name.startswith("2.")}
    missing = model.load_state_dict(part, strict=False).missing_keys
    stages = "0.parametrizations.weight.0.stages."
    assert {f"{stages}prune.mask", f"{stages}quantize.bits"} <= set(missing)
    assert torch.equal(model(x), before)
