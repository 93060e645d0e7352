"""Rounds of cutting by shares of the computation: what every round allowed, cut and cost, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.ir.mac_row import MacAwareLayer


@dataclass(frozen=True)
class Round:
    """One round: cut to `fraction` of what could be cut, fine-tuned, judged.

    fraction   of the multiply-accumulates, or where a density was asked for of the weights, of all tensors that may be
               cut
    started    number of the round whose network it went on from; 0: the dense one
    allowance, c  name of the allowances, and their common factor
    macs       before (dense) and after this cut, of all tensors, for one example
    score, drop   on validation after fine-tuning, and how much worse than the dense model; NaN where not measured
    held       whether the drop is within the limit; true where none was asked for
    """

    fraction: float
    started: int
    allowance: str
    c: float
    macs_before: int
    macs_after: int
    score: float
    drop: float
    held: bool
    tensors: tuple[MacAwareLayer, ...]
