"""Whether a layer computes what torch's own does: no code of its own, and nobody who changes what goes through it."""

from __future__ import annotations

from torch import nn

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
COMPUTES = ("forward", "_conv_forward")


def hooked(module: nn.Module) -> bool:
    """Whether someone watches or changes what goes through a module; torch.nn.utils.weight_norm and spectral_norm do
    it."""
    before, after = module._forward_pre_hooks, module._forward_hooks
    return bool(before or after or module._backward_pre_hooks or module._backward_hooks)


def own_way(layer: nn.Module) -> bool:
    """Whether a linear layer or convolution has code of its own, in its class or on the object itself."""
    kind = next(kind for kind in KINDS if isinstance(layer, kind))
    own = (getattr(type(layer), name, None) is not getattr(kind, name, None) for name in COMPUTES)
    return any(own) or not vars(layer).keys().isdisjoint(COMPUTES)
