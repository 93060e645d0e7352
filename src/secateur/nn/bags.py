"""nn.EmbeddingBag as a graph has it: look-ups, then a sum, mean or maximum over the rows of each bag."""

from __future__ import annotations

from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.errors import GraphError
from secateur.nn.copying import copied


def as_rows_(model: nn.Module) -> nn.Module:
    """Make every EmbeddingBag compute the same from look-ups that a graph can hold, in place; for a copy to export.

    A bag is a row of a matrix of ids. GraphError, when the model runs, for bags that offsets cut out of one list of
    ids, whose sizes a graph cannot know, and for the maximum of bags with padding. A subclass with a forward pass of
    its own is left alone.
    """
    for path, module in model.named_modules():
        if _is_bag(module):
            module.forward = partial(_rows, module, path or "the model")
    return model


def refuse_offsets(model: nn.Module, example: object) -> None:
    """GraphError, with the way out, where a bag of the model is given by offsets: then the inputs of the example need
    not share one batch, and cannot be judged by that. Nothing happens to a model without bags."""
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    if not any(map(_is_bag, model.modules())) or not all(isinstance(part, Tensor) for part in inputs):
        return
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        twin = as_rows_(copied(model).cpu().eval())
        twin(*(part.cpu().clone() for part in inputs if isinstance(part, Tensor)))


def _is_bag(module: nn.Module) -> TypeGuard[nn.EmbeddingBag]:
    return isinstance(module, nn.EmbeddingBag) and type(module).forward is nn.EmbeddingBag.forward


def _rows(
    bag: nn.EmbeddingBag,
    path: str,
    input: Tensor,
    offsets: Tensor | None = None,
    per_sample_weights: Tensor | None = None,
) -> Tensor:
    if offsets is not None or input.dim() != 2:
        raise GraphError(
            f"{path} (EmbeddingBag) is given its bags as one list of ids with offsets, and no graph knows how long "
            "each is: give them as rows of a matrix, short ones filled up with padding_idx"
        )
    rows, factors = F.embedding(input, bag.weight), per_sample_weights
    count: float | Tensor = input.shape[1]
    if bag.padding_idx is not None:
        if bag.mode == "max":
            raise GraphError(f"{path} (EmbeddingBag) takes the maximum over bags with padding, which no graph has")
        kept = (input != bag.padding_idx).to(rows.dtype)
        count = kept.sum(1, keepdim=True).clamp_min(1)
        factors = kept if factors is None else kept * factors
    if bag.mode == "max":
        return F.max_pool1d(rows.transpose(1, 2), input.shape[1]).squeeze(2)
    total = (rows if factors is None else rows * factors.unsqueeze(2)).sum(1)
    return total / count if bag.mode == "mean" else total
