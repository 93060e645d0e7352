"""What torch does with a prepared model: everything that is said to work, module by module, and what is detected."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from prepared import EXAMPLE, Tied, small_net
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.harden import harden_
from secateur.nn.pack import pack
from secateur.nn.planning import plan
from secateur.nn.prepare import prepare_
from secateur.nn.strip import strip_
from secateur.nn.transform import transforms_of


class Attention(nn.Module):
    """Self attention, which in evaluation mode takes torch's fused fast path."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class SplitAttention(Attention):
    """Keys and values of another width: three separate projection weights."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=8, vdim=6, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x[..., :6], need_weights=False)[0]


class Outputs(nn.Module):
    """A recurrent layer's outputs without its last states."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class TwoSteps(Outputs):
    """A cell's hidden state after two steps."""

    def forward(self, x):
        state = self.layer(x[:, 1], self.layer(x[:, 0]))
        return state if isinstance(state, torch.Tensor) else state[0]


def cases():
    torch.manual_seed(0)
    sequence = torch.randn(2, 5, 8)
    volume = torch.randn(2, 2, 3, 4, 5)
    both = {"batch_first": True, "bidirectional": True, "num_layers": 2}
    return {
        "conv3d": (nn.Conv3d(2, 4, 2), volume),
        "conv_transpose1d": (nn.ConvTranspose1d(5, 4, 3, stride=2, output_padding=1), sequence),
        "conv_transpose2d": (nn.ConvTranspose2d(2, 6, 3, padding=1, groups=2), volume[:, :, 0]),
        "conv_transpose3d": (nn.ConvTranspose3d(2, 3, 2, dilation=2), volume),
        "lstm": (Outputs(nn.LSTM(8, 6, batch_first=True)), sequence),
        "lstm both ways": (Outputs(nn.LSTM(8, 6, bias=False, **both)), sequence),
        "gru": (Outputs(nn.GRU(8, 6, **both)), sequence),
        "rnn": (Outputs(nn.RNN(8, 6, nonlinearity="relu", **both)), sequence),
        "lstm cell": (TwoSteps(nn.LSTMCell(8, 6)), sequence),
        "gru cell": (TwoSteps(nn.GRUCell(8, 6)), sequence),
        "rnn cell": (TwoSteps(nn.RNNCell(8, 6)), sequence),
        "embedding": (nn.Embedding(7, 4, padding_idx=0), torch.tensor([[0, 2, 3], [4, 5, 6]])),
        "bag": (nn.EmbeddingBag(7, 4, padding_idx=0), torch.tensor([[0, 2, 3], [4, 5, 6]])),
        "linear": (nn.Linear(8, 4), sequence),
        "conv1d": (nn.Conv1d(5, 4, 3), sequence),
        "conv2d": (nn.Conv2d(2, 4, 3, groups=2), sequence.unsqueeze(0)),
        "attention": (Attention(), sequence),
        "split_attention": (SplitAttention(), sequence),
        "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0), sequence),
        "tied_embedding": (Tied(), torch.tensor([[1, 2, 3], [4, 5, 6]])),
    }


CASES = tuple(cases())
RECURRENT = ("lstm", "lstm both ways", "gru", "rnn")


def prepared(name, start=1.0):
    model, example = cases()[name]
    return prepare_(model, plan(model, example, prune=Prune(start=start))), example


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("training", [True, False])
def test_pruning_takes_effect_in_both_modes(name, training):
    """The fused attention path reads weights on its own; it must see the pruned ones."""
    dense, example = cases()[name]
    model, _ = prepared(name)
    dense.train(training)
    model.train(training)
    plain = strip_(copy.deepcopy(model)).train(training)
    with torch.no_grad():
        assert not torch.allclose(model(example), dense(example), atol=1e-3)
        torch.testing.assert_close(model(example), plain(example))


@pytest.mark.parametrize("name", CASES)
def test_gradients_reach_every_parameter_a_plain_model_trains(name):
    model, example = prepared(name)
    model(example).square().sum().backward()
    plain, _ = cases()[name]
    plain(example).square().sum().backward()
    for site in transforms_of(model):
        assert site.original.grad.abs().sum() > 0
        assert site.transform.prune.alpha_raw.grad.abs().sum() > 0
    trained = {n for n, p in plain.named_parameters() if p.grad is not None}
    reached = {
        n.replace("parametrizations.", "").replace(".original", "")
        for n, p in model.named_parameters()
        if p.grad is not None
    }
    assert trained <= reached


