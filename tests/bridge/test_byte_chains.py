"""bridge.byte_chains: layers hand codes to one another, bit for bit as defined; which do not, and why."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import fx, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

import secateur as sct
from balanced_matrices import random_balanced
from bridge_cases import apart, glance
from secateur.bridge import deciding, graph_sites
from secateur.bridge.byte_chains import join
from secateur.bridge.map_bytes import Codes, Numbers
from secateur.bridge.pooled_codes import PooledCodes
from secateur.bridge.timing import Comparison
from secateur.errors import KernelError
from secateur.kernels.acceleration import LayerReport
from secateur.kernels.balanced_choice import BYTE_ERROR, BYTES, _packable
from secateur.kernels.byte_maps import ByteMap
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import linear
from secateur.nn.fx_graph import watched
from secateur.nn.map_quantize import FrozenMap

__all__ = ["glance"]

SIGNED, UNSIGNED = 0.03125, 0.015625
"""Scales of maps."""
CLOSE_IN_BYTES = 2e-2
"""max|y - y'| / max|y'| of networks with weights that 8 bits hold; sums near a half may be rounded the other way."""


@pytest.fixture(autouse=True)
def floats_by_torch(monkeypatch):
    """Without bytes a layer is PyTorch's: what kernels do with numbers is known elsewhere."""
    monkeypatch.setattr(deciding, "_with_floats", lambda site, *_: (LayerReport(site.name, "", reason="-"), None))


def on_grid(rows, columns, seed):
    """4 of 16, as multiples of a row's largest over 127, which 8 bits hold exactly."""
    found = random_balanced(rows, columns, 4, seed)
    scale = np.abs(found).max(axis=1, keepdims=True) / np.float32(127)
    return torch.from_numpy(np.rint(found / scale) * scale)


def dense(inputs, outputs, seed=0):
    torch.manual_seed(seed)
    layer = nn.Linear(inputs, outputs)
    layer.weight.data = on_grid(outputs, inputs, seed)
    return layer


