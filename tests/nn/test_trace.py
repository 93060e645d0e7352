"""A traced model is the same function, at every batch size; what cannot be traced is refused by name and place."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree
from zoo import ZOO, inputs_of, model_of, traced_of

from secateur.errors import DataError, GraphError
from secateur.ir.graph import ValueType
from secateur.ir.interpret import run_graph
from secateur.ir.naming import is_made
from secateur.ir.ops import OPS
from secateur.ir.verify import verify
from secateur.nn.trace import trace


class Does(nn.Module):
    """A model that is one function of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def outputs(model, inputs):
    with torch.no_grad():
        return [tensor.numpy() for tensor in _pytree.tree_leaves(model(*inputs))]


def relative_error(result, wanted):
    assert result.shape == wanted.shape
    return np.abs(result - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("name", ZOO)
def test_a_traced_model_is_the_same_function(name):
    traced = traced_of(name)
    verify(traced.graph, {key: ValueType(a.shape, a.dtype.name) for key, a in traced.constants.items()})
    for batch in (1, 2, 5):
        inputs = inputs_of(name, batch, seed=batch)
        results = run_graph(traced.graph, traced.constants, [tensor.numpy() for tensor in inputs])
        wanted = outputs(model_of(name), inputs)
        assert len(results) == len(wanted)
        assert max(map(relative_error, results, wanted)) < 1e-5


def test_a_changed_constant_is_noticed():
    """The oracle can fail: one row of one layer moved by a hundredth."""
    traced = traced_of("lenet5")
    constants = dict(traced.constants)
    constants["8.weight"] = constants["8.weight"].copy()
    constants["8.weight"][0] += 0.01
    inputs = inputs_of("lenet5", 5)
    (result,) = run_graph(traced.graph, constants, [inputs[0].numpy()])
    assert relative_error(result, outputs(model_of("lenet5"), inputs)[0]) > 1e-5


@pytest.mark.parametrize("name", ZOO)
def test_constants_have_the_keys_and_values_of_the_state_dict(name):
    model, traced = model_of(name), traced_of(name)
    state = model.state_dict()
    parameters = {key for key, _ in model.named_parameters(remove_duplicate=False)}
    assert parameters <= {*traced.constants, *traced.tied}
    for key in state.keys() & traced.constants.keys():
        np.testing.assert_array_equal(traced.constants[key], state[key].numpy())
    for key in traced.constants.keys() - state.keys():
        assert is_made(key)


def test_tied_tensors_are_stored_once_and_buffers_are_folded():
    traced = traced_of("sentence")
    assert traced.tied == {"head.weight": "words.weight"}
    assert "head.weight" not in traced.constants
    assert traced.folded == ("positions",)


def test_the_model_stays_as_it_was():
    model = copy.deepcopy(model_of("residual")).train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    example = torch.randn(1, 3, 8, 8)
    random = torch.get_rng_state()
    fast = torch.backends.mha.get_fastpath_enabled()
    trace(model, example)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.backends.mha.get_fastpath_enabled() is fast


def test_inputs_in_other_dtypes_and_double_models():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2)).double()
    traced = trace(model, torch.tensor([[1, 2]], dtype=torch.int32))
    assert traced.graph.types[traced.graph.inputs[0]] == ValueType((-1, 2), "int64")
    assert traced.graph.types[traced.graph.outputs[0]] == ValueType((-1, 2, 2))


def test_a_fixed_batch_is_traced_and_noted():
    traced = trace(Does(lambda x: x.view(3, -1).sum(1)), torch.ones(3, 2))
    assert traced.graph.types[traced.graph.inputs[0]].shape == (3, 2)
    (note,) = traced.notes
    assert note.startswith("the batch is fixed at 3: ")


def test_squeeze_without_a_dimension_keeps_the_batch():
    traced = trace(Does(lambda x: x.squeeze()), torch.ones(2, 1, 3))
    assert traced.graph.types[traced.graph.outputs[0]].shape == (-1, 3)
    (note,) = traced.notes
    assert "aten.squeeze.default in Does, test_trace.py" in note
    assert "also for a batch of one" in note


def test_batch_mixing_and_infinite_masks_are_noted():
    traced = trace(Does(lambda x: x.masked_fill(x > 0, float("-inf")).softmax(1) - x.mean(0)), torch.ones(2, 3))
    assert len(traced.notes) == 2
    assert "largest finite float32" in traced.notes[0]
    assert "mixes the examples of a batch" in traced.notes[1]


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("runs", torch.zeros(1))

    def forward(self, x):
        self.runs += 1
        return x + self.runs


