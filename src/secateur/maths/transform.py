"""A transform: one matrix, also kept as a product of sparse factors, which is what kernels and circuits compute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, reduce
from math import prod

import numpy as np

from secateur.maths.exact_matrix import ExactMatrix, identity
from secateur.maths.straight_line import Step, StraightLine, straight_line


@dataclass(frozen=True)
class Stage:
    """The factor I(before) (x) matrix (x) I(after): `matrix` along one axis of an array before x columns x after."""

    matrix: ExactMatrix
    before: int = 1
    after: int = 1

    @cached_property
    def program(self) -> StraightLine:
        """The steps for one vector along that axis; it is repeated before * after times."""
        return straight_line(self.matrix)

    @property
    def repeats(self) -> int:
        """How often the program runs."""
        return self.before * self.after

    def transposed(self) -> Stage:
        """The stage of the transposed transform."""
        return Stage(self.matrix.transposed(), self.before, self.after)

    def whole(self) -> ExactMatrix:
        """The factor written out."""
        return identity(self.before).kron(self.matrix).kron(identity(self.after))

    def times(self, other: ExactMatrix) -> ExactMatrix:
        """The factor times a matrix, without writing the factor out."""
        (rows, columns), width = self.matrix.shape, other.shape[1]
        split = other.numerators.reshape(self.before, columns, self.after * width)
        flat = np.moveaxis(split, 1, 0).reshape(columns, self.repeats * width)
        found = self.matrix @ ExactMatrix(flat, other.denominator)
        split = found.numerators.reshape(rows, self.before, self.after * width)
        return ExactMatrix(np.moveaxis(split, 0, 1).reshape(self.repeats * rows, width), found.denominator)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The stage on the first axis of x, in x's dtype."""
        rest = x.shape[1:]
        split = x.reshape(self.before, self.matrix.shape[1], self.after, *rest)
        found = np.moveaxis(self.program(np.moveaxis(split, 1, 0)), 0, 1)
        return found.reshape(self.before * self.matrix.shape[0] * self.after, *rest)


@dataclass(frozen=True)
class Transform:
    """Stages, the first one applied first."""

    stages: tuple[Stage, ...]

    @cached_property
    def matrix(self) -> ExactMatrix:
        """The product of all stages."""
        return reduce(lambda done, stage: stage.times(done), self.stages[1:], self.stages[0].whole())

    def shortest(self) -> Transform:
        """The stages, or the matrix as one stage where that takes no more additions."""
        one = Transform((Stage(self.matrix),))
        return one if len(self.stages) == 1 or one.adds <= self.adds else self

    @property
    def adds(self) -> int:
        """Additions after sharing common subexpressions."""
        return sum(stage.repeats * stage.program.adds for stage in self.stages)

    @property
    def multiplies(self) -> int:
        """Multiplications by constants other than +-1."""
        return sum(stage.repeats * stage.program.multiplies for stage in self.stages)

    @cached_property
    def program(self) -> StraightLine:
        """All stages as one list of steps."""
        values = list(range(self.stages[0].repeats * self.stages[0].matrix.shape[1]))
        inputs, steps = len(values), []
        for stage in self.stages:
            values = _append(stage, values, inputs, steps)
        return StraightLine(inputs, tuple(steps), tuple(values))

    def roundings(self) -> int:
        """The largest number of roundings between an input and an output."""
        return sum(stage.program.roundings() for stage in self.stages)

    def magnitude(self) -> np.ndarray:
        """The product of the stages' absolute values, in float64: how far a unit of error can grow."""
        whole = [abs(np.asarray(stage.whole(), np.float64)) for stage in self.stages]
        return reduce(lambda done, factor: factor @ done, whole[1:], whole[0])

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The transform of the first axis of x, every step rounded in x's own dtype."""
        return reduce(lambda done, stage: stage(done), self.stages, x)


def along_axes(transforms: Iterable[Transform]) -> Transform:
    """One transform per axis of an array, the first axis first: the Kronecker product of their matrices."""
    parts = list(transforms)
    rows = [part.stages[-1].matrix.shape[0] * part.stages[-1].repeats for part in parts]
    columns = [part.stages[0].matrix.shape[1] * part.stages[0].repeats for part in parts]
    stages = [
        Stage(stage.matrix, stage.before * prod(rows[:axis]), stage.after * prod(columns[axis + 1 :]))
        for axis, part in enumerate(parts)
        for stage in part.stages
    ]
    return Transform(tuple(stages))


def _append(stage: Stage, values: list[int], inputs: int, steps: list[Step]) -> list[int]:
    """The stage's program, once for every vector, on the given values; the values of its result."""
    program, rows, columns = stage.program, *stage.matrix.shape
    found = [0] * (stage.before * rows * stage.after)
    for i in range(stage.before):
        for k in range(stage.after):
            local = [values[(i * columns + j) * stage.after + k] for j in range(columns)]
            for step in program.steps:
                local.append(inputs + len(steps))
                steps.append(Step(step.ca, local[step.a], step.cb, local[step.b]))
            for j, output in enumerate(program.outputs):
                found[(i * rows + j) * stage.after + k] = local[output]
    return found
