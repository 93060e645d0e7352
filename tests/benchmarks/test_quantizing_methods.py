"""The methods that prune and quantize: formulas of rivals against literal twins, and for all of them that a run keeps
its limit, goes on exactly after an interruption, and is judged by what it stored."""

import copy
import math

import pytest
import torch
from torch import nn

import pruning_run
import secateur as sct
from byte_rival import ByteRival
from coded import Coded, Files, most_that_fit
from codeq import DeadZoneWeight
from fixed_point import FixedPointWeight
from image_data import Images, Split, crop_and_flip
from methods import METHODS, QUANTIZING
from prepared import EXAMPLE, small_net
from pruning_result import quantized_sizes
from pruning_run import Run, train
from secateur.ir.formats import Quantized
from secateur.nn.transform import transforms_of

LIMIT = 350


def weights(n=200):
    return torch.randn(n, generator=torch.Generator().manual_seed(3)) * 0.1


def dead_zone(w, largest, u, bits):
    """The published expressions, one weight at a time."""
    half = largest * (1 - abs(math.tanh(u)))
    top = 2 ** (bits - 1) - 1
    step = (largest - half) / (top - 0.5) + 1e-8
    shift = half - step / 2
    found = []
    for x in w.double().tolist():
        q = round(math.copysign(max(0.0, abs(x) - shift), x) / step)
        q = max(-top, min(top, q))
        found.append(step * q + shift * ((q > 0) - (q < 0)))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize(("u", "v", "bits"), [(3.0, 3.0, 8), (0.5, 0.4, 4), (0.2, 0.0, 2), (-0.5, 0.4, 4)])
def test_codeq_is_its_published_quantizer(u, v, bits):
    w = weights()
    stage = DeadZoneWeight(w, (2, 3, 4, 5, 6, 7, 8), 0.99)
    stage.u.data.fill_(u)
    stage.v.data.fill_(v)
    assert int(stage.width()) == bits
    largest = float(w.abs().sort().values[math.ceil(0.99 * len(w)) - 1])
    expected = dead_zone(w, largest, u, bits)
    assert torch.allclose(stage(w).double(), expected, atol=1e-6)
    half = largest * (1 - abs(math.tanh(u)))
    assert torch.equal(stage(w) == 0, w.abs() < half), "all of the dead zone and nothing else is zero"


def test_codeq_learns_straight_through_and_its_stored_codes_are_its_values():
    w = weights().requires_grad_()
    stage = DeadZoneWeight(w, (2, 8), 0.99)
    stage.u.data.fill_(0.5)
    stage(w).sum().backward()
    assert torch.allclose(w.grad, torch.ones_like(w), atol=1e-5)
    assert stage.u.grad is not None
    assert float(stage.v.grad) != 0
    coded, (_, step, shift) = stage.coded(w), stage.grid(w)
    assert torch.allclose(coded.codes * step + coded.codes.sign() * shift, stage(w), atol=1e-6)
    stage.fix(w)
    stage.mask[:150] = 0
    assert torch.count_nonzero(stage.coded(w).codes[:150]) == torch.count_nonzero(stage(w)[:150]) == 0


@pytest.mark.parametrize(("i", "f"), [(0.0, 7.0), (-2.0, 4.0), (1.0, 3.0)])
def test_fixed_point_is_its_published_quantizer(i, f):
    w = 3 * weights()
    stage = FixedPointWeight(w, (2, 8), 1e-5)
    stage.i.data.fill_(i)
    stage.f.data.fill_(f)
    stage.threshold.fill_(0.1)
    end = 2**i - 2**-f
    soft = 1 / (1 + torch.exp(-(w.double() ** 2 - 0.1**2) / 1e-5))
    expected = torch.floor((soft * w).clamp(-end, end) * 2**f + 0.5) / 2**f
    assert torch.allclose(stage(w).double(), expected)
    sure = (w.square() - 0.01).abs() > 1e-3
    coded = stage.coded(w)
    assert torch.equal((coded.codes * coded.scale)[sure], stage(w)[sure])
    assert int(coded.codes.abs().max()) <= 2 ** (coded.bits - 1) - 1


def test_fixed_point_learns_its_bits_by_the_published_gradients():
    w = torch.tensor([0.2, 0.3, 5.0])
    stage = FixedPointWeight(w, (2, 8), 1e-5)
    stage.i.data.fill_(1.0)
    stage.f.data.fill_(3.0)
    values = stage(w)
    for position in (0, 1):
        (grad,) = torch.autograd.grad(values[position], stage.f, retain_graph=True)
        assert float(grad) == pytest.approx(math.log(2) * float(w[position] - values[position].detach()), abs=1e-6)
    (grad,) = torch.autograd.grad(values[2], stage.i, retain_graph=True)
    assert float(grad) == pytest.approx(math.log(2) * 2, abs=1e-6), "of the end of the range"
    stage.f.data.fill_(9.0)
    stage.clamp_()
    assert int(stage.bits()) == 8