REFUSED = {
    "unknown": (Does(torch.erfinv), r"aten.erfinv.default in Does, test_trace.py:\d+ `.*`: is outside the closed list"),
    "a branch on values": (
        Does(lambda x: x if x.sum() > 0 else -x),
        r"cannot trace Does: .*data-dependent.*test_trace",
    ),
    "a value as a number": (Does(lambda x: x * x.sum().item()), "takes a value out of a tensor"),
    "numpy": (Does(lambda x: x + torch.from_numpy(x.numpy())), "cannot trace Does: .numpy"),
    "shape by values": (Does(lambda x: x[x > 0]), "makes a tensor of size u0"),
    "the batch as a number": (Does(lambda x: x / x.shape[0]), "computes with the batch size itself"),
    "one example": (Does(lambda x: x[0]), "picks one example of the batch"),
    "slice of the batch": (Does(lambda x: x[:1]), "slices the batch"),
    "random": (Does(lambda x: x + torch.rand_like(x)), "draws random numbers"),
    "dropout in evaluation": (Does(lambda x: F.dropout(x)), r"pass training=self\.training"),
    "batch statistics": (nn.BatchNorm1d(4, track_running_stats=False), "track_running_stats=True"),
    "rounded quotient": (Does(lambda x: torch.div(x, 2, rounding_mode="floor")), "rounds the quotient"),
    "double": (Does(lambda x: x.double()), "dtype torch.float64"),
    "a changed buffer": (Counting(), "^the model changes its buffer runs"),
    "nothing": (
        Does(lambda x: F.linear(x, torch.zeros(0, 4))),
        r"linear.* makes a tensor without elements",
    ),
    "a number returned": (Does(lambda x: (x, x.shape[0])), "something beside tensors"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_operation_the_place_and_what_happens_instead(name, capfd):
    model, message = REFUSED[name]
    with pytest.raises(GraphError, match=message) as caught:
        trace(model, torch.rand(2, 4) + 0.1)
    assert "keeps the weights alone" in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.tensor(1.0), "0-d"),
        ((torch.ones(2, 3), torch.ones(3, 3)), r"not \[2, 3\]"),
        (torch.ones(0, 3), r"not \[0\]"),
        ((), "tuple of tensors"),
        ([1.0], "tuple of tensors"),
        (None, "tuple of tensors"),
        (torch.ones(2, 3, dtype=torch.complex64), "complex"),
    ],
)
def test_bad_examples(example, message):
    with pytest.raises(DataError, match=message):
        trace(nn.Linear(3, 2), example)


def test_errors_of_the_model_itself_reach_the_user():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trace(nn.Linear(3, 2), torch.ones(2, 4))


class Packing(nn.Module):
    """A recurrent layer over a packed sequence, as of texts of different lengths."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 3, batch_first=True)

    def forward(self, x):
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3]), batch_first=True)
        return self.gru(packed)[1][0]


def test_packed_sequences_are_refused_by_name():
    model = Packing()
    with pytest.raises(GraphError, match=r"^gru \(GRU\) runs over a packed sequence.* pad the sequences and mask"):
        trace(model, torch.randn(2, 5, 4))
    assert not model.gru._forward_pre_hooks


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_model_with_time_first_keeps_the_shape_of_the_example_and_says_so(kind):
    model, x = kind(4, 3), torch.randn(5, 2, 4)
    traced = trace(model, x)
    assert traced.graph.types[traced.graph.inputs[0]].shape == (5, 2, 4)
    assert traced.notes[0].startswith("the batch is fixed at 5")
    results = run_graph(traced.graph, traced.constants, [x.numpy()])
    assert max(map(relative_error, results, outputs(model, (x,)))) < 1e-5


def test_a_cell_state_is_computed_only_where_it_is_read():
    layer = nn.LSTM(4, 3, num_layers=2, batch_first=True)
    for read, cell in ((lambda found: found[0], False), (lambda found: found[1][0], False), (lambda f: f[1][1], True)):
        graph = trace(Does(lambda x, read=read: read(layer(x))), torch.randn(2, 5, 4)).graph
        assert [node.attributes["cell"] for node in graph.nodes if node.op == "lstm"] == [cell, cell]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}])
def test_projections(options):
    model, x = nn.LSTM(4, 5, proj_size=2, batch_first=True, **options), torch.randn(3, 5, 4)
    traced = trace(model, x)
    results = run_graph(traced.graph, traced.constants, [x.numpy()])
    assert max(map(relative_error, results, outputs(model, (x,)))) < 1e-5


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_are_unrolled(kind):
    cell, x = kind(4, 3), torch.randn(2, 5, 4)
    traced = trace(Does(lambda x: cell(x[:, 1], cell(x[:, 0]))), x)
    assert {"linear"} <= {node.op for node in traced.graph.nodes} <= set(OPS) - {"lstm", "gru", "rnn"}
    results = run_graph(traced.graph, traced.constants, [x.numpy()])
    wanted = outputs(Does(lambda x: cell(x[:, 1], cell(x[:, 0]))), (x,))
    assert max(map(relative_error, results, wanted)) < 1e-5
