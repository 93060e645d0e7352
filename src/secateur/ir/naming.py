"""Names of tensors: which module a state-dict key belongs to, and fresh names for tensors that a rewrite makes."""

from __future__ import annotations

from collections.abc import Container

MADE = "constant:"
"""How the names of tensors begin that tracing made (numbers, masks, positions) and no state dict holds."""


def is_made(tensor: str) -> bool:
    """Whether a tensor was made while tracing, so that no model holds it."""
    return tensor.startswith(MADE)


def module_of(tensor: str) -> str:
    """The module that owns a tensor: "layer1.conv.weight" -> "layer1.conv"; a tensor of the root module gives ""."""
    return tensor.rpartition(".")[0]


def fresh(name: str, taken: Container[str]) -> str:
    """`name` itself when free, else the first free of name_1, name_2, ..."""
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def bias_beside(weight: str, taken: Container[str]) -> str:
    """A free name for the bias of the layer that owns `weight`: "conv1.weight" -> "conv1.bias"."""
    module = module_of(weight)
    return fresh(f"{module}.bias" if module else "bias", taken)
