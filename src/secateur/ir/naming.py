"""Names of tensors: which module a state-dict key belongs to, and fresh names for tensors that a rewrite makes."""

from __future__ import annotations

from collections.abc import Container

MADE = "constant:"
"""How the names of tensors begin that tracing made (numbers, masks, positions) and no state dict holds."""


MAX_NAME = 1024
"""Characters of a name, at most."""


def refusal(tensor: str) -> str:
    """Why a file cannot hold a tensor of a model under this name, in words that end in what to do; "" where it can."""
    shown = repr(tensor if len(tensor) <= 40 else f"{tensor[:40]}...")
    if len(tensor) > MAX_NAME:
        return f"{shown} has {len(tensor):,} characters, a name in a file at most {MAX_NAME:,}: rename its module"
    if is_made(tensor):
        return f"{shown} begins like the names of what tracing makes ({MADE}): rename its module"
    if any("\ud800" <= character <= "\udfff" for character in tensor):
        return f"{shown} holds half a character (a surrogate), which is no Unicode: rename its module"
    return ""


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
