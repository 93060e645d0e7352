"""Task: a model with its data and the judgement of its output. What a user writes once and every verb takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from secateur.errors import DataError
from secateur.nn.mode_kept import mode_kept
from secateur.train.replay import replayed


class Batches(Sized, Iterable[Any], Protocol):
    """What a loop draws from: (inputs, labels) pairs, iterable any number of times; a DataLoader is one."""


@dataclass(frozen=True)
class Task:
    """A model, its data and its measure. DataError for batches that cannot be counted or come only once.

    model             the network, trained or not
    example           a tensor or tuple of tensors the model accepts, batch first
    train, val        batches of (inputs, labels); thresholds, early stopping and limits look at val, never at a test
                      set. inputs: a tensor, or a tuple or list of them for a model of several inputs. What does not
                      train (cutting at once, checking a file) also takes batches that are inputs alone
    loss              loss(model(inputs), labels), a scalar
    metric            metric(model(inputs), labels), the mean over one batch, a number
    higher_is_better  whether a larger metric is a better model
    """

    model: nn.Module
    example: Any
    train: Batches
    val: Batches
    loss: Callable[[Tensor, Any], Tensor]
    metric: Callable[[Tensor, Any], float]
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise DataError(f"model is a torch.nn.Module, not a {type(self.model).__name__}")
        for part in ("train", "val"):
            batches = getattr(self, part)
            if hasattr(batches, "__next__"):
                raise DataError(f"{part} is an iterator, empty after one epoch; give a list or a DataLoader")
            try:
                len(batches)
            except TypeError as error:
                raise DataError(
                    f"nobody knows how many batches {part} has ({error}): give a list, or a DataLoader over data with "
                    "a __len__"
                ) from None


def outputs_of(model: nn.Module, inputs: Any) -> Any:
    """The model on the inputs of a batch: a tuple or list of them is several arguments."""
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def parts_of(batch: Any) -> tuple[Any, Any]:
    """Inputs and labels of a batch; DataError where it is anything else."""
    if not has_labels(batch):
        of = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise DataError(f"a batch is a pair (inputs, labels), not a {type(batch).__name__}{of}")
    return batch[0], batch[1]


def has_labels(batch: Any) -> bool:
    """Whether a batch is a pair (inputs, labels); anything else is inputs alone."""
    return isinstance(batch, (tuple, list)) and len(batch) == 2


def inputs_of(batch: Any) -> Any:
    """The inputs of a batch, which may be a pair (inputs, labels) or inputs alone."""
    return batch[0] if has_labels(batch) else batch


def examples_of(inputs: Any) -> int:
    """How many examples the inputs of a batch hold: the first dimension of their first tensor."""
    first = next(leaf for leaf in _pytree.tree_leaves(inputs) if isinstance(leaf, Tensor))
    return len(first)


def unscored(task: Task) -> str:
    """Why the validation data cannot give a score, in words; "" where they can."""
    with replayed(task.val):
        batch = next(iter(task.val), None)
    if batch is None:
        return "the task's val gave no batch"
    return "" if has_labels(batch) else "the batches of the task's val are inputs without labels"


def loss_of(task: Task, outputs: Any, labels: Any) -> Tensor:
    """The task's loss, a scalar tensor; DataError where it gives anything else."""
    loss = task.loss(outputs, labels)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise DataError(f"the loss of a batch is a tensor with one number, got {found}: return its mean")
    return loss.reshape(())


@torch.no_grad()
def score(task: Task, model: nn.Module | None = None) -> float:
    """Mean metric over the validation batches, each weighted by its examples, in evaluation mode; the mode is restored.
    NaN without batches; DataError for a metric that is no number.

    The batches come in the same order every time, as generators they are drawn with are seeded for it, and global
    ones; all are put back."""
    judged = task.model if model is None else model
    total, count = 0.0, 0
    with mode_kept(judged), replayed(task.val):
        judged.eval()
        for batch in task.val:
            inputs, labels = parts_of(batch)
            size = _size(inputs, labels)
            total += _number(task.metric(outputs_of(judged, inputs), labels)) * size
            count += size
    return total / count if count else float("nan")


def _number(found: Any) -> float:
    try:
        return float(found)
    except (TypeError, ValueError, RuntimeError):
        kind = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise DataError(f"the metric of a batch is a number, got {kind}: return its mean") from None


def _size(inputs: Any, labels: Any) -> int:
    """Examples of a batch: the extent of its inputs' first tensor, or of its labels' where these hold none.

    Labels may list for every example what is in it, boxes, say, of which there are more or fewer.
    """
    for part in (inputs, labels):
        for leaf in _pytree.tree_leaves(part):
            if isinstance(leaf, Tensor) and leaf.ndim:
                return len(leaf)
    return len(labels)


ROUNDING = 1e-6
"""Of a score, relative: what float32 sums leave of it."""


def holds(drop: float, limit: float, dense: float) -> bool:
    """Whether a drop from the dense model's score is within a limit, rounding aside: 0.92 - 0.91 is within 0.01."""
    return drop <= limit + ROUNDING * max(abs(limit), abs(dense))


def accuracy(output: Tensor, labels: Tensor) -> float:
    """Fraction of rows whose largest logit is the label: a metric for classifiers."""
    return float((output.argmax(1) == labels).double().mean())
