"""Quantize a model that was just cut: ranges of least squared error on the weights that stayed, the widths a target
asks for, and biases that make up for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from secateur.errors import TargetError
from secateur.ir.target import Target
from secateur.nn.harden import Hardening, harden_under
from secateur.nn.layer_inputs import Inputs
from secateur.nn.learned_width import LearnedWidth
from secateur.nn.map_sites import float_maps_of, maps_of
from secateur.nn.map_widths import refuse_large_floats
from secateur.nn.packing import Packing
from secateur.nn.transform import transforms_of
from secateur.nn.widths import Widths
from secateur.train.calibrate import calibrate_

Told = Callable[[int, int, str], None]


def switch_off_(model: nn.Module) -> None:
    """Weights and feature maps of a prepared model, in place, as they are without quantization."""
    for quantizer in (module for module in model.modules() if isinstance(module, LearnedWidth)):
        quantizer.switch_off()


@torch.no_grad()
def quantize_cut_(
    model: nn.Module, masks: dict[str, Tensor], target: Target, batches: Sequence[Inputs], dense: nn.Module, told: Told
) -> Hardening:
    """Quantize what the masks leave, in place; by its `Hardening` the model is hard afterwards.

    masks    by name of every pruned weight which of it stay
    dense    plain, neither cut nor quantized: whose mean outputs the biases bring back
    TargetError where the narrowest widths do not meet the target with these masks.
    """
    given = [(inputs, None) for inputs in batches]
    calibrate_(model, given, correct_biases=False)
    sites = transforms_of(model)
    widths = Widths(sites, maps_of(model))
    widths.begin(masks)
    _narrow(model, masks, target, widths, Packing(model, batches[0], target.values))
    chosen = [masks[site.name] for site in sites if site.transform.prunes]
    result = harden_under(sites, chosen, 1.0, widths)
    calibrate_(model, given, dense=dense, told=told)
    return result


def _narrow(model: nn.Module, masks: dict[str, Tensor], target: Target, widths: Widths, packing: Packing) -> None:
    """Narrower widths, the cheapest first, until they meet the target."""
    if target.largest_map_bytes is not None:
        refuse_large_floats(float_maps_of(model), target.largest_map_bytes)
        widths.maps.fit(target.largest_map_bytes)

    def limits() -> str:
        return _operations(target, widths, masks) or _average(target, widths, masks)

    _until(lambda: widths.narrow_operations(masks), lambda: _operations(target, widths, masks))
    _until(lambda: widths.narrow(masks), lambda: _average(target, widths, masks))
    counted = target.density is not None or all(
        site.transform.prune.is_fixed for site in transforms_of(model) if site.transform.prunes
    )
    if target.packed_bytes is not None and counted:  # else fewer weights stay, which costs less than a width
        size = replace(target, macs=None)
        _until(lambda: widths.narrow(masks), lambda: packing.excess(masks, size, widths.bits))
        widths.widen(lambda: not limits() and not packing.excess(masks, size, widths.bits))
    else:
        widths.widen(lambda: not limits())


def _until(narrow: Callable[[], bool], excess: Callable[[], str]) -> None:
    while problem := excess():
        if not narrow():
            raise TargetError(
                f"in the narrowest widths of this plan's rules the weights that stay have {problem}: allow more or "
                "narrower ones, or keep fewer weights"
            )


def _operations(target: Target, widths: Widths, masks: dict[str, Tensor]) -> str:
    limit = target.bit_operations
    found = 0 if limit is None else widths.operations(masks)
    return "" if limit is None or found <= limit else f"{found:,} bit operations, the limit is {limit:,}"


def _average(target: Target, widths: Widths, masks: dict[str, Tensor]) -> str:
    limit = target.average_bits
    found = 0.0 if limit is None else widths.average(masks)
    return "" if limit is None or found <= limit else f"{found:.4g} bits a weight, the limit is {limit:g}"
