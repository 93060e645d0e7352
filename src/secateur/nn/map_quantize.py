"""Quantizers of feature maps in torch: learned while training, frozen in a restored model.

Source: US20200293893A1, US20230004813A1; formulas (our reading), symbols and derivatives: `secateur.maths.map_grid`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from secateur.errors import DataError, PlanError
from secateur.ir.plan_rows import INPUT, MapPlan, scaled_axes
from secateur.ir.rules import NARROWEST, WIDEST, Quantize
from secateur.maths.map_grid import codes
from secateur.nn.dynamic_levels import dynamic_quantize
from secateur.nn.learned_width import LearnedWidth
from secateur.nn.map_levels import fake_quantize, weighted_maps
from secateur.nn.states import in_float32, take_states
from secateur.nn.unused import with_place_for

COVERED = 0.999
"""Fraction of a map's magnitudes that the range begins with; the rest is clipped to its end."""
LOOKED_AT = 4096
"""Magnitudes of a map that are looked at in a training step while its range is not yet in use, evenly spread."""
MEMORY = 0.95
"""What a batch leaves of the running estimate of the range: that of some twenty batches."""
UNSEEN = -1.0
CALIBRATED = ("ends", "errors")


class Watched(NamedTuple):
    """Values of a map evenly spread over a batch, the gradient of the loss there, and which share of all they are."""

    values: Tensor
    gradient: Tensor
    share: float


