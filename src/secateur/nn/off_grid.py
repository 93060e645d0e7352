"""The same network without quantization: what a prepared or hardened one would compute were every grid fine enough."""

from __future__ import annotations

from torch import nn

from secateur.nn.copying import copied
from secateur.nn.learned_width import LearnedWidth
from secateur.nn.transform import transforms_of


def off_grid(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose weights and feature maps are not quantized; pruned as the model is."""
    twin = copied(model).eval()
    for quantizer in (module for module in twin.modules() if isinstance(module, LearnedWidth)):
        quantizer.switch_off()
    return twin


def on_grid(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose weights and feature maps have the widths and scales they would be hardened to."""
    twin = copied(model).eval()
    for site in transforms_of(twin):
        stage = site.transform.quantize
        if stage is not None and not stage.is_hard:
            stage.settle(site.transform.survivors(site.original), stage.width())
    for quantizer in (module for module in twin.modules() if isinstance(module, LearnedWidth)):
        if not quantizer.is_hard:
            quantizer.harden(quantizer.width())
    return twin
