"""nn.layer_inputs: rows times weights are a layer's outputs, and looking leaves a model as it was."""

from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import DataError
from secateur.nn import layer_inputs
from secateur.nn.layer_inputs import calls_of, first_inputs, rows_of, see

LAYERS = {
    "linear": (nn.Linear(5, 3), (2, 4, 5)),
    "linear of one sample": (nn.Linear(5, 3), (5,)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2), (3, 4, 11)),
    "conv2d": (nn.Conv2d(2, 3, (3, 2), stride=(1, 2), padding=(2, 1)), (3, 2, 7, 6)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4), (2, 4, 5, 5)),
    "same": (nn.Conv2d(2, 3, 4, padding="same", dilation=2), (2, 2, 6, 6)),
    "reflected": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 2, 6, 6)),
    "circular": (nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), (2, 2, 6)),
    "without a batch": (nn.Conv2d(2, 3, 3), (2, 6, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("piece", [1, 2**22])
@torch.no_grad()
def test_rows_times_weights_are_the_outputs(name, piece):
    layer, shape = LAYERS[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with mock.patch.object(layer_inputs, "PIECE", piece):
        rows = torch.cat(list(rows_of(layer, x)), 1)
    groups = getattr(layer, "groups", 1)
    weight = layer.weight.double().flatten(1).reshape(groups, -1, rows.shape[2])
    product = torch.einsum("gri,goi->rgo", rows, weight).flatten(1) + layer.bias.double()
    expected = layer(x).double()
    if isinstance(layer, nn.Linear):
        expected = expected.reshape(-1, layer.out_features)
    else:
        batched = expected if expected.dim() == len(layer.kernel_size) + 2 else expected.unsqueeze(0)
        expected = batched.flatten(2).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-5)


def test_a_pass_ends_where_there_is_nothing_more_to_see():
    ran = []
    last = nn.Linear(3, 3)
    last.register_forward_hook(lambda *_: ran.append(1))
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), last)
    seen = []
    see(model, {model[0]: 1}, (0, (torch.ones(1, 2),)), lambda _, x: seen.append(x))
    assert len(seen) == 1
    assert not ran
    assert not model[0]._forward_pre_hooks


def test_a_layer_called_twice_is_seen_twice_and_by_keyword_too():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.other = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(input=self.layer(x))

    model = Twice()
    batch = (0, (torch.ones(1, 2),))
    assert calls_of(model, [model.layer, model.other], batch) == {model.layer: 2}
    seen = []
    see(model, {model.layer: 2}, batch, lambda _, x: seen.append(x))
    torch.testing.assert_close(seen[1], model.layer(seen[0]))


def test_nan_is_named_with_its_layer_and_batch():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    model[0].bias.data[0] = float("nan")
    with pytest.raises(DataError, match=r"batch 4.*'1'"):
        see(model, {model[1]: 1}, (4, (torch.ones(1, 2),)), lambda *_: None)
    assert not model[1]._forward_pre_hooks


def test_a_model_that_fails_is_named_with_its_batch():
    model = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(DataError, match="fails on calibration batch 2"):
        calls_of(model, [model[0]], (2, (torch.ones(1, 7),)))
    assert not model[0]._forward_pre_hooks


class Twice(nn.Module):
    """Calls one layer twice and another one not at all."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.layer, self.idle, self.fails = nn.Linear(4, 4), nn.Linear(4, 4), fails

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(self.layer(x))
        if self.fails:
            raise RuntimeError("no")
        return y


def test_the_first_input_of_a_layer_is_kept_and_hooks_are_gone_afterwards():
    model, x = Twice(), torch.randn(2, 4)
    found = first_inputs(model, {"layer": model.layer, "idle": model.idle}, (x,))
    assert list(found) == ["layer"]
    assert found["layer"] is x
    assert not model.layer._forward_pre_hooks
    failing = Twice(fails=True)
    with pytest.raises(RuntimeError):
        first_inputs(failing, {"layer": failing.layer}, (x,))
    assert not failing.layer._forward_pre_hooks


class ByName(nn.Module):
    """Calls its layer with the argument's name, and another with what is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other = nn.Linear(4, 4), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(input=self.other((x,))[0])


def test_an_input_given_by_name_and_one_that_is_no_tensor():
    model, x = ByName(), torch.randn(2, 4)
    assert first_inputs(model, {"layer": model.layer, "other": model.other}, (x,)) == {"layer": x}
