"""Learned bit widths in torch: the stage "quantize" of a weight.

Source: US20200293893A1, US20230004813A1; formulas (our reading), symbols and derivatives: `secateur.maths.grid`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from secateur.ir.grid import Grid
from secateur.ir.rules import Quantize
from secateur.maths.grid import largest_code
from secateur.nn.learned_width import LearnedWidth
from secateur.nn.levels import weighted_levels
from secateur.nn.pieces import in_rows

COVERED = 0.995
"""Fraction of the weights that the range begins with; the rest is clipped to its end (measured)."""
FITTED = np.geomspace(0.1, 1.1, 40)
"""Ranges that `fitted` tries, in units of the largest weight."""


class WidthQuantize(LearnedWidth):
    """The stage "quantize" of one weight. Off: it changes nothing. On: every weight that is not zero is the average of
    its quantize-dequantize over all widths, weighted by softmax(theta / tau). Hard: one width, its scale rounded to
    float16, the range still learned.

    Zeros stay exactly zero, nothing else becomes zero. One range, or one a channel. Computed in float32 whatever the
    weight's dtype and whether or not autocast is on.
    """

    def __init__(self, w: Tensor, rule: Quantize, channel_axis: int = 0) -> None:
        by_channel = rule.granularity == "channel"
        shape = [1] * w.dim()
        if by_channel:
            shape[channel_axis] = w.shape[channel_axis]
        super().__init__(rule, shape, w.device)
        self.by_channel, self.channel_axis = by_channel, channel_axis if by_channel else 0
        self.range_(w)

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
        one = x_max.new_ones(1)
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
        self.switch_on()

    @torch.no_grad()
    def range_(self, x: Tensor) -> None:
        """Set the range to what covers COVERED of the non-zeros of x, of each channel its own; where there are none it
        stays."""
        self.log_range.copy_(self._covering(x))

    @torch.no_grad()
    def settle(self, x: Tensor, bits: int) -> None:
        """Before hardening to a width: where the stage is off, or its range still the one that x began with, so that
        nothing was learned, the range of least squared error."""
        begun = self.is_on
        if not begun:
            self.start(x)
        if not begun or torch.equal(self.log_range, self._covering(x)):
            self.log_range.copy_(self.fitted(x, bits))

    @torch.no_grad()
    def _covering(self, x: Tensor) -> Tensor:
        sizes = self._rows(x)
        count = sizes.count_nonzero(1)
        place = sizes.shape[1] - count + (count * COVERED).ceil().long() - 1
        ends = sizes.sort(1).values.gather(1, place.clamp(0).unsqueeze(1)).reshape(self.log_range.shape)
        return torch.where(ends > 0, ends.log(), self.log_range)

    @torch.no_grad()
    def limit_(self, x: Tensor) -> None:
        """The range ends at the largest of x at most, of each channel its own. Narrow widths make every weight that is
        kept at least one step large, so a range without a limit becomes a gain: it grows, then so do the widths."""
        largest = self._rows(x).amax(1).reshape(self.log_range.shape)
        self.log_range.copy_(torch.where(largest > 0, torch.minimum(self.log_range, largest.log()), self.log_range))

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
