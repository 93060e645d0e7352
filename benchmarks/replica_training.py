"""Training replicas side by side: each with its rate, its order of images and its end, were it to diverge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sct
from image_data import Split

MOMENTUM = 0.9
LOST = 1e15
"""What reaches a norm beyond this has no variance in float32."""
CHUNK = 100
"""Images judged at once, by all replicas."""


class ReplicaSGD:
    """torch.optim.SGD with momentum and a rate a replica, for parameters that `replicas.side_by_side` made."""

    def __init__(self, model: nn.Module, rates: Sequence[float]) -> None:
        self.count = len(rates)
        self.rates = torch.tensor(rates, dtype=next(model.parameters()).dtype).reshape(1, -1, 1)
        self.owned = [(p, self._view(name, p.data)) for name, p in model.named_parameters()]
        self.momenta = [torch.zeros_like(view) for _, view in self.owned]

    def _view(self, name: str, values: Tensor) -> Tensor:
        """(1, replicas, numbers); of multipliers, which hold two rows of channels, (2, replicas, channels)."""
        return values.view(len(values) if name.endswith("multipliers") else 1, self.count, -1)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """By scale times each rate; gradients are forgotten."""
        for (p, view), momentum in zip(self.owned, self.momenta, strict=True):
            if p.grad is not None:
                momentum.mul_(MOMENTUM).add_(p.grad.reshape(view.shape))
                view.addcmul_(momentum, self.rates, value=-scale)
                p.grad = None

    def stop(self, gone: Tensor) -> None:
        """Replicas, a mask, that are no numbers any more: zeros from now on, which disturb nobody."""
        for (_, view), momentum in zip(self.owned, self.momenta, strict=True):
            view[:, gone] = 0
            momentum[:, gone] = 0
        self.rates[:, gone] = 0


@dataclass(frozen=True)
class Course:
    """Which images the replicas see: orders (replicas, images), and how many of them at a step."""

    data: Split
    orders: Tensor
    batch: int

    def __len__(self) -> int:
        return self.orders.shape[1] // self.batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(batch, replicas, height, width) and labels (batch, replicas) of every step."""
        for step in range(len(self)):
            chosen = self.orders[:, step * self.batch : (step + 1) * self.batch].t()
            yield self.data.images[chosen].squeeze(2), self.data.labels[chosen]


def train_replicas(model: nn.Module, rates: Sequence[float], course: Course, every: int = 1) -> Tensor:
    """Train by a cosine from each rate to 0; which replicas, a mask, stayed numbers. The penalty of LagrangeNorm layers
    in training is in the loss, in every so many steps."""
    optimizer = ReplicaSGD(model, rates)
    constrained = [m for m in model.modules() if isinstance(m, sct.LagrangeNorm2d) and m.training]
    finite = torch.ones(len(rates), dtype=torch.bool)
    for step, (images, labels) in enumerate(course):
        while True:
            losses = replica_losses(model, images, labels)
            gone = ~torch.isfinite(losses.detach())
            if not gone.any():
                try:
                    penalty = sct.norm_penalty(model, step=step, every=every) if constrained else 0.0
                    total = losses.sum() + penalty
                    break
                except sct.TrainingError:
                    gone = _lost(model, images)
            for norm in constrained:
                norm.take()
            optimizer.stop(gone)
            finite &= ~gone
        total.backward()
        optimizer.step((1 + math.cos(math.pi * step / len(course))) / 2)
    return finite


def replica_losses(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each replica's batch, (replicas,)."""
    batch, replicas = labels.shape
    logits = model(images).reshape(batch * replicas, -1)
    return F.cross_entropy(logits, labels.reshape(-1), reduction="none").reshape(batch, replicas).mean(0)


@torch.no_grad()
def replica_errors(model: nn.Module, data: Split, replicas: int) -> list[float]:
    """Per cent of a split that each replica gets wrong, in evaluation."""
    model.eval()
    wrong = torch.zeros(replicas)
    for images, labels in zip(data.images.split(CHUNK), data.labels.split(CHUNK), strict=True):
        logits = model(images.expand(-1, replicas, -1, -1)).reshape(len(images), replicas, -1)
        wrong += (logits.argmax(2) != labels[:, None]).sum(0)
    return [round(100 * float(one) / len(data.labels), 2) for one in wrong]


@torch.no_grad()
def _lost(model: nn.Module, images: Tensor) -> Tensor:
    """Which replicas, a mask, send a norm what has no mean or variance."""
    lost = torch.zeros(images.shape[1], dtype=torch.bool)
    with _watched(model, lost):
        model(images)
    if not lost.any():
        raise AssertionError("the penalty is no number, but what reaches every norm is one")
    return lost


@contextmanager
def _watched(model: nn.Module, lost: Tensor) -> Iterator[None]:
    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        largest = inputs[0].abs().amax((2, 3)).reshape(len(inputs[0]), len(lost), -1).amax((0, 2))
        lost.logical_or_(~(largest < LOST))

    hooks = [m.register_forward_pre_hook(look) for m in model.modules() if isinstance(m, sct.LagrangeNorm2d)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
