"""Training mode that respects what a task's model was given frozen, and keeps norms true to what will be packed.

A norm trains on the statistics of its batches, and what is packed uses its running ones. Where those do not follow, the
packed network is another one than the trained.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from secateur.errors import DataError
from secateur.nn.map_sites import maps_of
from secateur.nn.transform import transforms_of


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


def refuse_frozen(model: nn.Module) -> None:
    """DataError for a model, prepared or not, whose every parameter of its own is frozen: thresholds, widths and ranges
    would learn alone, and there would be nothing to fine-tune."""
    learned = [*(site.transform for site in transforms_of(model)), *(site.quantizer for site in maps_of(model))]
    added = {id(parameter) for module in learned for parameter in module.parameters()}
    if not any(parameter.requires_grad and id(parameter) not in added for parameter in model.parameters()):
        raise DataError(
            "every parameter of the model is frozen, so nothing can be trained: model.requires_grad_(True), or cut at "
            "once (one_shot)"
        )


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
