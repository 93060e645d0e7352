"""What MAC-aware pruning decided for one tensor, as plain data for tables, reports and files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MacAwareLayer:
    """What was decided for one tensor.

    size, macs   its weights; its dense multiply-accumulates for one example
    share        of the computation of all tensors that may be cut
    allowance    relative pruning error per weight that it may have: ||removed|| / (number removed x std)
    error        the one it has
    estimator    threshold in standard deviations of its weights, t
    removed      weights that go; those that were zero already are not among them
    nonzeros     weights that stay
    sensitivity  measured change of the output by a unit of removed relative energy; None without batches
    """

    name: str
    size: int
    macs: int
    share: float
    allowance: float
    error: float
    estimator: float
    removed: int
    nonzeros: int
    sensitivity: float | None = None

    @property
    def density(self) -> float:
        """Fraction that stays."""
        return self.nonzeros / self.size

    @property
    def macs_left(self) -> int:
        """Multiply-accumulates on weights that are not zero."""
        return self.macs // self.size * self.nonzeros
