"""What a network's loss would be if it knew nothing of its examples: that of its outputs beside labels of others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from secateur.train.task import Task, loss_of, outputs_of, parts_of

ROUNDING = 1e-6
"""Of a loss, relative: what the order of a sum makes of it."""


@dataclass(frozen=True)
class Losses:
    """The loss of every batch, and how much larger it is on average beside labels of other examples.

    gain  None where no batch can tell: its examples are not told apart and none is like another, labels make no
          difference to the loss, or it overflows
    """

    right: tuple[float, ...]
    gain: float | None


@torch.no_grad()
def losses(task: Task, model: nn.Module, batches: list[Any]) -> Losses:
    """Of a model in the mode it is in. Labels are taken from another batch of the same shapes, where there is one, and
    outputs in another order of their examples, where they have one: so classes may be sorted either way."""
    draw = torch.Generator().manual_seed(0)
    right, gains = [], []
    for batch, other in zip(batches, _partners(batches, draw), strict=True):
        inputs, labels = parts_of(batch)
        outputs = outputs_of(model, inputs)
        right.append(float(loss_of(task, outputs, labels)))
        turned = _turned(outputs, draw)
        if other is None and turned is None:
            continue
        wrong = loss_of(task, outputs if turned is None else turned, labels if other is None else parts_of(other)[1])
        gains.append(float(wrong) - right[-1])
    largest = max(map(abs, right), default=0.0)
    told = any(abs(gain) > ROUNDING * largest for gain in gains)
    gain = sum(gains) / len(gains) if told else math.inf
    return Losses(tuple(right), gain if math.isfinite(gain) else None)


def _partners(batches: list[Any], draw: torch.Generator) -> list[Any]:
    """For every batch another one, drawn among those of the same shapes; None where there is none."""
    alike: dict[Any, dict[int, Any]] = {}
    for batch in batches:
        alike.setdefault(_form(batch), {})[id(batch)] = batch  # some may be there several times
    found = []
    for batch in batches:
        others = [other for key, other in alike[_form(batch)].items() if key != id(batch)]
        found.append(others[int(torch.randint(len(others), (), generator=draw))] if others else None)
    return found


def _form(batch: Any) -> tuple[str, tuple[Any, ...]]:
    leaves, tree = _pytree.tree_flatten(parts_of(batch))
    return str(tree), tuple(tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf) for leaf in leaves)


def _turned(outputs: Any, draw: torch.Generator) -> Any:
    """Outputs, a tree of tensors with the same examples in dimension 0, in a random order that leaves none in its
    place; None where they are anything else, or one example."""
    leaves, tree = _pytree.tree_flatten(outputs)
    counts = {len(leaf) for leaf in leaves if _has_examples(leaf)}
    if len(counts) != 1 or (count := counts.pop()) < 2:
        return None
    ring = torch.randperm(count, generator=draw)
    order = torch.empty_like(ring)
    order[ring] = ring.roll(1)
    turned = [leaf[order.to(leaf.device)] if _has_examples(leaf) else leaf for leaf in leaves]
    return _pytree.tree_unflatten(turned, tree)


def _has_examples(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0
