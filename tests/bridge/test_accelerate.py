"""bridge.accelerate: whole models, traced or not; right on every shape; undone where it does not pay."""

import copy
import json
import shutil

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import secateur as sct
from bridge_cases import CLOSE, Branching, Residual, SmallNet, apart, exact, settled
from recomputed_nets import BOTH, IGNORED, INPUTS, UTILITIES, layers_of, plain_net, trained
from secateur.bridge import accelerate as verb
from secateur.bridge import deciding
from secateur.bridge.accelerated_conv import AcceleratedConv
from secateur.bridge.timing import Comparison
from secateur.errors import KernelError
from secateur.nn.copying import copied

COMPILER = shutil.which("g++") or shutil.which("clang++")
X = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return settled(SmallNet())


def test_the_model_stays_as_it_is(net):
    net.train()
    before = copy.deepcopy(net.state_dict())
    fast = sct.accelerate(net, X, measure=False)
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(isinstance(module, AcceleratedConv) for module in net.modules())
    assert apart(fast(X), exact(net.eval(), X)) < CLOSE
    assert fast.report.replaced == 6
    assert json.loads(fast.report.to_json())["replaced"] == 6


@pytest.mark.parametrize("shape", [(2, 3, 12, 12), (3, 3, 12, 12), (1, 3, 11, 12)])
def test_other_shapes(net, shape):
    fast, x = sct.accelerate(net, X, measure=False), torch.randn(shape)
    assert apart(fast(x), exact(net, x)) < CLOSE


def test_what_cannot_be_traced_is_replaced_layer_by_layer():
    torch.manual_seed(0)
    model, x = Branching().eval(), torch.randn(2, 4, 6, 6)
    fast = sct.accelerate(model, x, measure=False)
    assert apart(fast(x), exact(model, x)) < CLOSE
    assert [row.name for row in fast.report.layers] == ["conv", "line"]
    assert fast.report.replaced == 2
    assert "not traced" in str(fast.report)
    assert "TraceError" in str(fast.report)


def test_a_layer_the_example_does_not_reach():
    class Unreached(Branching):
        def forward(self, x):
            return self.conv(x) if x.sum() < 1e9 else self.line(x)

    fast = sct.accelerate(Unreached(), torch.randn(1, 4, 6, 6), measure=False)
    assert "not called" in {row.name: row.reason for row in fast.report.layers}["line"]


@pytest.mark.parametrize(("layer", "whole"), [(True, True), (True, False), (False, True)])
def test_what_is_not_faster_is_left(monkeypatch, net, layer, whole):
    monkeypatch.setattr(deciding, "compare", lambda *_, **__: Comparison(10.0, 5.0, layer))
    monkeypatch.setattr(verb, "compare", lambda *_, **__: Comparison(100.0, 50.0, whole))
    fast = sct.accelerate(net, X)
    assert apart(fast(X), exact(net, X)) < CLOSE
    kept = any(isinstance(module, AcceleratedConv) for module in fast.modules())
    assert kept == (layer and whole) == bool(fast.report.replaced)
    assert ("the whole is not faster" in str(fast.report)) == (layer and not whole)
    assert layer or all("not faster by more than noise" in row.reason for row in fast.report.layers[:-1])


def test_a_measured_run_from_start_to_end(monkeypatch, net):
    monkeypatch.setattr(deciding, "LAYER_SECONDS", 0)
    monkeypatch.setattr(verb, "MODEL_SECONDS", 0)
    fast = sct.accelerate(net, X)
    assert all(row.before_us and row.after_us for row in fast.report.layers[:-1])
    assert all(row.algorithm or row.reason for row in fast.report.layers)
    assert "chosen by measurements from 20" in str(fast.report)
    assert apart(fast(X), exact(net, X)) < CLOSE


def test_outputs_that_differ_undo_everything(monkeypatch, net):
    monkeypatch.setitem(verb.LARGEST_DIFFERENCE, "float32", 0.0)
    fast = sct.accelerate(net, X, measure=False)
    assert fast.report.replaced == 0
    assert "please report it" in str(fast.report)
    assert torch.equal(fast(X), net(X))


def test_it_is_for_inference_and_can_be_copied(net):
    fast = sct.accelerate(net, X, measure=False)
    assert torch.equal(copy.deepcopy(fast)(X), fast(X))
    assert fast.eval() is fast
    with pytest.raises(KernelError, match="inference"):
        fast.train()


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x, scale):
            return {"y": self.conv(x) * scale, "x": x}

    model, scale = Two().eval(), torch.tensor(2.0)
    fast = sct.accelerate(model, (X, scale), measure=False)
    assert apart(fast(X, scale)["y"], 2 * exact(model.conv, X)) < CLOSE
    assert fast.report.replaced == 1