@pytest.mark.parametrize("name", CASES)
def test_deepcopy_after_a_training_forward(name):
    model, example = prepared(name)
    model(example).sum()
    twin = copy.deepcopy(model)
    assert torch.equal(twin(example), model(example))
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("hard", [True, False])
def test_state_dict_loads_with_weights_only_into_soft_and_hard_models(name, hard):
    model, example = prepared(name)
    if hard:
        harden_(model)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    for other_is_hard in (True, False):
        file.seek(0)
        other, _ = prepared(name, start=0.5)
        if other_is_hard:
            harden_(other)
        other.load_state_dict(torch.load(file, weights_only=True))
        assert all(site.transform.is_hard == hard for site in transforms_of(other))
        assert torch.equal(other(example), model(example))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:The tensor attribute")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_the_stripped_model_exports(name):
    model, example = prepared(name)
    model(example).sum()
    plain = strip_(copy.deepcopy(model)).eval()
    exported = torch.export.export(plain, (example,))
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(example), plain(example))


@pytest.mark.parametrize("name", RECURRENT)
def test_torch_itself_compiles_no_recurrent_layer_into_one_graph_and_says_so(name):
    for model, example in (prepared(name), cases()[name]):
        torch._dynamo.reset()
        with pytest.raises(RuntimeError, match="Dynamo does not support RNN, GRU, or LSTM"):
            torch.compile(model, backend="aot_eager", fullgraph=True)(example)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("hard", [True, False])
def test_compiles_with_aot_eager_to_one_graph_but_for_recurrent_layers(name, hard):
    torch._dynamo.reset()
    model, example = prepared(name)
    if hard:
        harden_(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=name not in RECURRENT)
    out = compiled(example)
    torch.testing.assert_close(out, model(example))
    out.square().sum().backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model(example).square().sum().backward()
    assert found.keys() == {n for n, p in model.named_parameters() if p.grad is not None}
    for parameter_name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[parameter_name], parameter.grad)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    torch.testing.assert_close(compiled(example), model(example))


@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_half_precision_under_autocast_keeps_the_gate_in_float32(name):
    model, example = prepared(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(example)
        soft = [site.transform.prune.soft(site.original) for site in transforms_of(model)]
    assert out.dtype == torch.bfloat16
    assert all(pruned.dtype == torch.float32 and count.dtype == torch.float32 for pruned, count in soft)
    out.float().sum().backward()
    assert all(site.original.grad.dtype == torch.float32 for site in transforms_of(model))


def test_a_bfloat16_model_is_gated_in_float32_and_stays_bfloat16():
    model = nn.Linear(8, 4).bfloat16()
    example = torch.randn(2, 8, dtype=torch.bfloat16)
    prepare_(model, plan(model, example, prune=Prune()))
    assert model.weight.dtype == torch.bfloat16
    model(example).sum().backward()
    assert transforms_of(model)[0].original.grad.dtype == torch.bfloat16


def test_assigning_to_the_weight_assigns_to_the_original():
    model, _ = prepared("linear")
    model.weight = torch.full((4, 8), 3.0)
    assert (transforms_of(model)[0].original == 3).all()


def test_two_losses_with_their_own_backward_passes():
    model, example = prepared("linear")
    first, second = model(example).sum(), model(2 * example).square().sum()
    first.backward()
    second.backward()
    apart = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    (model(example).sum() + model(2 * example).square().sum()).backward()
    for found, parameter in zip(apart, model.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad)


def test_torchs_average_of_a_model_follows_one_that_is_hardened_and_not_one_that_hardens():
    """It pairs buffers by their order, and hardening adds some: docs/api.md says to build it afterwards."""
    model = small_net()
    prepare_(model, plan(model, EXAMPLE, prune=Prune(), quantize=Quantize((2, 8))))
    before = AveragedModel(model)
    harden_(model, Target(density=0.3))
    with pytest.raises(RuntimeError, match="match"):
        before.update_parameters(model)
    after = AveragedModel(model)
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.9)
        after.update_parameters(model)
    assert torch.equal(after.module[0].weight != 0, model[0].weight != 0)
    pack(after.module, EXAMPLE)
    buffers_too = AveragedModel(model, use_buffers=True)
    buffers_too.update_parameters(model)
    with pytest.raises(RuntimeError, match="bool"):  # a mask has no average
        buffers_too.update_parameters(model)
