"""A quantizer of a feature map that finds its scales at run time, one a row or one an example: nothing is learned."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.ir.grid import SMALLEST_SCALE
from secateur.ir.plan_rows import scaled_axes
from secateur.ir.rules import Quantize
from secateur.nn.dynamic_levels import dynamic_quantize
from secateur.nn.map_quantize import FrozenMap, MapQuantize


class DynamicMap(MapQuantize):
    """The quantizer of one feature map, by the largest magnitude of every row, or every example, when it is made. Off
    it changes nothing; on and hard are the same.

    per  "row" or "example", as in `MapPlan.per`
    """

    def __init__(self, rule: Quantize, signed: bool, elements: int, per: str) -> None:
        super().__init__(rule, signed, elements)
        self.per = per
        self.log_range.requires_grad_(False)  # it has none

    def _quantized(self, x: Tensor) -> Tensor:
        return self.nearest(x, self.width()) if self.is_on else x

    def nearest(self, x: Tensor, bits: int) -> Tensor:
        """x on the grids of its own rows or examples; the gradient passes straight through."""
        axes = scaled_axes(self.per, x.dim())
        return dynamic_quantize(x, self.scale(), bits, signed=self.signed, axes=axes)

    def start(self, x_max: float | Tensor | None = None) -> None:  # noqa: ARG002 - of every quantizer
        """Switch on: no data have to be seen before. DataError where an unsigned map was seen to be negative."""
        self.refuse_negative(float(self.least))
        self.switch_on()

    def scale(self, bits: int | None = None, log_range: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The smallest scale, that of a row of zeros."""
        return torch.full((), SMALLEST_SCALE, dtype=torch.float32, device=self.log_range.device)

    def frozen(self) -> FrozenMap:
        """What it has become, once hard. PlanError before."""
        found = super().frozen()
        return FrozenMap(found.scale, found.bits, found.signed, self.per)
