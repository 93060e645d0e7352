"""PQuantML's method: parameter-free differentiable pruning, and fixed-point weights whose bits are learned (HGQ).

Source: "PQuantML: a tool for end-to-end hardware-aware model compression", arXiv 2603.26595; Cho, Adya, Naik, "PDP:
parameter-free differentiable pruning is all you need", arXiv 2305.11203; Sun et al., "HGQ: high granularity
quantization", arXiv 2405.00645. With T halfway between the smallest weight that should stay and the largest that should
go, i and f the integer and fractional bits, learned by the gradient of the expressions and straight-through rounding:

    m = sigma((w^2 - T^2) / temperature)           x = m w
    w_hat = floor(2^f clip(x, -(2^i - 2^-f), 2^i - 2^-f) + 1/2) / 2^f

The loss gains beta times the bits of all weights that are not zero (their cost in bit operations, each used once on an
input of one bit, since bytes are what is limited here) and gamma times i + f. Bits are one number a tensor; theirs may
be one a weight, which a file would have to store.

Done otherwise: T is one for the network, such that the file follows the limit, where theirs leads to a sparsity set by
hand and shared out among the tensors by magnitude once; i begins where the weights fit; ranges are symmetric. After the
pruning phase a mask meets the limit exactly, and i and f are fixed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import secateur as sct
from byte_rival import ByteRival
from coded import Coded, most_that_fit

EVERY = 100
"""Steps between two choices of T."""


def floored(x: Tensor) -> Tensor:
    """To the nearest integer, halves up; straight-through."""
    return x + ((x + 0.5).floor() - x).detach()


class FixedPointWeight(nn.Module):
    """One weight. widths: bits with the sign, from narrowest to widest."""

    mask: Tensor
    fixed: Tensor
    threshold: Tensor

    def __init__(self, w: Tensor, widths: tuple[int, ...], temperature: float) -> None:
        super().__init__()
        self.temperature, self.widths = temperature, widths
        integer = math.ceil(math.log2(float(w.detach().abs().max())))
        self.i, self.f = (nn.Parameter(torch.tensor(float(n))) for n in (integer, widths[-1] - 1 - integer))
        self.register_buffer("mask", torch.ones_like(w))
        self.register_buffer("fixed", torch.tensor(False))
        self.register_buffer("threshold", torch.zeros(()))

    def places(self) -> tuple[Tensor, Tensor]:
        """i and f as integers, differentiable until fixed."""
        i, f = floored(self.i), floored(self.f)
        return (i.detach(), f.detach()) if self.fixed else (i, f)

    def soft_mask(self, w: Tensor) -> Tensor:
        """m, or once fixed the mask."""
        return self.mask if self.fixed else torch.sigmoid((w.square() - self.threshold.square()) / self.temperature)

    def forward(self, w: Tensor) -> Tensor:
        """Same shape."""
        i, f = self.places()
        unit = 2**f
        end = 2**i - 1 / unit
        x = torch.minimum(torch.maximum(self.soft_mask(w) * w, -end), end)
        return floored(x * unit) / unit

    def bits(self) -> Tensor:
        """With the sign, differentiable."""
        i, f = self.places()
        return 1 + i + f

    @torch.no_grad()
    def clamp_(self) -> None:
        """Within the widths that a file may have."""
        self.f.clamp_(self.widths[0] - 1 - self.i.round(), self.widths[-1] - 1 - self.i.round())

    @torch.no_grad()
    def coded(self, w: Tensor) -> Coded:
        """Multiples of 2^-f; what pruning or rounding makes zero is zero."""
        i, f = self.places()
        keep = self.mask if self.fixed else self.soft_mask(w) >= 0.5
        end = 2 ** (i + f) - 1
        return Coded((w * keep * 2**f + 0.5).floor().clamp(-end, end), float(2**-f), int(self.bits()))

    @torch.no_grad()
    def rank(self, w: Tensor) -> Tensor:
        """Magnitudes are compared over the whole network."""
        return w.abs()

    @torch.no_grad()
    def fix(self, w: Tensor) -> None:  # noqa: ARG002 - the interface
        """i and f stay; which weights do is left to the cut, which takes them by magnitude as T does."""
        self.fixed.fill_(True)


@dataclass(frozen=True)
class Options:
    """As above; rate: that of i and f."""

    temperature: float = 1e-5
    beta: float = 1e-5
    gamma: float = 3e-4
    rate: float = 1e-3


class FixedPoint(ByteRival):
    """bits: widths as in `Quantize`; the rest: Options."""

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        density: float,  # noqa: ARG002 - the interface
        steps: int,
        *,
        packed_bytes: int,
        bits: int | list[int],
        **options: float,
    ) -> None:
        chosen, widths = Options(**options), tuple(sct.Quantize(bits).bits)
        self.beta, self.gamma, self.rate = chosen.beta, chosen.gamma, chosen.rate
        super().__init__(model, example, steps, packed_bytes, lambda w: FixedPointWeight(w, widths, chosen.temperature))

    def groups(self) -> list[dict[str, Any]]:
        own = [p for weight in self.weights.values() for p in (weight.i, weight.f)]
        return self.groups_of("widths", own, self.rate)

    def penalty(self) -> Tensor:
        total = torch.zeros(())
        for name, weight in self.weights.items():
            kept = float((weight.soft_mask(self.original(name)) >= 0.5).sum())
            i, f = weight.places()
            total = total + self.beta * kept * weight.bits() + self.gamma * (i + f)
        return total

    @torch.no_grad()
    def press(self) -> None:
        for weight in self.weights.values():
            weight.clamp_()
        if self.taken % EVERY:
            return
        sizes = torch.cat([self.original(name).abs().flatten() for name in self.weights]).sort(descending=True).values

        def estimate(keep: int) -> int:
            self._threshold(sizes, keep)
            return math.ceil(self.scale * self.bound(self.coded()))

        self._threshold(sizes, most_that_fit(estimate, len(sizes), math.ceil(self.reference())))

    def _threshold(self, sizes: Tensor, keep: int) -> None:
        """Halfway between the smallest that stays and the largest that goes."""
        between = float(sizes[max(0, keep - 1)] + sizes[keep]) / 2 if keep < len(sizes) else 0.0
        for weight in self.weights.values():
            weight.threshold.fill_(between)
