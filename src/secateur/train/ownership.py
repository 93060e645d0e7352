"""Parameters that an optimizer has to step, and whether one does: forgotten ones would stay as they are, silently."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from secateur.errors import PlanError


class Ownership:
    """Of the thresholds, ranges and widths of a model: which of them no optimizer has stepped yet.

    One is stepped when an optimizer of torch's kind that has it in its groups makes a step while it has a gradient, or
    when it changes, whoever does it. Neither its value nor torch's count of changes tells alone: a step may be below
    float resolution, and fused optimizers do not count (2.13, CPU).
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self._unstepped = [(p, p._version, p.detach().clone()) for p in parameters]
        _waiting.add(self)

    def saw(self, optimizer: Optimizer) -> None:
        """After a step of any optimizer."""
        if not self._unstepped:
            _waiting.discard(self)
            return
        owned = {id(p) for group in optimizer.param_groups for p in group["params"] if p.grad is not None}
        self._unstepped = [entry for entry in self._unstepped if id(entry[0]) not in owned]

    def refuse_forgotten(self) -> None:
        """PlanError for a parameter that has a gradient, after an optimizer's step, and was never stepped."""
        self._unstepped = [(p, v, w) for p, v, w in self._unstepped if p._version == v and torch.equal(p, w)]
        for parameter, _, _ in self._unstepped:
            if parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any():
                raise PlanError(
                    "a threshold, range or width had a gradient but no optimizer stepped it: build the optimizer after "
                    "prepare_, from param_groups(model), and call budget.step() after optimizer.step()"
                )


_waiting: weakref.WeakSet[Ownership] = weakref.WeakSet()


def _after_step(optimizer: Optimizer, *_: Any) -> None:
    for one in list(_waiting):
        one.saw(optimizer)


register_optimizer_step_post_hook(_after_step)
