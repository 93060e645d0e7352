"""What all stages "prune" share: soft while they learn, then a fixed mask; and what others ask of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from secateur.ir.pattern import Pattern
from secateur.nn.grouping import Grouping
from secateur.nn.states import take_states


class PruneStage(nn.Module, ABC):
    """The stage "prune" of one weight. A kind of it says how it is soft (`soft`), which weights it would keep now
    (`keeps`), and what a weight's score is."""

    std: Tensor
    mask: Tensor | None
    """None while soft; after hardening True where the weight stays. A buffer, so that a checkpoint knows its state."""
    patterns: tuple[Pattern, ...] = ()
    """What hardening may leave: one that is given, or several to choose from; none where any mask may be."""
    grouping: Grouping
    """Where there are patterns: which weights form a group."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", None)

    @abstractmethod
    def soft(self, w: Tensor, *, hard: bool = False) -> tuple[Tensor, Tensor]:
        """The pruned weight and the expected number of non-zeros, both differentiable where anything is learned. hard:
        both under the hard mask, with the gradients of the soft gate."""

    @abstractmethod
    def score(self, w: Tensor) -> Tensor:
        """How much a weight matters: one stays when its score exceeds a common factor, 1 for what was learned."""

    @abstractmethod
    def keeps(self, w: Tensor) -> Tensor:
        """The mask of what would stay now, while soft."""

    @abstractmethod
    def threshold(self, w: Tensor) -> float:
        """The magnitude at which weights go, in units of the weight: the mean where there is one a channel."""

    def set_threshold(self, alpha: float) -> None:
        """One threshold for the whole tensor, in units of the weight; nothing where there is none to set."""

    def project(self, score: Tensor, pattern: Pattern) -> Tensor:
        """The mask that leaves exactly this pattern, one of `patterns`, with the largest scores."""
        return self.grouping.project(score, pattern)

    def pattern_of(self, mask: Tensor) -> Pattern | None:
        """The one of `patterns` that a mask leaves, by its number of weights; None where it leaves none of them."""
        length, kept = self.grouping.length if self.patterns else 0, int(mask.sum())
        return next((one for one in self.patterns if one.kept_in(mask.numel(), length) == kept), None)

    def sharpen_(self, floor: float) -> None:
        """The least k = alpha beta of a gate from now on; nothing where there is no gate."""

    def versions(self) -> tuple[int, ...]:
        """What changes when anything does that `soft` depends on, but the weight."""
        return tuple(p._version for p in self.parameters())

    def forward(self, w: Tensor) -> Tensor:
        """The weight the layer computes with."""
        # Not w * mask, whose result leaves channels_last where there is one input channel.
        return self.soft(w)[0] if self.mask is None else torch.where(self.mask, w, 0.0)

    def count(self, w: Tensor) -> Tensor:
        """Expected (soft) or exact (hard) number of non-zeros, a scalar."""
        return self.soft(w)[1] if self.mask is None else self.mask.sum().float()

    @property
    def is_hard(self) -> bool:
        """Whether the mask is fixed."""
        return self.mask is not None

    def unused(self) -> list[nn.Parameter]:
        """Parameters that `forward` does not use now: once hard, all of them."""
        return list(self.parameters()) if self.is_hard else []

    @property
    def is_fixed(self) -> bool:
        """Whether how many weights stay is given by the plan, whatever a target asks for."""
        return len(self.patterns) == 1

    @torch.no_grad()
    def harden(self, mask: Tensor) -> None:
        """From now on exactly the weights under the mask stay, with the values they have."""
        self.mask = mask

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        take_states(self, ("mask",), state_dict, prefix, self.std.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
