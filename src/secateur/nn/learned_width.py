"""A learned range and bit width: what quantizers of weights and of feature maps have in common.

Source: US20200293893A1, US20230004813A1; formulas (our reading), symbols and derivatives: `secateur.maths.grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PlanError
from secateur.ir.grid import SMALLEST_SCALE
from secateur.ir.rules import Quantize
from secateur.maths.grid import largest_code
from secateur.nn.states import in_float32, take_states

LARGEST_POWER = 2.0**15
"""The largest power of two among float16 numbers."""
WARMEST = 1.0
"""The temperature tau while all widths are alike probable."""


class LearnedWidth(nn.Module):
    """Off, on (the average over all widths, weighted by softmax(theta / tau)) or hard (one width, its scale rounded to
    float16, the range still learned). x_max = exp(log_range). Its tensors are float32 whatever the model's dtype.
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

    def __init__(self, rule: Quantize, ranges: Sequence[int], device: torch.device | None = None) -> None:
        """ranges: shape of the ranges."""
        super().__init__()
        self.widths = list(rule.bits)
        self.by_powers = rule.scale == "power_of_two"
        for name in ("tau", "learning", "bits"):
            self.register_buffer(name, None)
        self.hard_width: int | None = None
        self.log_range = nn.Parameter(torch.zeros(list(ranges), dtype=torch.float32, device=device))
        theta = torch.zeros(len(self.widths), dtype=torch.float32, device=device)
        self.register_parameter("theta", nn.Parameter(theta) if len(theta) > 1 else None)

    @property
    def is_on(self) -> bool:
        """Whether it changes anything: averaged or hard."""
        return self.tau is not None or self.is_hard

    @property
    def is_hard(self) -> bool:
        """Whether one width is chosen for good."""
        return self.hard_width is not None

    def unused(self) -> list[nn.Parameter]:
        """Parameters that have no gradient now: all while it is off, those of widths that do not learn."""
        found = [] if self.is_on else [self.log_range]
        return found if self.theta is None or self.learning is not None else [*found, self.theta]

    def largest(self, bits: int) -> int:
        """The largest code of a width."""
        return largest_code(bits)

    def x_max(self) -> Tensor:
        """The end of the range; differentiable. Hard: a float16 scale times its largest code, exactly, with the
        derivative of the range it was rounded from."""
        return self.step() * self.largest(self.width()) if self.is_hard else self.log_range.exp()

    def step(self) -> Tensor:
        """The scale once hard, with the derivative of the range it was rounded from."""
        # exp(0) is 1 and a product with it exact, and so is a float16 times a code.
        return self.scale() * (self.log_range - self.log_range.detach()).exp()

    @torch.no_grad()
    def scale(self, bits: int | None = None, log_range: Tensor | None = None) -> Tensor:
        """The step of the grid of this width and range (None: its own), rounded to float16 or to a power of two, as
        float32."""
        x_max = (self.log_range if log_range is None else log_range).exp()
        step = x_max / self.largest(self.width() if bits is None else bits)
        if self.by_powers:
            return step.log2().round().exp2().clamp(SMALLEST_SCALE, LARGEST_POWER)
        return step.half().float().clamp(SMALLEST_SCALE, torch.finfo(torch.float16).max)

    def shares(self) -> Tensor:
        """p, one number a width, or 1 for the only one; differentiable in theta once the widths learn."""
        if self.theta is None or self.is_hard:
            return self.log_range.new_ones(1)
        theta = self.theta if self.learning is not None else self.theta.detach()
        return torch.softmax(theta / (WARMEST if self.tau is None else self.tau), 0)

    def expected_bits(self) -> Tensor:
        """Mean width under p, or the hard width: a scalar, differentiable as `shares` is."""
        if self.hard_width is not None:
            return self.log_range.new_tensor(float(self.hard_width))
        return self.shares() @ torch.tensor(self.widths, dtype=torch.float32, device=self.log_range.device)

    def width(self) -> int:
        """The hard width, or while there is none the most probable; of two alike the wider."""
        if self.hard_width is not None:
            return self.hard_width
        return self.widths[-1 if self.theta is None else len(self.widths) - 1 - int(self.theta.flip(0).argmax())]

    def switch_on(self) -> None:
        """Average from now on, at the temperature WARMEST; the widths do not learn yet."""
        self.tau = self.log_range.new_tensor(WARMEST)

    def switch_off(self) -> None:
        """Change nothing any more."""
        self.hard_width = self.tau = self.learning = self.bits = None

    def learn(self, tau: float) -> None:
        """The widths learn from now on, at this temperature."""
        if self.tau is None:
            self.switch_on()
        assert self.tau is not None
        self.tau.fill_(tau)
        self.learning = torch.ones((), dtype=torch.bool, device=self.log_range.device)

    @torch.no_grad()
    def harden(self, bits: int) -> None:
        """From now on this one width, with a float16 scale. PlanError for a width the rule does not have."""
        if bits not in self.widths:
            raise PlanError(f"{bits} bits are not among the widths of this rule: {', '.join(map(str, self.widths))}")
        self.bits, self.hard_width = torch.tensor(bits, device=self.log_range.device), bits
        self.tau = self.learning = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        return super()._apply(in_float32(fn), recurse)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        take_states(self, ("tau", "learning", "bits"), state_dict, prefix, self.log_range.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.hard_width = None if self.bits is None else int(self.bits)