def conv(inputs, outputs, taps=3, **options):
    torch.manual_seed(inputs)
    layer = nn.Conv2d(inputs, outputs, taps, padding=taps // 2, **options)
    rows = on_grid(outputs * taps * taps, inputs, outputs)
    layer.weight.data = rows.view(outputs, taps, taps, inputs).permute(0, 3, 1, 2).contiguous()
    return layer


def signed():
    return FrozenMap(SIGNED, 8, True)


def unsigned():
    return FrozenMap(UNSIGNED, 8, False)


def accelerated(model, *inputs):
    return sct.accelerate(model.eval(), inputs, accuracy="int8", measure=False)


def dtypes(fast, *inputs):
    """Of what every call gives, in their order, but for the output's layout."""
    seen = watched(fast.body, inputs, lambda value: value.dtype)
    others = ("placeholder", "output")
    return [found for node, found in seen.items() if node.op not in others and node.target != "contiguous"]


def test_a_pair_bit_for_bit():
    first, second, x = dense(48, 40), dense(40, 24, 1), torch.randn(5, 48)
    fast = accelerated(nn.Sequential(signed(), first, nn.ReLU(), unsigned(), second), x)
    assert dtypes(fast, x) == [torch.int8, torch.uint8, torch.float32]
    assert [row.maps for row in fast.report.layers] == [
        "bytes in, bytes out",
        "bytes in, float32 out (no quantizer alone reads its output)",
    ]
    taken, between = ByteMap(SIGNED, signed=True), ByteMap(UNSIGNED)
    weights = [_packable(layer.weight.detach().numpy(), 4, BYTES) for layer in (first, second)]
    biases = [layer.bias.detach().numpy() for layer in (first, second)]
    sums = linear(taken.codes(x.numpy()), weights[0], scale=taken.scale)
    codes = between.codes(Epilogue("relu")(sums, biases[0], None))
    wanted = linear(codes, weights[1], biases[1], scale=between.scale)
    np.testing.assert_array_equal(fast(x).detach().numpy(), wanted)


class Block(nn.Module):
    """Two convolutions around a shortcut, each sum rounded, then a pooling and a classifier."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = conv(32, 48), conv(48, 48), conv(48, 48, 1, stride=1), dense(48 * 9, 10)
        self.maps = nn.ModuleList([unsigned(), signed(), unsigned(), unsigned()])
        for layer in (self.b, self.c):
            layer.weight.data *= 0.25

    def forward(self, x):
        y = self.maps[0](torch.relu(self.a(x)))
        z = self.maps[1](self.b(y))
        z += y
        z = self.maps[2](torch.relu(z))
        z = torch.max_pool2d(self.maps[3](torch.relu(self.c(z))), 2)
        return self.fc(z.flatten(1))


def test_a_network_moves_bytes_alone():
    model, x = Block(), torch.randn(2, 32, 6, 6)
    fast = accelerated(model, x)
    kinds = dtypes(fast, x)
    assert kinds == [torch.uint8] * 5 + [torch.float32], "three convolutions, pooling, flattening, the last layer"
    assert not [one for one in fast.body.modules() if isinstance(one, Codes | Numbers | FrozenMap)]
    rows = {row.name: row for row in fast.report.layers}
    assert rows["a"].maps == "float32 in (no quantizer is before it), bytes out"
    assert rows["b"].maps == rows["c"].maps == "bytes in, bytes out"
    assert rows["b"].fused == ("residual, rounded with the sum alone", "relu")
    assert all(row.error is not None and row.error < BYTE_ERROR for row in rows.values())
    assert apart(fast(x), model(x)) < CLOSE_IN_BYTES


def test_a_wrong_scale_is_seen(monkeypatch):
    def wrong(module):
        join(module)
        layer = module.get_submodule("c")
        takes = replace(layer.plan.maps.takes, scale=1.5 * layer.plan.maps.takes.scale)
        layer.plan = replace(layer.plan, maps=replace(layer.plan.maps, takes=takes))
        layer.layer = layer.plan.text()

    monkeypatch.setattr(graph_sites, "join", wrong)
    model, x = Block(), torch.randn(2, 32, 6, 6)
    report = accelerated(model, x).report
    assert (report.replaced, report.notes[-1][:14]) == (0, "outputs differ")


def test_other_sizes_dtypes_and_compiled():
    model, x = Block(), torch.randn(2, 32, 6, 6)
    fast = accelerated(model, x)
    with torch.no_grad():
        other = torch.randn(3, 32, 7, 6)
        assert apart(fast(other), model(other)) < CLOSE_IN_BYTES, "PyTorch computes another size, on the same maps"
        assert apart(copy.deepcopy(fast).double()(x.double()), model(x)) < CLOSE_IN_BYTES
        torch._dynamo.reset()
        compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(x), fast(x))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert apart(fast(x).float(), model(x).float()) < 5e-2


def derivatives(fast):
    """By name a call that asks for one."""

    def loss(x):
        return fast(x).square().sum()

    def forward_mode(x):
        with forward_ad.dual_level():
            return fast(forward_ad.make_dual(x, x))

    return {
        "backward": lambda x: loss(x.clone().requires_grad_()).backward(),
        "grad": lambda x: torch.func.grad(loss)(x),
        "jvp": lambda x: torch.func.jvp(fast, (x,), (x,)),
        "vmap of grad": lambda x: torch.func.vmap(torch.func.grad(loss))(x[None]),
        "grad of vmap": lambda x: torch.func.grad(lambda t: torch.func.vmap(loss)(t).sum())(x[None]),
        "hessian": lambda x: torch.func.hessian(loss)(x[:1]),
        "forward mode": forward_mode,
        "jvp under no_grad": lambda x: torch.no_grad()(torch.func.jvp)(fast, (x,), (x,)),
    }


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # by torch's forward mode
@pytest.mark.parametrize("kind", derivatives(None))
@pytest.mark.parametrize("outside", ["codes", "a layer"])
def test_derivatives_are_refused(kind, outside):
    """Whether torch makes the first codes, or the first layer does."""
    x = torch.randn(2, 32, 6, 6)
    fast = accelerated(
        nn.Sequential(signed(), conv(32, 48), unsigned(), conv(48, 16)) if outside == "codes" else Block(), x
    )
    with pytest.raises(KernelError, match="bytes to one another, which have no derivative: call it under"):
        derivatives(fast)[kind](x)


def test_calls_that_ask_for_no_derivative_go_on():
    model, x = Block(), torch.randn(2, 32, 6, 6)
    fast, given = accelerated(model, x), x.clone().requires_grad_()
    with torch.no_grad():
        assert apart(fast(given), model(x)) < CLOSE_IN_BYTES
    assert apart(fast(given.detach()), model(x)) < CLOSE_IN_BYTES
    assert apart(torch.func.vmap(fast)(x[None])[0], model(x)) < CLOSE_IN_BYTES
    assert not fast(x).requires_grad, "nor do layers that are left to torch"
    torch.func.grad(lambda weight: (weight * fast(x)).sum())(torch.ones(()))
    torch.func.grad(lambda t: (t.sum() * fast(t.detach())).sum())(x)


@pytest.mark.parametrize(("read_as", "joined"), [(ByteMap(0.5, True), True), (ByteMap(0.25, True), False)])
def test_codes_are_read_as_they_are_on_their_own_map_alone(read_as, joined):
    module = fx.GraphModule(nn.Module(), fx.Graph())
    module.add_module("numbers", Numbers(ByteMap(0.5, True)))
    module.add_module("codes", Codes(read_as))
    codes = module.graph.placeholder("codes_in")
    module.graph.output(module.graph.call_module("codes", (module.graph.call_module("numbers", (codes,)),)))
    join(module)
    module.recompile()
    x = torch.arange(-9, 9, dtype=torch.int8)
    assert torch.equal(module(x), x if joined else 2 * x)
    assert (len(module.graph.nodes) == 2) == joined


def test_several_readers():
    """One on bytes, one that is PyTorch's, and the caller."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.map = dense(48, 32), dense(32, 16, 1), unsigned()

        def forward(self, x):
            y = self.map(torch.relu(self.a(x)))
            return self.b(y), torch.sigmoid(y), y

    model, x = Shared(), torch.randn(5, 48)
    fast = accelerated(model, x)
    assert sum(isinstance(one, Numbers) for one in fast.body.modules()) == 1
    assert [row.maps.split()[0] for row in fast.report.layers] == ["float32", "bytes"]
    assert all(apart(one, wanted) < CLOSE_IN_BYTES for one, wanted in zip(fast(x), model(x), strict=True))


def changed(m, x):
    y = m.maps[0](torch.relu(m.first(x)))
    y.add_(1.0)
    return m.second(y)


def plain(m, x):
    return m.second(m.maps[0](torch.relu(m.first(x))))


class Two(nn.Module):
    """Two layers and a map between them."""

    def __init__(self, quantizer, body=plain):
        super().__init__()
        self.first, self.second, self.maps, self.body = (
            dense(48, 48),
            dense(48, 20, 1),
            nn.ModuleList([quantizer]),
            body,
        )

    def forward(self, x):
        return self.body(self, x)


REASONS = {
    "at run time": (lambda: Two(FrozenMap(UNSIGNED, 8, False, "row")), "the scale is found at run time"),
    "4 bits": (lambda: Two(FrozenMap(UNSIGNED, 4, False)), "the map has 4 bits"),
    "no quantizer": (lambda: Two(nn.Identity()), "no quantizer is before it"),
    "changed in place": (lambda: Two(unsigned(), changed), "no quantizer is before it"),
}


@pytest.mark.parametrize("word", REASONS)
def test_why_not(word):
    make, reason = REASONS[word]
    model, x = make(), torch.randn(5, 48)
    fast = accelerated(model, x)
    assert reason in fast.report.layers[1].maps
    assert fast.report.layers[1].maps.startswith("float32")
    assert reason in str(fast.report)
    assert apart(fast(x), model(x)) == 0, "nothing was replaced"


def test_layers_without_kernels_on_bytes():
    layers = [nn.Conv2d(16, 16, 3), conv(16, 16, padding_mode="reflect"), nn.Conv2d(16, 16, 1, groups=2)]
    for layer in layers:
        fast = accelerated(nn.Sequential(signed(), layer), torch.randn(1, 16, 5, 5))
        assert fast.report.layers[0].maps == "float32: it has no kernel in 8 bits"


@pytest.mark.parametrize("faster", [True, False])
def test_only_where_it_is_faster(monkeypatch, faster):
    monkeypatch.setattr(deciding, "compare", lambda *_, **__: Comparison(2.0, 1.0, faster))
    monkeypatch.setattr("secateur.bridge.accelerate.compare", lambda *_, **__: Comparison(2.0, 1.0, True))
    model, x = Two(unsigned()), torch.randn(5, 48)
    fast = sct.accelerate(model.eval(), x, accuracy="int8")
    row = fast.report.layers[1]
    assert (row.algorithm, row.gain) == (("balanced 4:16 int8", 2.0) if faster else (None, None))
    assert faster or row.maps == "float32: balanced 4:16 int8 on bytes is not faster by more than noise"


def test_too_much_error(monkeypatch):
    monkeypatch.setattr(deciding, "BYTE_ERROR", 1e-9)
    model, x = Two(unsigned()), torch.randn(5, 48)
    fast = accelerated(model, x)
    assert "on bytes it has an error of " in fast.report.layers[1].maps
    assert apart(fast(x), model(x)) == 0


def test_in_other_classes_of_accuracy_nothing_is_said():
    fast = sct.accelerate(Two(unsigned()).eval(), torch.randn(5, 48), measure=False)
    assert [row.maps for row in fast.report.layers] == ["", ""]


def test_weights_that_leave_the_pattern_are_pytorchs():
    model, x = Two(unsigned()), torch.randn(5, 48)
    fast = accelerated(model, x)
    with torch.no_grad():
        layer = fast.body.get_submodule("second")
        layer.wide_weight.copy_(torch.randn(20, 48, 1, 1) * 0.1)
        model.second.weight.copy_(layer.weight)
    assert apart(fast(x), model(x)) < CLOSE_IN_BYTES


def test_prepared_and_restored_models():
    """The quantizers stand in a forward that was put on the object."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    batches = [torch.randn(5, 48) for _ in range(3)]
    eight = sct.Quantize(bits=8)
    plan = sct.plan(model, batches[0], prune=sct.Prune("balanced", n=4, m=16), quantize=eight, maps=eight)
    sct.prepare_(model, plan)
    sct.calibrate_(model, batches)
    sct.harden_(model)
    restored = sct.restore_(
        nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval(),
        sct.pack(model, batches[0]),
    )
    for one in (model, restored):
        fast = accelerated(one, batches[0])
        assert dtypes(fast, batches[0]) == [torch.int8, torch.uint8, torch.uint8, torch.float32]
        assert apart(fast(batches[0]), one(batches[0])) < BYTE_ERROR


@pytest.mark.parametrize("side", [12, 16, 64])
def test_pooling_by_maxima_of_codes_of_many_pixels(side):
    """Torch's own refuses codes of more than 127 pixels in channels_last."""
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(64, 10, 1)).eval()
    x, eight = torch.randn(1, 3, side, side), sct.Quantize(bits=8)
    sct.prepare_(model, sct.plan(model, x, quantize=eight, maps=eight))
    sct.calibrate_(model, [x])
    sct.harden_(model)
    fast = accelerated(model, x)
    given = dtypes(fast, x)
    assert torch.uint8 in given, "a pool of codes"
    assert sum(isinstance(one, PooledCodes) for one in fast.body.modules()) == 1
    for size in (x, torch.randn(2, 3, side + 3, 21)):
        assert apart(fast(size), model(size)) < BYTE_ERROR


def by_name(m, x):
    y = F.max_pool2d(input=m.maps[0](torch.relu(m.first(x))), kernel_size=2)
    return m.second(torch.flatten(input=y, start_dim=1))


def test_arguments_by_name():
    model, x = Two(unsigned(), by_name), torch.randn(1, 48, 12, 16)
    model.first, model.second = conv(48, 48, 1), dense(48 * 6 * 8, 20, 1)
    fast = accelerated(model, x)
    assert dtypes(fast, x)[-2:] == [torch.uint8, torch.float32]
    assert apart(fast(x), model(x)) < CLOSE_IN_BYTES
