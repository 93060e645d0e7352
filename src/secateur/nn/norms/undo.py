"""What swapping norms changes in a model, recorded before, so that it can be taken back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class Record:
    """Weights and biases of layers, and the places of norms in the model, as they are now.

    pairs    a norm and the layer whose weights take its work
    """

    def __init__(self, model: nn.Module, pairs: Iterable[tuple[nn.Module, Any]]) -> None:
        found = list(pairs)
        norms = {norm for norm, _ in found}
        self._layers = [(layer, layer.weight.detach().clone(), layer.bias, _copied(layer.bias)) for _, layer in found]
        self._places = [
            (parent, name, child)
            for parent in model.modules()
            for name, child in parent._modules.items()
            if child is not None and child in norms
        ]

    def put(self, norm: nn.Module, made: nn.Module) -> None:
        """`made` where the norm is, under every name that it has."""
        for parent, name, child in self._places:
            if child is norm:
                setattr(parent, name, made)

    @torch.no_grad()
    def restore(self) -> None:
        """The model as it was: the same modules and parameters, with the numbers they had."""
        for parent, name, child in self._places:
            setattr(parent, name, child)
        for layer, weight, bias, numbers in self._layers:
            layer.weight.copy_(weight)
            layer.bias = bias
            if bias is not None:
                bias.copy_(numbers)


def _copied(bias: torch.Tensor | None) -> torch.Tensor | None:
    return None if bias is None else bias.detach().clone()
