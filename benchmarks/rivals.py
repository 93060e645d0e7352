"""The rivals, on the same networks, batches, optimizer and epochs, each as its paper has it but for what is said here.

All end like self-pruning: an exact global cut to the density asked for, then fine-tuning under the mask.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ARRIVAL = 0.7
"""Fraction of the pruning phase after which the final density is reached, as in self-pruning's budget."""
EVERY = 100
"""Steps between two updates of the mask (Zhu and Gupta use 100 to 1000)."""


class Masked(nn.Module):
    """weight x mask. With a dense gradient masked weights keep receiving the gradient (straight through)."""

    mask: Tensor

    def __init__(self, weight: Tensor, *, dense_gradient: bool) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight))
        self.register_buffer("std", weight.detach().std(correction=0))
        self.dense_gradient = dense_gradient

    def forward(self, weight: Tensor) -> Tensor:
        """Same shape."""
        masked = weight * self.mask
        return weight + (masked - weight).detach() if self.dense_gradient else masked


class GradualMagnitude:
    """Gradual magnitude pruning: density(f) = d + (1 - d)(1 - f)^3, the smallest weights of the whole network go.

    Source: Zhu and Gupta, "To prune, or not to prune", arXiv 1710.01878, equation 1. They rank within each layer at a
    sparsity set by hand; ranking over all layers is the stronger and needs no number per layer. ranking "plain"
    compares |w|, "std" compares |w| / std of the layer at the start, where self-pruning's thresholds start from.
    """

    beside_file: int | None = None

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,  # noqa: ARG002 - the interface
        density: float,
        steps: int,
        *,
        dense_gradient: bool,
        ranking: str = "plain",
    ) -> None:
        self.model, self.density, self.steps, self.ranking, self.taken = model, density, steps, ranking, 0
        self.masks = parametrize_all(model, lambda weight: Masked(weight, dense_gradient=dense_gradient))

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters())}]

    def penalty(self) -> Tensor:
        return torch.zeros(())

    def step(self) -> None:
        self.taken += 1
        if self.taken % EVERY == 0:
            left = max(0.0, 1 - self.taken / (ARRIVAL * self.steps))
            self._cut(self.density + (1 - self.density) * left**3)

    def harden(self) -> None:
        self._cut(self.density)
        for mask in self.masks.values():
            mask.dense_gradient = False

    @torch.no_grad()
    def _cut(self, density: float) -> None:
        weights = {name: original(self.model, name) for name in self.masks}
        scores = {
            name: weight.abs() / (self.masks[name].std if self.ranking == "std" else 1.0)
            for name, weight in weights.items()
        }
        for name, kept in largest(scores, density).items():
            self.masks[name].mask.copy_(kept)

    def tuned(self, epoch: int, epochs: int) -> None:
        """Nothing."""

    def packed(self, example: Tensor) -> None:  # noqa: ARG002 - the interface
        return None

    def strip(self) -> None:
        strip(self.model)

    def densities(self) -> dict[str, float]:
        return {name: float(mask.mask.mean()) for name, mask in self.masks.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "dense": [mask.dense_gradient for mask in self.masks.values()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken = state["taken"]
        for mask, dense in zip(self.masks.values(), state["dense"], strict=True):
            mask.dense_gradient = dense


class _LongTailedStep(torch.autograd.Function):
    """x > 0 forward; backward 2 - 4|x| for |x| <= 0.4, 0.4 up to 1, 0 beyond (DST, equation 5)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        size = ctx.saved_tensors[0].abs()
        slope = torch.where(size <= 0.4, 2 - 4 * size, 0.4 * (size <= 1))
        return grad * slope


class TrainableMask(nn.Module):
    """weight x step(|weight| - t), one threshold t >= 0 an output unit; after hardening a fixed mask."""

    fixed: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.t = nn.Parameter(torch.zeros(weight.shape[0], *(1,) * (weight.dim() - 1)))
        self.register_buffer("mask", torch.ones_like(weight))
        self.register_buffer("fixed", torch.tensor(False))

    def forward(self, weight: Tensor) -> Tensor:
        """Same shape."""
        return weight * (self.mask if self.fixed else _LongTailedStep.apply(weight.abs() - self.t))


GAIN = 30.0  # of the feedback on the penalty: e-folds of alpha over a run that is a factor e off


class DynamicThreshold:
    """Dynamic sparse training: trainable masked layers, a threshold an output unit, penalty alpha sum exp(-t).

    Source: Liu, Xu, Shi, Cheung, So, "Dynamic sparse training", ICLR 2020, equations 3 to 7. They find the alpha that
    gives the wanted density by hand; here alpha is raised and lowered by feedback along the same moving density that
    self-pruning's budget follows, which spares the rival that search. The final cut to the exact density takes the
    smallest |w| - t.
    """

    beside_file: int | None = None

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,  # noqa: ARG002 - the interface
        density: float,
        steps: int,
        *,
        alpha: float = 1e-5,
        threshold_lr: float = 3e-3,
    ) -> None:
        self.model, self.density, self.steps, self.taken = model, density, steps, 0
        self.alpha, self.threshold_lr = alpha, threshold_lr
        self.masks = parametrize_all(model, TrainableMask)

    def groups(self) -> list[dict[str, Any]]:
        thresholds = [mask.t for mask in self.masks.values()]
        known = {id(t) for t in thresholds}
        weights = [p for p in self.model.parameters() if id(p) not in known]
        return [{"params": weights}, {"name": "thresholds", "params": thresholds, "lr": self.threshold_lr}]

    def penalty(self) -> Tensor:
        return self.alpha * torch.stack([torch.exp(-mask.t).sum() for mask in self.masks.values()]).sum()

    @torch.no_grad()
    def step(self) -> None:
        for mask in self.masks.values():
            mask.t.clamp_(min=0)
        self.taken += 1
        if self.taken % 10 == 0:
            reference = self.density ** min(1.0, self.taken / (ARRIVAL * self.steps))
            error = math.log(self.present_density() / reference)
            self.alpha *= math.exp(GAIN * 10 / self.steps * max(-1.0, min(1.0, error)))

    def present_density(self) -> float:
        """Over the whole network."""
        kept = sum(int((self._margin(name) > 0).sum()) for name in self.masks)
        return max(kept, 1) / sum(mask.mask.numel() for mask in self.masks.values())

    @torch.no_grad()
    def harden(self) -> None:
        for name, kept in largest({name: self._margin(name) for name in self.masks}, self.density).items():
            self.masks[name].mask.copy_(kept)
            self.masks[name].fixed.fill_(True)

    def _margin(self, name: str) -> Tensor:
        return original(self.model, name).detach().abs() - self.masks[name].t.detach()

    def tuned(self, epoch: int, epochs: int) -> None:
        """Nothing."""

    def packed(self, example: Tensor) -> None:  # noqa: ARG002 - the interface
        return None

    def strip(self) -> None:
        strip(self.model)

    def densities(self) -> dict[str, float]:
        return {
            name: float((mask.mask if mask.fixed else self._margin(name) > 0).float().mean())
            for name, mask in self.masks.items()
        }

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "alpha": self.alpha}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken, self.alpha = state["taken"], state["alpha"]


def parametrize_all(model: nn.Module, make: Any) -> dict[str, Any]:
    """Put every Linear's and Conv2d's weight under make(weight); module path -> what was made."""
    made = {}
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Linear | nn.Conv2d):
            made[path] = make(module.weight)
            parametrize.register_parametrization(module, "weight", made[path])
    return made


def original(model: nn.Module, path: str) -> Tensor:
    """The parameter behind a parametrized weight."""
    return model.get_submodule(path).parametrizations.weight.original


def strip(model: nn.Module) -> None:
    """Bake the parametrized weights in."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            parametrize.remove_parametrizations(module, "weight")


def largest(scores: dict[str, Tensor], density: float) -> dict[str, Tensor]:
    """Masks of the fraction `density` with the largest scores over all layers, exact to the weight."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    mask = torch.zeros_like(flat, dtype=torch.bool)
    mask[flat.topk(max(1, round(density * len(flat)))).indices] = True
    parts = mask.split([score.numel() for score in scores.values()])
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}