@pytest.mark.parametrize("accuracy", ["default", "int8"])
def test_an_output_of_any_dimensions_that_was_contiguous_still_is(accuracy):
    def conv1d():
        return nn.Sequential(nn.Conv1d(4, 16, 5, padding=2), nn.ReLU(), nn.Conv1d(16, 8, 5, padding=2))

    for model, x in (
        (conv1d(), torch.randn(2, 4, 64)),
        (conv1d(), torch.randn(4, 64)),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.Flatten(2)), X),
    ):
        fast = sct.accelerate(model, x, accuracy=accuracy, measure=False)
        assert fast.report.replaced == 2
        assert fast(x).is_contiguous()
        assert fast(x).view(-1).shape == (model(x).numel(),)


def test_inside_autocast(net):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = sct.accelerate(net, X, measure=False)
        assert fast(X).dtype == net(X).dtype == torch.bfloat16
        assert apart(fast(X), exact(net, X)) < 0.05
    assert fast.report.replaced == 6
    assert apart(fast(X), exact(net, X)) < CLOSE


def test_like_layers_are_measured_once_and_progress_is_shown(monkeypatch):
    monkeypatch.setattr(verb, "MODEL_SECONDS", 0)
    compared, seen = [], []
    monkeypatch.setattr(deciding, "compare", lambda *_, **__: compared.append(0) or Comparison(10.0, 5.0, True))
    same = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)]
    net = nn.Sequential(*same, nn.Conv2d(3, 4, 3)).eval()
    fast = sct.accelerate(net, X, watch=seen.append)
    assert len(compared) == 3  # the first one's input is NCHW
    assert [row.before_us for row in fast.report.layers] == [10.0] * 4
    assert [(e.done, e.total, e.name) for e in seen if e.phase == "measure"] == [(n + 1, 4, str(n)) for n in range(4)]


def test_inside_inference_mode(net):
    with torch.inference_mode():
        fast = sct.accelerate(net, X, measure=False)
        assert apart(fast(X), exact(net, X)) < CLOSE
    assert fast.report.replaced == 6
    assert apart(fast(X), exact(net, X)) < CLOSE


def test_it_compiles_to_one_graph_and_exports():
    torch.manual_seed(0)
    net, x = settled(Residual(4)), torch.randn(1, 4, 6, 6)
    fast = sct.accelerate(net, x, measure=False)
    torch._dynamo.reset()
    compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert apart(compiled(x), exact(net, x)) < CLOSE
    program = torch.export.export(fast, (x,))
    assert program.graph_module.code.count("secateur.conv2d_inference") == 2
    assert apart(program.module()(x), exact(net, x)) < CLOSE


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler on this machine, which torch.compile's inductor needs")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_compiles_with_inductor():
    torch._dynamo.reset()
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()).eval()
    fast = sct.accelerate(net, X, measure=False)
    compiled = torch.compile(fast, fullgraph=True)
    with torch.no_grad(), torch._inductor.config.patch(freezing=True):
        assert apart(compiled(X), exact(net, X)) < CLOSE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy": "sloppy"}, "sloppy"),
        *(({"threads": count}, f"threads={count!r} must be a whole number") for count in (0, 2.0, "2", True)),
        ({"example": torch.zeros(1)}, "example"),
        *(({"example": example}, "a tensor or a tuple of arguments, not") for example in (None, {"x": X}, X.numpy())),
    ],
)
def test_misuse(net, options, message):
    given = {"example": X} | options
    with pytest.raises(KernelError, match=message):
        sct.accelerate(net, **given)


@pytest.mark.filterwarnings(IGNORED)
@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("utility", UTILITIES)
def test_weights_computed_before_every_pass_are_computed_once(kind, utility):
    model = trained(kind, utility)
    hooks = [dict(layer._forward_pre_hooks) for layer in layers_of(model)]
    held = [layer.weight for layer in layers_of(model)]
    fast = sct.accelerate(model, INPUTS[kind], measure=False)
    assert [dict(layer._forward_pre_hooks) for layer in layers_of(model)] == hooks
    assert all(layer.weight is weight for layer, weight in zip(layers_of(model), held, strict=True))
    assert all(weight.grad_fn is not None for weight in held)
    assert fast.report.notes == ()
    assert not any("hooks" in row.reason for row in fast.report.layers)
    assert [row.name for row in fast.report.layers if row.algorithm] == ["0", "3"] * (kind == "convolutional")
    assert apart(fast(INPUTS[kind]), exact(copied(model).eval(), INPUTS[kind])) < CLOSE


def test_what_torch_has_pruned_runs_on_sparse_kernels():
    model = nn.Sequential(prune.l1_unstructured(nn.Linear(64, 64), "weight", amount=0.9))
    x = torch.randn(4, 64)
    fast = sct.accelerate(model, x, measure=False)
    assert fast.report.replaced == 1
    assert apart(fast(x), exact(copied(model), x)) < CLOSE


@pytest.mark.parametrize("parametrized", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_weights_under_parametrizations(parametrized):
    model = plain_net("convolutional")
    for layer in layers_of(model):
        parametrized(layer)
    model(INPUTS["convolutional"]).sum().backward()
    fast = sct.accelerate(model, INPUTS["convolutional"], measure=False)
    assert fast.report.replaced == 2
    assert apart(fast(INPUTS["convolutional"]), exact(model.eval(), INPUTS["convolutional"])) < CLOSE
