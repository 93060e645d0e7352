"""Synthetic notes whose pitch is known: what a pitch network can be trained on and judged by without any recording."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATE, SAMPLES = 16_000, 1024
LOWEST_HZ, HIGHEST_HZ = 60.0, 1000.0
HARMONICS = 8
CENTS_PER_BIN, FIRST_BIN_CENTS = 20.0, 1997.3794084376191
"""Bin k is the pitch of 20 k + 1997.379 cents above 10 Hz (CREPE, section 2)."""
BLUR_CENTS = 25.0


def notes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(frames (count, 1024) of mean 0 and deviation 1, cents above 10 Hz (count,)): harmonics of random strength and
    phase that fall off, and noise 10 to 40 dB below."""
    generator = torch.Generator().manual_seed(seed)
    span = math.log(HIGHEST_HZ / LOWEST_HZ)
    pitch = LOWEST_HZ * torch.exp(span * torch.rand(count, 1, generator=generator))
    time = torch.arange(SAMPLES) / RATE
    wave = torch.zeros(count, SAMPLES)
    for k in range(1, HARMONICS + 1):
        strength = torch.rand(count, 1, generator=generator) / k if k > 1 else torch.ones(count, 1)
        phase = 2 * math.pi * torch.rand(count, 1, generator=generator)
        audible = k * pitch < RATE / 2
        wave += audible * strength * torch.sin(2 * math.pi * k * pitch * time + phase)
    level = 10 ** (-(10 + 30 * torch.rand(count, 1, generator=generator)) / 20)
    wave += level * wave.std(1, keepdim=True) * torch.randn(count, SAMPLES, generator=generator)
    wave = (wave - wave.mean(1, keepdim=True)) / wave.std(1, keepdim=True)
    return wave, (1200 * torch.log2(pitch / 10)).squeeze(1)


def bins(cents: Tensor, count: int = 360) -> Tensor:
    """The target of CREPE's equation 2: (n, count), a bump of 25 cents deviation around the pitch."""
    centres = FIRST_BIN_CENTS + CENTS_PER_BIN * torch.arange(count)
    return torch.exp(-((centres - cents[:, None]) ** 2) / (2 * BLUR_CENTS**2))


def within_50_cents(output: Tensor, cents: Tensor) -> float:
    """Fraction of notes whose pitch, the mean of nine bins around the largest weighted by the output, is that close."""
    peak = output.argmax(1, keepdim=True)
    around = (peak + torch.arange(-4, 5)).clamp(0, output.shape[1] - 1)
    weights = output.gather(1, around)
    found = ((FIRST_BIN_CENTS + CENTS_PER_BIN * around) * weights).sum(1) / weights.sum(1)
    return float(((found - cents).abs() <= 50).float().mean())
