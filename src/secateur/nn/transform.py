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
from secateur.ir.plan_rows import TensorPlan
from secateur.nn.balance import BalancedPrune
from secateur.nn.magnitude import SparseRefined, TopN
from secateur.nn.prune_stage import PruneStage
from secateur.nn.quantize import WidthQuantize
from secateur.nn.sites import original_of
from secateur.nn.threshold import ThresholdPrune
from secateur.nn.unused import with_place_for
from secateur.nn.value_quantize import ValueQuantize

PRUNING = {"threshold": ThresholdPrune, "balanced": BalancedPrune, "sr_ste": SparseRefined, "top_n": TopN}
"""Method of a Prune -> stage, a PruneStage."""
QUANTIZING = {"width": WidthQuantize, "value": ValueQuantize}
"""Level of a Quantize -> stage: forward, expected_bits, width, grid, harden."""
STAGES = {**PRUNING, **QUANTIZING}
"""All of them; the laws in tests/laws run over this table."""


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
        self.row = row
        self.stages = nn.ModuleDict()
        if row.prune is not None:
            self.stages["prune"] = PRUNING[row.prune.method](w, row.prune, channel_axis)
        if row.quantize is not None:
            quantize = self.stages["quantize"] = QUANTIZING[row.quantize.level](w, row.quantize, channel_axis)
            if row.prune is None:
                quantize.start(w)
        self._soft: _Soft | None = None

    @property
    def prunes(self) -> bool:
        """Whether it has a stage that cuts."""
        return "prune" in self.stages

    @property
    def prune(self) -> PruneStage:
        """The stage that cuts, of a transform that `prunes`."""
        stage = self.stages["prune"]
        assert isinstance(stage, PruneStage)
        return stage

    @property
    def quantize(self) -> WidthQuantize | None:
        """The stage that quantizes what is left, where there is one."""
        if "quantize" not in self.stages:
            return None
        stage = self.stages["quantize"]
        assert isinstance(stage, WidthQuantize)
        return stage

    @property
    def is_hard(self) -> bool:
        """True after `harden_`: mask and width are exact and fixed."""
        return all(cast(PruneStage | WidthQuantize, stage).is_hard for stage in self.stages.values())

    def grid(self) -> Grid | None:
        """The grid that the weight lies on, bit for bit; None where it is not quantized, or not hardened yet."""
        return self.quantize.grid() if self.quantize is not None else None

    def forward(self, w: Tensor) -> Tensor:
        """The weight the layer computes with; same shape and dtype as w."""
        result = self.pruned(w)
        if self.quantize is not None:
            result = self.quantize(result)
        return with_place_for(self.unused(), result)

    def unused(self) -> list[nn.Parameter]:
        """Parameters of its stages that have no gradient now."""
        return [p for stage in self.stages.values() for p in cast(PruneStage | WidthQuantize, stage).unused()]

    def pruned(self, w: Tensor) -> Tensor:
        """What pruning leaves of w: as the form of its gate has it until something quantizes it, from then on under the
        hard mask whatever the form; a soft gate would serve quantized weights as an analog factor."""
        if not self.prunes:
            return w
        if self.prune.is_hard:
            return self.prune(w)
        hard = self.quantize is not None and self.quantize.is_on
        pruned, count = self.prune.soft(w, hard=hard)
        if torch.compiler.is_compiling():
            return pruned
        if count.requires_grad:
            # The hook must not hold `count`: a cycle through autograd is never collected.
            spent: list[bool] = []
            assert count.grad_fn is not None
            count.grad_fn.register_prehook(lambda _: spent.append(True))
            self._soft = _Soft(count, self._versions(w), spent)
        return pruned

    @torch.no_grad()
    def survivors(self, w: Tensor) -> Tensor:
        """w with zeros where it would be cut by the mask or, while soft, by what has been learned by now."""
        if not self.prunes:
            return w.detach()
        mask = self.prune.mask if self.prune.mask is not None else self.prune.keeps(w)
        return torch.where(mask, w.detach(), 0.0)

    @torch.no_grad()
    def baked(self, w: Tensor, mask: Tensor | None = None, bits: int | None = None) -> Tensor:
        """What the layer would compute with, were this mask (None: everything) and this width (None: as
        `WidthQuantize.width` says) fixed; in float32, as a file has it."""
        kept = w.detach().float()
        if mask is not None:
            kept = torch.where(mask.to(w.device), kept, 0.0)
        if self.quantize is None:
            return kept
        return self.quantize.nearest(kept, self.quantize.width() if bits is None else bits)

    def grid_of(self, bits: int | None = None) -> Grid | None:
        """The grid that `baked` weights lie on; None where they are not quantized."""
        stage = self.quantize
        return None if stage is None else stage.grid(stage.width() if bits is None else bits)

    @torch.no_grad()
    def harden_whole(self) -> None:
        """Fix every stage so that all weights stay."""
        if self.prunes:
            self.prune.harden(torch.ones(self.row.shape, dtype=torch.bool, device=self.prune.std.device))
        if self.quantize is not None:
            self.quantize.harden(self.quantize.width())

    def right_inverse(self, w: Tensor) -> Tensor:
        """Assigning to the layer's weight assigns to the original."""
        return w

    def count(self, w: Tensor) -> Tensor:
        """Expected non-zeros, differentiable; shares the evaluation of this step's forward where there was one."""
        if not self.prunes:
            return torch.count_nonzero(w).float()
        soft = self._soft
        if (
            soft is not None
            and not soft.spent
            and not self.prune.is_hard
            and torch.is_grad_enabled()
            and soft.versions == self._versions(w)
        ):
            return soft.count
        return self.prune.count(w)

    def _versions(self, w: Tensor) -> tuple[int, ...]:
        return (id(w), w._version, *self.prune.versions())

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
