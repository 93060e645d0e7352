"""nn.states: a buffer that is None or a tensor follows the state dict that is loaded."""

import torch
from torch import nn

from secateur.nn.states import take_states


class Stage(nn.Module):
    def __init__(self, mask=None):
        super().__init__()
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
