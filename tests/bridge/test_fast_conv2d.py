"""bridge.fast_conv2d: a drop-in for nn.Conv2d, in training, compiled, exported."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations, parametrize

from bridge_cases import CLOSE, apart, exact
from secateur.bridge.accelerated_conv import AcceleratedConv, Asked
from secateur.bridge.fast_conv2d import FastConv2d
from secateur.errors import KernelError

X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def pair(**options):
    torch.manual_seed(0)
    fast = FastConv2d(4, 8, 3, padding=1, **options)
    torch.manual_seed(0)
    return fast, nn.Conv2d(4, 8, 3, padding=1)


def test_same_keys_parameters_and_start():
    fast, conv = pair()
    assert fast.state_dict().keys() == conv.state_dict().keys()
    assert torch.equal(fast.weight, conv.weight)
    conv.load_state_dict(fast.state_dict())
    assert apart(fast(X), conv(X)) < CLOSE
    shared = FastConv2d.from_conv(conv.eval(), accuracy="strict", threads=1)
    assert shared.weight is conv.weight
    assert not shared.training
    assert (shared.accuracy, shared.threads) == ("strict", 1)
    assert shared(X).shape == (2, 8, 8, 8)
    assert "accuracy strict allows 3.0e-06" in shared.explain()


def test_training_follows_torch():
    fast, conv = pair()
    nets = [nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(512, 3)) for layer in (fast, conv.double())]
    nets[1][3].load_state_dict(nets[0][3].state_dict())
    nets[1].double()
    losses = []
    for net, x in zip(nets, (X, X.double()), strict=True):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        for _ in range(5):
            optimizer.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert apart(fast.weight, conv.weight) < 1e-4


def test_settings_changed_after_construction():
    fast, conv = pair()
    fast(X)
    for layer in (fast, conv):
        layer.stride, layer.padding, layer.dilation = (2, 2), (2, 2), (2, 2)
    assert apart(fast(X), exact(conv, X)) < CLOSE


def test_it_explains_weights_that_are_computed_at_every_call():
    fast, conv = pair()
    parametrizations.weight_norm(fast)
    assert "not called yet" in fast.explain()
    for x in (X, X, X[:1]):
        assert apart(fast(x), exact(conv, x)) < CLOSE
    told = [line.partition(":")[0] for line in fast.explain().splitlines() if " -> " in line]
    assert told == ["(2, 8, 8, 4) -> (2, 8, 8, 8)", "(1, 8, 8, 4) -> (1, 8, 8, 8)"]
    assert copy.deepcopy(fast).explain() == fast.explain()
    parametrize.remove_parametrizations(fast, "weight")
    assert fast.explain() == "not called yet"


def test_copies_are_apart():
    fast, _ = pair()
    fast(X)
    twin = copy.deepcopy(fast)
    with torch.no_grad():
        twin.weight.zero_()
    assert apart(fast(X), exact(fast, X)) < CLOSE
    assert apart(twin(X), exact(twin, X)) < CLOSE


def test_autocast_and_wrong_channels_are_torchs_matter():
    fast, conv = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fast(X), conv(X))
    with pytest.raises(RuntimeError, match="channels"):
        fast(X[:, :3])


def transformed(net, x, direction):
    """What torch.func, forward-mode derivatives and TorchScript make of a module."""
    parameters = dict(net.named_parameters())
    yield torch.vmap(net)(torch.stack([x, direction]))
    yield from torch.func.grad(lambda p: torch.func.functional_call(net, p, (x,)).sum())(parameters).values()
    yield torch.func.jvp(net, (x,), (direction,))[1]
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(net(forward_ad.make_dual(x, direction))).tangent
    yield tangent
    yield torch.jit.trace(net, x)(direction)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("accelerated", [True, False])
def test_transforms_of_torch(accelerated):
    fast, conv = pair()
    if accelerated:
        fast = AcceleratedConv(conv, Asked(keep_layout=True))
        fast.requires_grad_()
    for found, expected in zip(transformed(fast, X, X + 1), transformed(conv, X, X + 1), strict=True):
        assert apart(found, expected.double()) < 1e-6


def test_options_that_do_not_fit():
    with pytest.raises(KernelError, match="sloppy"):
        pair(accuracy="sloppy")
    with pytest.raises(KernelError, match="threads=-2"):
        pair(threads=-2)


def compiled(backend):
    torch._dynamo.reset()
    fast, conv = pair()
    net = nn.Sequential(fast, nn.ReLU())
    run = torch.compile(net, fullgraph=True, backend=backend)
    assert apart(run(X), exact(conv, X).relu()) < CLOSE
    run(X).sum().backward()
    wide = conv.double()
    wide(X.double()).relu().sum().backward()
    assert apart(fast.weight.grad, wide.weight.grad) < CLOSE
    with torch.no_grad():
        assert apart(run(X), wide(X.double()).relu()) < CLOSE
        fast.weight.mul_(2)  # a compiled layer sees it too
        wide.weight.mul_(2)
        assert apart(run(X), wide(X.double()).relu()) < CLOSE


def test_compiles_to_one_graph():
    compiled("aot_eager")


def test_padding_modes_compile_to_one_graph():
    torch._dynamo.reset()
    fast = FastConv2d(4, 8, 3, padding="same", padding_mode="circular")
    run = torch.compile(fast, fullgraph=True, backend="aot_eager")
    assert apart(run(X), exact(fast, X)) < CLOSE


def test_exports():
    fast, conv = pair()
    program = torch.export.export(nn.Sequential(fast), (X,))
    assert "secateur.conv2d" in program.graph_module.code
    assert apart(program.module()(X), exact(conv, X)) < CLOSE
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(nn.Sequential(fast), (X,), dynamic_shapes=({0: batch},))
    assert apart(program.module()(X[:1]), exact(conv, X[:1])) < CLOSE
