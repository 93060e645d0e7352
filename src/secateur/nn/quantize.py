"""Learned bit widths in torch: the stage "quantize" with its learned range and width.

Source: US20200293893A1, US20230004813A1; formulas (our reading), symbols and derivatives: `secateur.maths.grid`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.ir.grid import Grid
from secateur.ir.rules import Quantize
from secateur.maths.grid import largest_code
from secateur.nn.levels import weighted_levels
from secateur.nn.pieces import in_rows
from secateur.nn.states import take_states

COVERED = 0.995
"""Fraction of the weights that the range begins with; the rest is clipped to its end (measured)."""
SMALLEST_SCALE = 2.0**-24
"""The smallest positive float16: what a scale is rounded up to."""
WARMEST = 1.0
"""The temperature tau while all widths are alike probable."""
FITTED = np.geomspace(0.1, 1.1, 40)
"""Ranges that `fitted` tries, in units of the largest weight."""


class WidthQuantize(nn.Module):
    """The stage "quantize" of one weight. Off: it changes nothing. On: every weight that is not zero is the average of
    its quantize-dequantize over all widths, weighted by softmax(theta / tau). Hard: one width, its scale rounded to
    float16, the range still learned.

    Zeros stay exactly zero, nothing else becomes zero. x_max = exp(log_range), one or one a channel. Computed in
    float32 whatever the weight's dtype and whether or not autocast is on.
    """

    log_range: nn.Parameter
    theta: nn.Parameter | None
    """One number a width; None where there is one width only, and nothing to learn."""
    tau: Tensor | None
    """The temperature while it is on, None while it is off or hard. Buffers, so that a checkpoint knows its state."""
    learning: Tensor | None
    """Not None once the widths learn."""
    bits: Tensor | None
    """The width, once hardened. `hard_width` is the same as a number, which torch.compile can read."""

    def __init__(self, w: Tensor, rule: Quantize, channel_axis: int = 0) -> None:
        super().__init__()
        self.channel_axis = channel_axis if rule.granularity == "channel" else 0
        self.by_channel = rule.granularity == "channel"
        self.widths = list(rule.bits)
        shape = [1] * w.dim()
        if self.by_channel:
            shape[channel_axis] = w.shape[channel_axis]
        for name in ("tau", "learning", "bits"):
            self.register_buffer(name, None)
        self.hard_width: int | None = None
        self.log_range = nn.Parameter(torch.zeros(shape, device=w.device))
        theta = torch.zeros(len(self.widths), device=w.device)
        self.register_parameter("theta", nn.Parameter(theta) if len(theta) > 1 else None)
        self.range_(w)

    @property
    def is_on(self) -> bool:
        """Whether it changes the weight: averaged or hard."""
        return self.tau is not None or self.is_hard

    @property
    def is_hard(self) -> bool:
        """Whether one width is chosen for good."""
        return self.hard_width is not None

    def x_max(self) -> Tensor:
        """The end of the range, broadcastable to the weight; differentiable. Hard: a float16 scale times its largest
        code, exactly, with the derivative of the range it was rounded from."""
        if not self.is_hard:
            return self.log_range.exp()
        # exp(0) is 1 and a product with it exact, and so is a float16 times a code.
        return self.scale() * largest_code(self.width()) * (self.log_range - self.log_range.detach()).exp()

    @torch.no_grad()
    def scale(self, bits: int | None = None, log_range: Tensor | None = None) -> Tensor:
        """The step of the grid of this width and range (None: its own), rounded to float16, as float32."""
        x_max = (self.log_range if log_range is None else log_range).exp()
        step = x_max / largest_code(self.width() if bits is None else bits)
        return step.half().float().clamp(SMALLEST_SCALE, torch.finfo(torch.float16).max)

    def shares(self) -> Tensor:
        """p, one number a width, or 1 for the only one; differentiable in theta once the widths learn."""
        if self.theta is None or self.is_hard:
            return torch.ones(1, device=self.log_range.device)
        theta = self.theta if self.learning is not None else self.theta.detach()
        return torch.softmax(theta / (WARMEST if self.tau is None else self.tau), 0)

    def expected_bits(self) -> Tensor:
        """Mean width under p, or the hard width: a scalar, differentiable as `shares` is."""
        if self.hard_width is not None:
            return torch.tensor(float(self.hard_width), device=self.log_range.device)
        return self.shares() @ torch.tensor(self.widths, dtype=torch.float32, device=self.log_range.device)

    def width(self) -> int:
        """The hard width, or while there is none the most probable; of two alike the wider."""
        if self.hard_width is not None:
            return self.hard_width
        return self.widths[-1 if self.theta is None else len(self.widths) - 1 - int(self.theta.flip(0).argmax())]

    def forward(self, x: Tensor) -> Tensor:
        """What the layer computes with, of the weight or of what pruning left of it; same shape and dtype."""
        if not self.is_on:
            return x
        widths = self.widths if self.hard_width is None else [self.hard_width]

        def levels(rows: Tensor, x_max: Tensor) -> tuple[Tensor, ...]:
            return (weighted_levels(rows, x_max, self.shares(), widths),)

        return in_rows(levels, x.float(), self.x_max(), axis=self.channel_axis)[0].to(x.dtype)

    @torch.no_grad()
    def nearest(self, x: Tensor, bits: int, log_range: Tensor | None = None) -> Tensor:
        """x on the hard grid of this width, with this range (None: its own): what `forward` would give after
        `harden(bits)`."""
        x_max = self.scale(bits, log_range) * largest_code(bits)
        one = torch.ones(1, device=x.device)
        return in_rows(
            lambda rows, end: (weighted_levels(rows, end, one, [bits]),), x.float(), x_max, axis=self.channel_axis
        )[0]

    def grid(self, bits: int | None = None) -> Grid | None:
        """The grid that the weights lie on once hardened, else None; or the one they would with this width."""
        if bits is None and not self.is_hard:
            return None
        bits = self.width() if bits is None else bits
        scale = self.scale(bits).half().cpu().numpy()
        return Grid(bits, scale.reshape(-1) if self.by_channel else scale.reshape(()), self.channel_axis)

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Switch on, at the temperature WARMEST: ranges from the weights that are not zero in x; the widths do not
        learn yet."""
        self.range_(x)
        self.tau = torch.tensor(WARMEST, device=self.log_range.device)

    def learn(self, tau: float) -> None:
        """The widths learn from now on, at this temperature."""
        if self.tau is None:
            self.tau = torch.tensor(tau, device=self.log_range.device)
        self.tau.fill_(tau)
        self.learning = torch.ones((), dtype=torch.bool, device=self.log_range.device)

    @torch.no_grad()
    def harden(self, bits: int) -> None:
        """From now on this one width, with a float16 scale. PlanError for a width the rule does not have."""
        if bits not in self.widths:
            raise PlanError(f"{bits} bits are not among the widths of this tensor: {', '.join(map(str, self.widths))}")
        self.bits, self.hard_width = torch.tensor(bits, device=self.log_range.device), bits
        self.tau = self.learning = None

    @torch.no_grad()
    def range_(self, x: Tensor) -> None:
        """Set the range to what covers COVERED of the non-zeros of x, of each channel its own; where there are none it
        stays."""
        sizes = self._rows(x)
        count = sizes.count_nonzero(1)
        place = sizes.shape[1] - count + (count * COVERED).ceil().long() - 1
        ends = sizes.sort(1).values.gather(1, place.clamp(0).unsqueeze(1)).reshape(self.log_range.shape)
        self.log_range.copy_(torch.where(ends > 0, ends.log(), self.log_range))

    @torch.no_grad()
    def fitted(self, x: Tensor, bits: int) -> Tensor:
        """The log_range, of FITTED, with the least squared error of this width on the non-zeros of x."""
        largest = self._rows(x).amax(1).reshape(self.log_range.shape)
        best, least = self.log_range.detach().clone(), torch.full_like(self.log_range, math.inf)
        for share in FITTED:
            tried = torch.where(largest > 0, (share * largest).log(), best)
            error = self._rows(self.nearest(x, bits, tried) - x).square().sum(1).reshape(least.shape)
            best, least = torch.where(error < least, tried, best), torch.minimum(error, least)
        return best

    def _rows(self, x: Tensor) -> Tensor:
        """|x|, a row a range."""
        return x.detach().float().abs().movedim(self.channel_axis, 0).reshape(self.log_range.numel(), -1)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        take_states(self, ("tau", "learning", "bits"), state_dict, prefix, self.log_range.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.hard_width = None if self.bits is None else int(self.bits)