class MapQuantize(LearnedWidth):
    """The quantizer of one feature map. Off: it changes nothing, and watches in training how large the values are. On:
    the average of the map's quantize-dequantize over all widths, weighted by softmax(theta / tau). Hard: one width, its
    scale rounded to float16 or a power of two, the range still learned.

    signed    whether the map can be negative: its codes are then symmetric to 0, else they begin at 0
    elements  numbers in the map for one example
    row       its line of the plan, which whoever places it sets
    """

    watching: bool
    """Whether `watched` is to be kept of the next batch that it averages and that has a gradient. Not under
    torch.compile."""
    watched: Watched | None
    seen: Tensor
    """Running estimate of the magnitude that COVERED of the values stay below, UNSEEN before the first batch."""
    square: Tensor
    """Running estimate of the mean square of the values."""
    least: Tensor
    """The lowest value that an unsigned map was seen to have where nothing could be raised, or where few of its values
    are looked at. Of this process alone: a loop that goes on sees it again."""
    ends: Tensor | None
    errors: Tensor | None
    """By width the end of the range and the relative error it leaves, once calibrated and until something learns."""

    def __init__(self, rule: Quantize, signed: bool, elements: int) -> None:
        if rule.granularity != "tensor":
            raise PlanError("a feature map has one range of values: Quantize(granularity='tensor')")
        super().__init__(rule, ())
        self.signed, self.elements = signed, elements
        self.row: MapPlan | None = None
        self.watching, self.watched = False, None
        self.register_buffer("seen", torch.tensor(UNSEEN, dtype=torch.float32))
        self.register_buffer("square", torch.tensor(0.0, dtype=torch.float32))
        self.register_buffer("least", torch.tensor(0.0, dtype=torch.float32), persistent=False)
        for name in CALIBRATED:
            self.register_buffer(name, None)

    def largest(self, bits: int) -> int:
        """The largest code of a width, with or without a sign."""
        return codes(bits, signed=self.signed)[1]

    def forward(self, x: Tensor) -> Tensor:
        """The map that the network goes on with; same shape, dtype and memory format. DataError for a negative value of
        an input that is planned as never negative."""
        self.look_at_signs(x)
        # Not by a hook: what makes codes of a quantizer's numbers refuses one that has hooks.
        return with_place_for(self.unused(), self._quantized(x))

    def _quantized(self, x: Tensor) -> Tensor:
        if self.hard_width is not None:
            return fake_quantize(x, self.step(), self.hard_width, signed=self.signed)
        if self.tau is not None:
            result = weighted_maps(x, self.x_max(), self.shares(), self.widths, signed=self.signed)
            if self.watching and result.requires_grad and x.numel() and not torch.compiler.is_compiling():
                self._watch_gradient(x.detach(), result)
            return result
        if self.training and x.numel():
            self._watch(x.detach())
        return x

    def look_at_signs(self, x: Tensor) -> None:
        """DataError for a negative value of an unsigned input; compiled code, which cannot raise, notes it in
        training. What the model makes is unsigned by what makes it."""
        if self.signed or self.row is None or self.row.kind != INPUT:
            return
        if torch.compiler.is_compiling():
            if self.training and x.numel():
                self.least.copy_(torch.minimum(self.least, x.detach().amin().float()))
        elif x.numel():
            self.refuse_negative(float(x.detach().amin()))

    def refuse_negative(self, lowest: float) -> None:
        """DataError for a value below zero of an unsigned map: its codes begin at zero, so that it would be lost."""
        if not self.signed and lowest < 0:
            instead = (
                f"plan.replace({self._name!r}, signed=True), or give it data that are never negative"
                if self.row is not None and self.row.kind == INPUT
                else "this plan is not of this model: plan again"
            )
            raise DataError(
                f"the feature map {self._name!r} is planned as never negative, and {lowest:g} reached it, which its "
                f"codes would make 0: {instead}"
            )

    @torch.no_grad()
    def _watch(self, x: Tensor) -> None:
        flat = x.reshape(-1)
        some = flat[:: math.ceil(len(flat) / LOOKED_AT)].float()
        if not self.signed:
            self.least.copy_(torch.minimum(self.least, some.amin()))
        some = some.abs()
        end = some.kthvalue(math.ceil(COVERED * len(some))).values
        first = self.seen < 0
        for estimate, now in ((self.square, some.square().mean()), (self.seen, end)):
            estimate.copy_(torch.where(first, now, MEMORY * estimate + (1 - MEMORY) * now))

    def _watch_gradient(self, x: Tensor, result: Tensor) -> None:
        self.watching = False
        flat = x.reshape(-1)
        every = math.ceil(len(flat) / LOOKED_AT)
        some = flat[::every].float()

        def keep(gradient: Tensor) -> None:
            self.watched = Watched(some, gradient.reshape(-1)[::every].float(), len(some) / len(flat))

        result.register_hook(keep)

    @torch.no_grad()
    def nearest(self, x: Tensor, bits: int) -> Tensor:
        """x on the hard grid of this width: what `forward` would give after `harden(bits)`."""
        return fake_quantize(x, self.scale(bits), bits, signed=self.signed)

    @torch.no_grad()
    def start(self, x_max: float | Tensor | None = None) -> None:
        """Switch on, at the temperature WARMEST: the range ends at x_max, or where it was seen to; the widths do not
        learn yet. PlanError where nothing was seen, because no training batch has passed through; DataError where an
        unsigned map was seen to be negative."""
        self.refuse_negative(float(self.least))
        end = self.seen if x_max is None else torch.as_tensor(x_max, dtype=torch.float32).to(self.seen.device)
        if end < 0:
            raise PlanError(
                f"no training batch has passed through this model, so the range of feature map {self._name!r} is "
                "unknown: train it first, or call calibrate_(model, batches)"
            )
        self.range_(end)
        self.switch_on()
        self.ends = self.errors = None

    @torch.no_grad()
    def calibrate(self, ends: Sequence[float], errors: Sequence[float], mean_square: float) -> None:
        """Switch on with ranges of data that were looked at: by width the end of the range, and the squared error it
        leaves relative to the mean square of the values."""
        self.start(ends[self.widths.index(self.width())])
        self.square.fill_(mean_square)
        self.ends, self.errors = (self.seen.new_tensor(found) for found in (ends, errors))
        self.log_range.copy_(self._log_end(self.width()))

    def learn(self, tau: float) -> None:
        """As of every quantizer; what was calibrated no longer holds."""
        super().learn(tau)
        self.ends = self.errors = None

    @torch.no_grad()
    def harden(self, bits: int) -> None:
        """As of every quantizer, with the range that was calibrated for this width. DataError as `start`."""
        self.refuse_negative(float(self.least))
        if self._as_calibrated:
            self.log_range.copy_(self._log_end(bits))
        super().harden(bits)
        self.ends = self.errors = None

    @torch.no_grad()
    def range_(self, end: Tensor) -> None:
        """Set the end of the range; a map that is zero everywhere keeps the one it has."""
        self.log_range.copy_(torch.where(end > 0, end.log(), self.log_range))

    @torch.no_grad()
    def error(self, bits: int) -> float:
        """Relative squared error that a width leaves: as calibrated; else that of rounding, step^2 / 12, over the mean
        square that was seen before it was switched on, or of values spread evenly over the range."""
        if self.errors is not None and self._as_calibrated:
            return float(self.errors[self.widths.index(bits)])
        x_max = float(self.log_range.exp())
        return (x_max / self.largest(bits)) ** 2 / 12 / (float(self.square) or x_max**2 / 3)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        take_states(self, CALIBRATED, state_dict, prefix, self.log_range.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def frozen(self) -> FrozenMap:
        """What it has become, once hard. PlanError before."""
        if self.hard_width is None:
            raise PlanError(f"the width of feature map {self._name!r} is still learned: call harden_ first")
        return FrozenMap(self.scale(), self.hard_width, self.signed)

    @property
    def _as_calibrated(self) -> bool:
        """Whether the range is still the one that was calibrated for its width."""
        return self.ends is not None and torch.equal(self._log_end(self.width()), self.log_range)

    def _log_end(self, bits: int) -> Tensor:
        assert self.ends is not None
        end = self.ends[self.widths.index(bits)]
        return torch.where(end > 0, end.log(), self.log_range.detach())

    @property
    def _name(self) -> str:
        return self.row.name if self.row else ""


class FrozenMap(nn.Module):
    """One feature map at one width for good: what `pack` reads, and what a restored model has.

    scale   the step between two codes, a positive float16 number; where it is found at run time the smallest
    bits    2 to 8
    signed  codes symmetric to 0, or from 0 on
    per     what a scale found at run time is for, as in `MapPlan.per`; "" where it is stored
    """

    scale: Tensor

    def __init__(self, scale: Tensor | float, bits: int, signed: bool, per: str = "") -> None:
        super().__init__()
        step = torch.as_tensor(scale, dtype=torch.float32).detach().reshape(()).clone()
        if not (NARROWEST <= bits <= WIDEST and step > 0 and torch.equal(step, step.half().float())):
            raise PlanError(
                f"a feature map has {NARROWEST} to {WIDEST} bits and a positive float16 scale, not {bits} and {step:g}"
            )
        self.register_buffer("scale", step)
        self.bits, self.signed, self.per = bits, signed, per

    def forward(self, x: Tensor) -> Tensor:
        """The map on its grid; same shape, dtype and memory format."""
        if self.per:
            axes = scaled_axes(self.per, x.dim())
            return dynamic_quantize(x, self.scale, self.bits, signed=self.signed, axes=axes)
        return torch.ops.secateur.fake_quantize(x, self.scale, self.bits, self.signed)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        return super()._apply(in_float32(fn), recurse)

    def extra_repr(self) -> str:
        """Shown by print."""
        found = f"found at run time, per {self.per}" if self.per else f"{float(self.scale):g}"
        return f"bits={self.bits}, signed={self.signed}, scale={found}"
