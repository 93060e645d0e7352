"""Training mode that respects what a task's model was given frozen, and keeps norms true to what will be packed.

A norm trains on the statistics of its batches, and what is packed uses its running ones. Where those do not follow, the
packed network is another one than the trained.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def train_(model: nn.Module) -> None:
    """Training mode, except for what stays in evaluation mode: norms whose running statistics never move (momentum 0),
    and, in a model that is in training mode itself, modules that are not."""
    kept = frozen(model)
    model.train()
    for module in kept.values():
        module.eval()


def frozen(model: nn.Module) -> dict[str, nn.Module]:
    """By name the modules that stay in evaluation mode during training, without the ones inside of them."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if any(name.startswith(f"{outer}.") for outer in found):
            continue
        if _never_moves(module) or (model.training and not module.training):
            found[name] = module
    return found


def begin_statistics_(model: nn.Module) -> None:
    """To be called at the start of an epoch: norms that average over all their batches (momentum None) begin anew, or
    what they saw before, of other weights, would outweigh what they see now."""
    for module in model.modules():
        if isinstance(module, _NormBase) and module.momentum is None and module.training:
            batches: Tensor | None = module.num_batches_tracked
            if batches is not None:
                batches.zero_()


def _never_moves(module: nn.Module) -> bool:
    return isinstance(module, _NormBase) and module.momentum == 0 and module.running_mean is not None
