"""WeightTransform: the one parametrization a weight has. Named stages in one order, shared between forward and
budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from secateur.ir.grid import Grid
from secateur.ir.plan import TensorPlan
from secateur.nn.sites import original_of
from secateur.nn.threshold import ThresholdPrune

STAGES = {"threshold": ThresholdPrune}
"""Prune method -> stage. A stage has forward, soft, count, score, harden; the laws in tests/laws run over this
table."""


@dataclass
class _Soft:
    """The expected non-zeros of the last training forward, kept for the budget of the same step."""

    count: Tensor
    versions: tuple[int, ...]
    spent: list[bool]


class WeightTransform(nn.Module):
    """Weight -> weight with nothing that was cut. `row` is its line of the plan, channel_axis the axis of its channels.

    The expected count of the last forward is kept, so that a budget asking in the same step costs no second evaluation;
    it is dropped when a parameter changed or its graph was used up by a backward pass.
    """

    def __init__(self, w: Tensor, row: TensorPlan, channel_axis: int = 0) -> None:
        super().__init__()
        assert row.prune is not None
        self.row = row
        self.stages = nn.ModuleDict({"prune": STAGES[row.prune.method](w, row.prune, channel_axis)})
        self._soft: _Soft | None = None

    @property
    def prune(self) -> ThresholdPrune:
        """The stage that cuts."""
        stage = self.stages["prune"]
        assert isinstance(stage, ThresholdPrune)
        return stage

    @property
    def is_hard(self) -> bool:
        """True after `harden_`: the mask is exact and fixed."""
        return self.prune.mask is not None

    def grid(self) -> Grid | None:
        """The grid that the weight lies on, bit for bit; None where it is not quantized, or not hardened yet."""
        return cast(Any, self.stages["quantize"]).grid() if "quantize" in self.stages else None

    def forward(self, w: Tensor) -> Tensor:
        """The weight the layer computes with; same shape and dtype as w."""
        if self.is_hard or torch.compiler.is_compiling():
            return self.prune(w)
        pruned, count = self.prune.soft(w)
        if count.requires_grad:
            # The hook must not hold `count`: a cycle through autograd is never collected.
            spent: list[bool] = []
            assert count.grad_fn is not None
            count.grad_fn.register_prehook(lambda _: spent.append(True))
            self._soft = _Soft(count, self._versions(w), spent)
        return pruned

    def right_inverse(self, w: Tensor) -> Tensor:
        """Assigning to the layer's weight assigns to the original."""
        return w

    def count(self, w: Tensor) -> Tensor:
        """Expected non-zeros, differentiable; shares the evaluation of this step's forward where there was one."""
        soft = self._soft
        if (
            soft is not None
            and not soft.spent
            and not self.is_hard
            and torch.is_grad_enabled()
            and soft.versions == self._versions(w)
        ):
            return soft.count
        return self.prune.count(w)

    def _versions(self, w: Tensor) -> tuple[int, ...]:
        stage = self.prune
        return (id(w), w._version, stage.alpha_raw._version, stage.beta_raw._version, stage.floor._version)

    def __getstate__(self) -> dict[str, Any]:
        # A non-leaf tensor can neither be deep-copied nor pickled, and no copy needs it.
        return {**self.__dict__, "_soft": None}


@dataclass(frozen=True)
class Transformed:
    """One weight under transformation: where it lives and what transforms it."""

    name: str
    module: nn.Module
    tensor: str
    transform: WeightTransform

    @property
    def original(self) -> nn.Parameter:
        """The parameter an optimizer steps, before any stage."""
        return original_of(self.module, self.tensor)

    def count(self) -> Tensor:
        """Expected or exact number of non-zeros, a scalar."""
        return self.transform.count(self.original)


def transforms_of(model: nn.Module) -> tuple[Transformed, ...]:
    """Every transformed weight of a model once, in the model's order; a tied weight is listed at its first end."""
    return tuple(_first_ends(model))


def _first_ends(model: nn.Module) -> Iterator[Transformed]:
    seen: set[int] = set()
    for path, module, tensor, transform in all_ends(model):
        if id(transform) not in seen:
            seen.add(id(transform))
            yield Transformed(f"{path}.{tensor}" if path else tensor, module, tensor, transform)


def all_ends(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, WeightTransform]]:
    """(module path, module, tensor name, transform) at every place a transform is registered, ties included."""
    for path, module in model.named_modules():
        if not parametrize.is_parametrized(module):
            continue
        for tensor, chain in cast(nn.ModuleDict, module.parametrizations).items():
            for transform in cast(nn.ModuleList, chain):
                if isinstance(transform, WeightTransform):
                    yield path, module, tensor, transform
