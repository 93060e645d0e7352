"""bridge.gradient_choice: when a kernel computes the gradient of an input; measured once, kept, forgotten on demand."""

import pytest
import torch

from bridge_cases import CLOSE, apart, exact
from secateur.bridge import gradient_choice, kept
from secateur.bridge.fast_conv2d import FastConv2d
from secateur.bridge.gradient_choice import Verdict, against_torch
from secateur.bridge.timing import Comparison
from secateur.kernels.choice import forget_choices

X = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))


def used(monkeypatch, faster, *, packing=True):
    """Whether a layer's backward takes a kernel, with this outcome of the measurement."""
    forget_choices()
    monkeypatch.setattr(kept, "against_torch", against_torch)
    monkeypatch.setattr(gradient_choice, "compare", lambda *_, **__: Comparison(1e6, 5.0, faster))
    torch.manual_seed(0)
    layer, x = FastConv2d(4, 8, 3, padding=1).requires_grad_(packing), X.clone().requires_grad_()
    layer(x).sum().backward()
    wide = X.double().requires_grad_()
    exact(layer, wide).sum().backward()
    assert apart(x.grad, wide.grad) < CLOSE
    told = layer.explain().split("gradient of the input: ")[1]
    assert ("left to PyTorch" in told) != ("chosen by" in told)
    assert "UTC" in told
    return "chosen by" in told


@pytest.mark.parametrize("faster", [True, False])
def test_what_is_measured_decides(monkeypatch, faster):
    assert used(monkeypatch, faster) == faster


def test_packing_counts_where_weights_change():
    verdict = Verdict(10.0, 5.0, True, 6.0, "now")
    assert verdict.pays(packing=False)
    assert not verdict.pays(packing=True)
    assert not Verdict(10.0, 5.0, False, 0.0, "now").pays(packing=False)


def test_it_is_measured_once_until_it_is_forgotten(monkeypatch):
    assert used(monkeypatch, True, packing=False)
    monkeypatch.setattr(gradient_choice, "_measured", lambda *_: pytest.fail("measured again"))
    layer = FastConv2d(4, 8, 3, padding=1)
    layer(X.clone().requires_grad_()).sum().backward()
    assert forget_choices() >= 2
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        FastConv2d(4, 8, 3, padding=1)(X.clone().requires_grad_()).sum().backward()


def test_a_measured_run_from_start_to_end(monkeypatch):
    monkeypatch.setattr(gradient_choice, "SECONDS", 0)
    monkeypatch.setattr(kept, "against_torch", against_torch)
    forget_choices()
    layer = FastConv2d(4, 8, 3, padding=1)
    layer(X.clone().requires_grad_()).sum().backward()
    assert "gradient of the input" in layer.explain()
