"""CoDeQ: a quantizer whose dead zone is learned, so that it prunes and quantizes at once.

Source: Wenshoj, Chen, Pepin, Selvan, "CoDeQ: end-to-end joint model compression with dead-zone quantizer", arXiv
2512.12981: x the 99 % quantile of |w|, dead zone d = 2 x (1 - |tanh u|), width b = round(2 + (b_max - 2) |tanh v|),
Q = 2^(b-1) - 1, step s = (x - d/2) / (Q - 1/2), shift t = d/2 - s/2:

    q = clip(round(sign(w) relu(|w| - t) / s), -Q, Q)        w_hat = s q + t sign(q)

straight-through in rounding, clipping and relu. Weight decay on u widens the dead zone, on v narrows the width.

Done otherwise: that decay follows the file's bytes by feedback instead of by hand, which spares the rival a search. The
quantile is an option: beyond 99 % of zeros in a tensor theirs cannot go. After the pruning phase a mask meets the limit
exactly, and x and b are fixed while fine-tuning. Reconstruction has an offset t a tensor, for which our file has no
form: two bytes each are added to its size, and the network as it is, is judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import secateur as sct
from byte_rival import ByteRival
from coded import Coded

OFFSET_BYTES = 2
START = 3.0
"""Of u and v: nearly no dead zone, nearly the widest width."""
GAIN = 10.0
"""Of the feedback: e-folds of the decay over a run that is a factor e off."""
AT_ONCE = 5.0
"""E-folds of the decay while it is a factor e off: zones keep what they have grown to, so that it must act ahead."""
EVERY = 10
"""Steps between two corrections of it."""
NARROWEST = 2


def rounded(x: Tensor) -> Tensor:
    """Straight-through."""
    return x + (x.round() - x).detach()


class DeadZoneWeight(nn.Module):
    """One weight. widths: those it may have; one alone is not learned."""

    mask: Tensor
    fixed: Tensor
    largest: Tensor

    def __init__(self, w: Tensor, widths: tuple[int, ...], quantile: float) -> None:
        super().__init__()
        self.quantile, self.widths = quantile, widths
        self.u = nn.Parameter(torch.tensor(START))
        self.v = nn.Parameter(torch.tensor(START), requires_grad=len(widths) > 1)
        self.register_buffer("mask", torch.ones_like(w))
        self.register_buffer("fixed", torch.tensor(False))
        self.register_buffer("largest", torch.zeros(()))

    def width(self) -> Tensor:
        """b, differentiable."""
        if len(self.widths) == 1:
            return torch.tensor(float(self.widths[0]))
        b = rounded(NARROWEST + (self.widths[-1] - NARROWEST) * torch.tanh(self.v).abs())
        return b.detach() if self.fixed else b

    def grid(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(Q, s, t)."""
        size = w.detach().abs().flatten()
        x = self.largest if self.fixed else size.kthvalue(max(1, math.ceil(self.quantile * len(size)))).values
        half = x * (1 - torch.tanh(self.u).abs())
        largest_code = 2 ** (self.width() - 1) - 1
        step = (x - half) / (largest_code - 0.5) + 1e-8
        return largest_code, step, half - step / 2

    def forward(self, w: Tensor) -> Tensor:
        """Same shape."""
        largest_code, step, shift = self.grid(w)
        beyond = w.abs() - shift
        beyond = beyond + (beyond.relu() - beyond).detach()
        q = rounded(torch.sign(w) * beyond / step)
        q = q + (torch.minimum(torch.maximum(q, -largest_code), largest_code) - q).detach()
        values = step * q + shift * torch.sign(q.detach())
        return values * self.mask if self.fixed else values

    @torch.no_grad()
    def coded(self, w: Tensor) -> Coded:
        """The codes q under the mask."""
        largest_code, step, shift = self.grid(w)
        q = (torch.sign(w) * (w.abs() - shift).relu() / step).round().clamp(-largest_code, largest_code) * self.mask
        return Coded(q, float(step), int(self.width()))

    @torch.no_grad()
    def rank(self, w: Tensor) -> Tensor:
        """How far beyond its dead zone."""
        _, step, shift = self.grid(w)
        return w.abs() / (shift + step / 2).clamp_min(1e-12)

    @torch.no_grad()
    def fix(self, w: Tensor) -> None:
        """x and b stay; the mask is what lies beyond the dead zone."""
        size = w.detach().abs().flatten()
        self.largest.copy_(size.kthvalue(max(1, math.ceil(self.quantile * len(size)))).values)
        self.mask.copy_(self.coded(w).codes != 0)
        self.fixed.fill_(True)


@dataclass(frozen=True)
class Options:
    """The quantile that x is, the rate of u and v, and the decay of these to start with."""

    quantile: float = 0.99
    rate: float = 1e-3
    decay: float = 0.1


class DeadZone(ByteRival):
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
        self.rate, self.decay, self.off = chosen.rate, chosen.decay, 0.0
        super().__init__(model, example, steps, packed_bytes, lambda w: DeadZoneWeight(w, widths, chosen.quantile))
        self.beside_file = OFFSET_BYTES * len(self.weights)

    def groups(self) -> list[dict[str, Any]]:
        own = [p for weight in self.weights.values() for p in (weight.u, weight.v)]
        return self.groups_of("thresholds", own, self.rate)

    @torch.no_grad()
    def press(self) -> None:
        now = self.decay * math.exp(AT_ONCE * self.off)
        for weight in self.weights.values():
            for logit in (weight.u, weight.v):
                if logit.requires_grad:
                    logit.mul_(max(0.0, 1 - self.rate * now))
        if self.taken % EVERY == 0:
            self.off = max(-1.0, min(1.0, math.log(self.estimate() / self.reference())))
            self.decay *= math.exp(GAIN * EVERY / self.steps * self.off)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "decay": self.decay, "off": self.off}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.decay, self.off = state["decay"], state["off"]
