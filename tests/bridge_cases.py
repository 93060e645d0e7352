"""What the tests of the bridge share: float64 oracles, small networks, kernels chosen at a glance."""

import copy

import pytest
import torch
from torch import nn

from secateur.bridge import kept, trial
from secateur.bridge.gradient_choice import Verdict
from secateur.kernels import choice

CLOSE = 3e-5
"""max|y - y64| / max|y64| of a layer in class "default" on small random layers."""

PAYS = Verdict(2.0, 1.0, True, 0.5, "in a test")
"""A kernel is faster than torch for the gradient of an input."""


@pytest.fixture(autouse=True)
def glance(monkeypatch):
    """Where imported: kernels are chosen at a glance instead of a measurement, gradients of inputs are computed by
    kernels wherever these can, and nothing is compiled ahead: processes start slowly."""
    monkeypatch.setattr(choice, "MOST_ROUNDS", 1)
    monkeypatch.setattr(choice, "FAST_CANDIDATES", 1)
    monkeypatch.setattr(kept, "against_torch", lambda *_: PAYS)
    monkeypatch.setattr(trial, "compile_ahead", lambda *_, **__: 0)


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """max|found - expected| / max|expected|; infinite for NaN and for other shapes."""
    if found.shape != expected.shape:
        return float("inf")
    if found.numel() == 0:
        return 0.0
    worst = float((found.detach().double() - expected.detach()).abs().max())
    worst /= float(expected.detach().abs().max()) or 1.0
    return worst if worst == worst else float("inf")


def exact(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What torch computes in float64."""
    return copy.deepcopy(module).double()(x.double())


class Residual(nn.Module):
    """Two convolutions with batch norms around a shortcut, as in a ResNet; in place as torch's own models are."""

    def __init__(self, channels: int, wider: int = 1) -> None:
        super().__init__()
        width = channels * wider
        self.conv1 = nn.Conv2d(channels, width, 3, stride=wider, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        short = [nn.Conv2d(channels, width, 1, stride=wider, bias=False), nn.BatchNorm2d(width)]
        self.short = nn.Sequential(*short) if wider > 1 else nn.Identity()

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.short(x)
        return self.relu(y)


class SmallNet(nn.Module):
    """A stem, two residual blocks, a classifier that flattens with `view`, and an argument that is rarely given."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.LeakyReLU(0.1))
        self.blocks = nn.Sequential(Residual(16), Residual(16, 2))
        self.classify = nn.Linear(32 * 6 * 6, 5)

    def forward(self, x, mask=None):
        y = self.blocks(self.stem(x))
        y = y if mask is None else y * mask
        return self.classify(y.view(y.size(0), -1))


class Branching(nn.Module):
    """What no tracer follows: control flow by data."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.line = nn.Conv1d(8, 8, 3)

    def forward(self, x):
        y = self.conv(x)
        if y.sum() > 1e9:
            y = -y
        return self.line(y.view(y.size(0), 8, -1))


def settled(model: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation, with statistics and scales that a batch norm has after training."""
    draw = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor, low in ((module.running_mean, -1), (module.running_var, 0.5), (module.weight, 0.5)):
                tensor.data.uniform_(low, 1.5, generator=draw)
            module.bias.data.uniform_(-0.5, 0.5, generator=draw)
    return model.eval()
