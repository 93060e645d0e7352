"""Where a loss that is no number comes from: the batch, a gradient of the step before, a layer, or the loss itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from secateur.train.task import Task, outputs_of


@torch.no_grad()
def blame(task: Task, batch: Any) -> str:
    """Which layer was first to give something that is not finite, in words; to be asked before gradients are zeroed.

    The model runs once more on the batch, as it stands.
    """
    if not _finite(batch):
        return "the batch itself holds NaN or infinity"
    outputs = _outputs(task.model, batch[0])
    if broken := _last_gradient(task.model, outputs):
        return f"the gradient of {broken} was the first that is not finite, one step before"
    if weights := [name for name, p in task.model.named_parameters() if not torch.isfinite(p).all()]:
        return f"{readable(weights[0])} holds NaN or infinity"
    if layers := [name for name, finite in outputs if not finite]:
        return f"the output of layer {layers[0]} was the first that is not finite"
    return "every layer's output is finite, the loss function made it"


def readable(name: str) -> str:
    """A parameter's name as the plan has it: "conv1.parametrizations.weight.original" is "conv1.weight"."""
    module, found, rest = name.partition("parametrizations.")
    if not found:
        return name
    tensor, _, inner = rest.partition(".")
    return f"{module}{tensor}" if inner == "original" else f"the threshold of {module}{tensor}"


def _outputs(model: nn.Module, inputs: Any) -> list[tuple[str, bool]]:
    """(name of a module without children, whether its output is finite), in the order they run."""
    found: list[tuple[str, bool]] = []
    names = {module: name for name, module in model.named_modules() if not _inside_parametrization(name)}

    def look(module: nn.Module, _: Any, output: Any) -> None:
        found.append((names[module] or type(module).__name__, _finite(output)))

    leaves = [m for m in names if not any(child in names for child in m.children())]
    hooks = [module.register_forward_hook(look) for module in leaves]
    try:
        outputs_of(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _last_gradient(model: nn.Module, outputs: list[tuple[str, bool]]) -> str:
    """The parameter of the layer nearest to the output whose gradient is not finite: backward reached it first."""
    order = {name: place for place, (name, _) in enumerate(outputs)}
    broken = [name for name, p in model.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
    if not broken:
        return ""
    return readable(max(broken, key=lambda name: order.get(readable(name).split()[-1].rpartition(".")[0], -1)))


def _inside_parametrization(name: str) -> bool:
    return "parametrizations" in name.split(".")


def _finite(values: Any) -> bool:
    leaves = [leaf for leaf in _pytree.tree_leaves(values) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return all(bool(torch.isfinite(leaf).all()) for leaf in leaves)
