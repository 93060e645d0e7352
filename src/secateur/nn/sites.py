"""Which tensors of which modules can be pruned, where else the same tensor is used, and how often each weight
multiplies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

PRUNABLE: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("weight",),
    nn.Conv1d: ("weight",),
    nn.Conv2d: ("weight",),
    nn.MultiheadAttention: ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
}
"""Module type (subclasses included) -> its weights a plan may prune. MultiheadAttention.out_proj is a Linear of its
own."""

TIEABLE: dict[type[nn.Module], tuple[str, ...]] = {**PRUNABLE, nn.Embedding: ("weight",)}
"""Module type -> weights that can at least be the other end of a tie: the layer reads them as an attribute when it
runs."""


@dataclass
class Site:
    """One tensor of a model and every place that holds it, in the model's order."""

    ends: list[tuple[str, nn.Module, str]] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """State-dict keys, the first one first."""
        return tuple(f"{path}.{tensor}" if path else tensor for path, _, tensor in self.ends)

    @property
    def tensor(self) -> Tensor:
        """The tensor itself."""
        _, module, name = self.ends[0]
        return getattr(module, name)

    def refusal(self) -> str:
        """Why this tensor cannot be pruned, or the empty string."""
        path, module, name = self.ends[0]
        if not any(_allowed(m, n, PRUNABLE) for _, m, n in self.ends):
            return f"{type(module).__name__}.{name} has no pruning rule"
        if not self.tensor.is_floating_point() or self.tensor.dim() < 2:
            return "not a floating-point matrix"
        for path, module, name in self.ends:
            if not _allowed(module, name, TIEABLE):
                return f"tied to {path}.{name} of {type(module).__name__}, which cannot be transformed"
        return ""


def _allowed(module: nn.Module, name: str, table: dict[type[nn.Module], tuple[str, ...]]) -> bool:
    return any(isinstance(module, kind) and name in names for kind, names in table.items())


def original_of(module: nn.Module, name: str) -> nn.Parameter:
    """The parameter behind a parametrized tensor: what an optimizer steps."""
    chains = cast(nn.ModuleDict, module.parametrizations)
    return cast(nn.Parameter, chains[name].original)


def find_sites(model: nn.Module) -> list[Site]:
    """Every parameter tensor of a model once, with all its ends, in the model's order.

    A weight that another parametrization already owns (weight norm, spectral norm, or an earlier `prepare_`) appears
    under that parametrization's own name and is therefore never prunable.
    """
    sites: dict[int, Site] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            sites.setdefault(id(parameter), Site()).ends.append((path, module, name))
    return list(sites.values())


def measure_reuse(model: nn.Module, example: Any) -> dict[int, int]:
    """id(tensor) -> how often each of its weights is multiplied for one example, by running the model once without
    gradients.

    example is a tensor or a tuple of tensors whose dimension 0 is the batch. Modules are left in the mode they were in.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    batch = max(1, inputs[0].shape[0])
    reuse: dict[int, int] = {}

    def watch(counter: Callable[[nn.Module, Any], dict[str, int]]) -> Callable[..., None]:
        def hook(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
            for name, positions in counter(module, output).items():
                tensor = _tensor_at(module, name)
                if tensor is not None:
                    reuse[id(tensor)] = reuse.get(id(tensor), 0) + positions // batch

        return hook

    hooks = [
        module.register_forward_hook(watch(counter))
        for module in model.modules()
        for kind, counter in _POSITIONS.items()
        if isinstance(module, kind)
    ]
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in hooks:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return reuse


def _tensor_at(module: nn.Module, dotted: str) -> Tensor | None:
    *path, name = dotted.split(".")
    for part in path:
        module = getattr(module, part)
    if parametrize.is_parametrized(module, name):
        chain = cast(nn.ModuleDict, module.parametrizations)[name]
        # Weight norm and its like keep several originals: none of them is the matrix that multiplies.
        return original_of(module, name) if hasattr(chain, "original") else None
    return getattr(module, name)


def _linear_positions(module: Any, output: Tensor) -> dict[str, int]:
    return {"weight": output.numel() // module.out_features}


def _convolution_positions(module: Any, output: Tensor) -> dict[str, int]:
    return {"weight": output.numel() // module.out_channels}


def _attention_positions(module: Any, output: Any) -> dict[str, int]:
    tokens = output[0].numel() // module.embed_dim
    # MultiheadAttention hands out_proj's weight to a function, so that Linear's own hook never fires.
    names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight")
    return dict.fromkeys(names, tokens)


_POSITIONS: dict[type[nn.Module], Callable[[Any, Any], dict[str, int]]] = {
    nn.Linear: _linear_positions,
    nn.Conv1d: _convolution_positions,
    nn.Conv2d: _convolution_positions,
    nn.MultiheadAttention: _attention_positions,
}
