"""bridge.accelerate: an accelerated model is called as the original, or says why not; examples, hooks and files."""

import enum
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import secateur as sct
from bridge_cases import CLOSE, apart, exact, glance
from secateur.bridge import accelerate as verb
from secateur.errors import KernelError

__all__ = ["glance"]

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TWO = torch.tensor(2.0)


class Mode(enum.Enum):
    A = 1
    B = 2


@dataclass
class Out:
    y: torch.Tensor


class One(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.c = nn.Conv2d(3, 8, 3)


class Settings(One):
    def forward(self, x, mask=None, size=(1.0, 2.0), shift=TWO, *, mode=Mode.A):
        y = self.c(x) * size[0] + shift
        y = y if mask is None else y * mask
        return y if mode is Mode.A else -y


class ByMode(One):
    def forward(self, x, mode=Mode.A):
        return self.c(x) if mode is Mode.A else -self.c(x)


class InPlace(One):
    def forward(self, x):
        return self.c(x.sub_(0.5).div_(0.25))


class Noisy(One):
    def forward(self, x):
        return self.c(x + torch.randn_like(x))


class InDataclass(One):
    def forward(self, x):
        return Out(self.c(x))


def fast_one(model, example=X, **options):
    return sct.accelerate(model.eval(), example, **{"measure": False} | options)


OTHERS = ({"mask": torch.rand(1, 8, 6, 6)}, {"size": (3.0, 4.0)}, {"shift": torch.tensor(5.0)}, {"mode": Mode.B})


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
def test_arguments_left_at_their_default_are_said_and_refused_in_another_value(other):
    model = Settings()
    fast, (name,) = fast_one(model), other
    assert fast.report.replaced == 1
    assert f"traced with mask=None, size=(1.0, 2.0), shift=a tensor of shape (), mode={Mode.A!r}" in str(fast.report)
    assert apart(fast(x=X, mask=None, mode=Mode.A), model(X)) < CLOSE
    with pytest.raises(KernelError, match=f"the argument {name} was .* give it in the example"):
        fast(X, **other)


def test_what_the_example_gives_is_computed():
    model, mask = Settings(), torch.rand(1, 8, 6, 6)
    fast = fast_one(model, (X, mask))
    assert apart(fast(X, 2 * mask), model(X, 2 * mask)) < CLOSE
    with pytest.raises(KernelError, match="mask was a value of another kind"):
        fast(X)
    model = ByMode()
    fast = fast_one(model, (X, Mode.B))
    assert (fast.report.replaced, fast.report.notes[0][:11]) == (1, "traced with")
    assert apart(fast(X, Mode.B), model(X, Mode.B)) < CLOSE
    for other in ((X,), (X, Mode.A)):
        with pytest.raises(KernelError, match="mode was"):
            fast(*other)


def test_where_the_original_computes_it_takes_what_the_original_takes(monkeypatch):
    monkeypatch.setitem(verb.LARGEST_DIFFERENCE, "float32", -1.0)
    model = ByMode()
    fast = fast_one(model)
    assert fast.report.replaced == 0
    assert torch.equal(fast(X, mode=Mode.B), model(X, Mode.B))
    assert "traced with" not in str(fast.report)


def test_from_a_file_it_computes_the_same_and_models_can_be_packed_after(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    for fast in (fast_one(model), fast_one(Settings())):
        torch.save(fast, tmp_path / "fast.pt")
        loaded = (torch.load(tmp_path / "fast.pt", weights_only=False), pickle.loads(pickle.dumps(fast)))
        for twin in (*loaded, pickle.loads(pickle.dumps(loaded[0]))):
            assert torch.equal(twin(X), fast(X))
            assert str(twin.report) == str(fast.report)
    with pytest.raises(KernelError, match="mode was"):
        twin(X, mode=Mode.B)
    assert sct.pack(nn.Sequential(nn.Linear(8, 4), nn.ReLU()).eval(), torch.randn(2, 8)).graph is not None


@pytest.mark.parametrize("place", ["", "0"])
def test_hooks_on_a_model_or_a_block_are_called_on_tensors(place):
    model, seen = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Conv2d(8, 8, 3)), []
    model.get_submodule(place).register_forward_hook(lambda _module, _inputs, found: seen.append(type(found)))
    fast = fast_one(model)
    assert set(seen) == {torch.Tensor}
    seen.clear()
    assert apart(fast(X), exact(model, X)) < CLOSE
    assert len(seen) == 2, "once by each"
    assert fast.report.replaced == 2
    assert "hooks of" in fast.report.notes[0]


def test_outputs_in_a_dataclass():
    model = InDataclass()
    fast = fast_one(model)
    assert (fast.report.replaced, fast.report.notes) == (1, ())
    assert apart(fast(X).y, exact(model.c, X)) < CLOSE


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("measure", [True, False])
def test_the_example_stays_as_it_is_though_the_model_changes_it(monkeypatch, traced, measure):
    monkeypatch.setattr(verb, "traced", verb.traced if traced else lambda *_: "for a test")
    monkeypatch.setattr(verb, "MODEL_SECONDS", 0)
    model, x = InPlace(), X.clone()
    fast = fast_one(model, x, measure=measure)
    assert torch.equal(x, X)
    assert "please report" not in str(fast.report)
    assert measure or fast.report.replaced == 1
    assert ("not traced" in str(fast.report)) != traced
    other = X.clone()
    assert apart(fast(X.clone()), model(other)) < CLOSE


def test_a_model_that_draws_is_called_not_deterministic():
    report = fast_one(Noisy()).report
    assert report.replaced == 0
    assert "not deterministic" in report.notes[-1]
    assert "please report" not in str(report)


def test_what_fails_on_the_example_is_undone(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(verb.Accelerated, "forward", broken)
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    fast = fast_one(model)
    assert fast.report.replaced == 0
    assert "it failed on the example (ZeroDivisionError: planted), so nothing was replaced" in fast.report.notes[-1]
    assert torch.equal(fast.body(X), model(X))