def test_files_hold_exactly_the_codes_and_the_limit_is_used_up():
    model = small_net()
    files = Files(model, EXAMPLE)
    generator = torch.Generator().manual_seed(5)
    coded = {
        name: Coded(torch.randint(-3, 4, m.weight.shape, generator=generator).float(), 0.037, 3)
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear | nn.Conv2d)
    }
    with torch.no_grad():
        model[0].bias.add_(0.25)
    artifact = files.artifact(model, coded)
    twin = sct.restore_(small_net(), artifact)
    reference = copy.deepcopy(model)
    for name, one in coded.items():
        scale = torch.tensor(one.scale).half().float()
        reference.get_submodule(name).weight.data.copy_(one.codes * scale)
    assert torch.allclose(twin(EXAMPLE), reference(EXAMPLE), atol=5e-3), "but for biases in eight bits"
    assert all(isinstance(t, Quantized) for name, t in artifact.tensors.items() if name.endswith("weight"))
    size = files.size(files.update(model), coded)
    assert abs(size - len(artifact.to_bytes())) < 60, "units are sorted in the file alone"
    assert most_that_fit(lambda keep: 2 * keep, 1000, 500) == pytest.approx(250, abs=5)
    assert most_that_fit(lambda keep: keep, 100, 500) == 100
    assert most_that_fit(lambda _: 501, 100, 500) == 0


def tiny():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(256, 1, 8, 8, generator=generator)
    split = Split(images, (images.mean((1, 2, 3)) > 0).long() + (images[:, 0, 0, 0] > 1).long())
    return Images(split, split, split, crop_and_flip)


def run_of(method):
    return Run(method, "small", 1.0, False, 0, 4, 2, "float32", 1e-3, {"packed_bytes": LIMIT, "bits": [2, 3]})


@pytest.mark.filterwarnings("ignore::secateur.errors.SecateurWarning")
@pytest.mark.parametrize("method", ["self_pruning", *QUANTIZING])
def test_runs_keep_their_limit_and_go_on_exactly(method, tmp_path, monkeypatch):
    monkeypatch.setattr("byte_rival.MEASURED", 2)
    run, data = run_of(method), tiny()
    whole, broken = small_net(), small_net()
    seen = train(run, whole, data, tmp_path)
    file = tmp_path / f"{run.name}.secat"
    stored = file.read_bytes()
    measured = quantized_sizes(copy.deepcopy(whole), data, file, seen["beside_file"])
    assert measured["file_bytes"] <= LIMIT
    assert set(measured["bits"].values()) <= {2, 3, 8}
    if seen["beside_file"] is None:
        restored = sct.restore_(small_net(), sct.Artifact.load(file))
        for name, weight in whole.state_dict().items():
            if weight.dim() > 1:
                tensor = sct.Artifact.load(file).tensors[name]
                assert torch.count_nonzero(weight) >= tensor.nonzeros > 0
        assert (restored(data.test.images) - whole(data.test.images)).abs().max() < 0.1

    calls = []
    real = pruning_run.save_whole

    def save_then_stop(path, state):
        real(path, state)
        calls.append(path)
        if len(calls) in (2, 5):
            raise KeyboardInterrupt

    monkeypatch.setattr(pruning_run, "save_whole", save_then_stop)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(run, small_net(), data, elsewhere)
    train(run, broken, data, elsewhere)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))
    assert (elsewhere / file.name).read_bytes() == stored


@pytest.mark.filterwarnings("ignore::secateur.errors.SecateurWarning")
def test_orders_finish_one_before_the_other_begins():
    for name in ("prune_then_quantize", "quantize_then_prune"):
        model = small_net()
        method = METHODS[name](model, EXAMPLE, 1.0, 20, packed_bytes=LIMIT, bits=[2, 3, 4])
        optimizer = torch.optim.Adam(method.groups(), lr=1e-3)
        states = []
        for _ in range(20):
            loss = nn.functional.cross_entropy(model(EXAMPLE), torch.tensor([0, 1])) + method.penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.step()
            site = transforms_of(model)[1]
            masked = None if site.transform.prune.mask is None else float(site.transform.prune.mask.float().mean())
            states.append((masked, site.transform.quantize.is_on, site.transform.quantize.is_hard))
        if name == "prune_then_quantize":
            assert all(state == (None, False, False) for state in states[:9]), "quantization waits"
            share = states[10][0]
            assert 0 < share < 1
            assert all(state == (share, True, False) for state in states[10:]), "masks stay"
        else:
            assert all(state == (1.0, True, False) for state in states[:9]), "pruning waits"
            assert all(state == (None, True, True) for state in states[9:]), "widths stay"
        method.harden()
        assert all(site.transform.is_hard for site in transforms_of(model))
        assert len(method.packed(EXAMPLE[:1]).to_bytes()) <= LIMIT


def test_a_limit_that_no_file_holds_cuts_everything():
    model = small_net()
    method = METHODS["codeq"](model, EXAMPLE, 1.0, 10, packed_bytes=10, bits=[2, 3])
    assert isinstance(method, ByteRival)
    method.harden()
    assert all(int(weight.mask.sum()) == 0 for weight in method.weights.values())
