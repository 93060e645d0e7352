"""The stage "quantize" with "level" read as grid value: a weight that learns is the average of the values round it.

Source: US20200293893A1, US20230004813A1; formulas (our reading), symbols and derivatives: `secateur.maths.value_grid`.
"""

from __future__ import annotations

from torch import Tensor

from secateur.maths.value_grid import WARMEST
from secateur.nn.pieces import in_rows
from secateur.nn.quantize import WidthQuantize
from secateur.nn.value_levels import weighted_values


class ValueQuantize(WidthQuantize):
    """As WidthQuantize, which says how widths are shared, ranges set and one width hardened; but at every width a
    weight is the average over grid values, whose temperature falls with tau, and whose derivatives are exact."""

    def forward(self, x: Tensor) -> Tensor:
        """What the layer computes with, of the weight or of what pruning left of it; same shape and dtype."""
        if self.tau is None:
            return super().forward(x)
        temperature = WARMEST * self.tau

        def values(rows: Tensor, x_max: Tensor) -> tuple[Tensor, ...]:
            return (weighted_values(rows, x_max, self.shares(), temperature, self.widths),)

        return in_rows(values, x.float(), self.x_max(), axis=self.channel_axis)[0].to(x.dtype)
