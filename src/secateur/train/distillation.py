"""Distillation: the outputs of a teacher, usually the dense model itself, as part of the loss.

Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531, sections 2 and 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import DataError, TargetError, TrainingError
from secateur.nn.copying import copied
from secateur.train.precision import FULL, forward


@dataclass(frozen=True)
class Distillation:
    """How much the teacher counts, and what of it.

    weight       share of the teacher's term, 0 < weight <= 1; the task's own loss counts 1 - weight
    temperature  softens both distributions of logits; the term is multiplied by its square, as the source has it
    match        "logits": divergence of class distributions over dimension 1, of two classes or more; "outputs": mean
                 squared difference, which also fits one logit or a number an example
    """

    weight: float = 0.5
    temperature: float = 2.0
    match: str = "logits"

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise TargetError(f"the weight of distillation lies in 0 < weight <= 1, got {self.weight}")
        if not self.temperature > 0:
            raise TargetError(f"the temperature of distillation is a positive number, got {self.temperature}")
        if self.match not in MATCHES:
            raise TargetError(f"distillation matches {' or '.join(MATCHES)}, not {self.match!r}")

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The teacher's term, a scalar, before its weight. DataError for outputs that are no tensors of one shape, and
        for logits of fewer than two classes: nothing says whether one number is a logit or what is predicted."""
        if not isinstance(student, Tensor) or not isinstance(teacher, Tensor) or student.shape != teacher.shape:
            raise DataError("distillation compares one output tensor of the model with the teacher's, of equal shape")
        if self.match == "logits" and (student.ndim < 2 or student.shape[1] < 2):
            raise DataError(
                'match="logits" compares distributions over two or more classes in dimension 1, which outputs of shape '
                f'{tuple(student.shape)} do not have: use match="outputs"'
            )
        return MATCHES[self.match](student, teacher, self.temperature)


def _logits(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    ours, theirs = F.log_softmax(student / temperature, 1), F.log_softmax(teacher / temperature, 1)
    return temperature**2 * F.kl_div(
        ours.movedim(1, -1).flatten(0, -2), theirs.movedim(1, -1).flatten(0, -2), reduction="batchmean", log_target=True
    )


def _outputs(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    del temperature  # only distributions have one
    return F.mse_loss(student, teacher)


MATCHES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"logits": _logits, "outputs": _outputs}
"""What of the outputs is compared -> the term."""


class Lesson:
    """A teacher, copied, in evaluation mode, how much it counts, and the precision it computes in."""

    def __init__(self, teacher: nn.Module, distill: Distillation, precision: str = FULL) -> None:
        self.weight, self._precision = distill.weight, precision
        self._teacher, self._distill = copied(teacher).eval(), distill

    def loss(self, inputs: Any, outputs: Tensor) -> Tensor:
        """The teacher's term for the student's outputs, a scalar, before its weight."""
        with torch.no_grad():
            taught = forward(self._teacher, inputs, self._precision)
        return self._distill.loss(outputs, taught)


def lesson_from(teacher: nn.Module | None, distill: Distillation | None, precision: str = FULL) -> Lesson | None:
    """None where nothing is to be distilled; TrainingError where nobody is there to learn from."""
    if distill is None:
        return None
    if teacher is None:
        raise TrainingError("schedule.distill needs somebody to learn from: fit(..., teacher=copy of the dense model)")
    return Lesson(teacher, distill, precision)
