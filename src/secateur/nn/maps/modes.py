"""A model's calls in training and in evaluation, for those who put something between them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from secateur.errors import PlanError
from secateur.ir.map_names import MAPS
from secateur.nn.fx_graph import TRACING_ERRORS, Calls, calls_of, is_looked_into, place_of
from secateur.nn.mode_kept import mode_kept
from secateur.nn.norms.lagrange_norm import LagrangeNorm
from secateur.nn.recomputed import SPECTRAL_NORM, recomputed
from secateur.nn.sites import PRUNABLE

LEAVES = (*PRUNABLE, nn.Bilinear, LagrangeNorm)
"""Modules that stay calls of modules, subclasses included: what holds the weights of a plan, and norms that look at
their input in training."""


@dataclass(frozen=True)
class Modes:
    """The model's calls in either mode."""

    training: Calls
    evaluation: Calls


def both_modes(model: nn.Module, given: int) -> Modes:
    """A model that is called with `given` inputs, traced twice and left as it was. PlanError where it cannot be."""
    if isinstance(model._modules.get(MAPS), nn.Module):
        raise PlanError("feature maps of this model are quantized already: strip_ it first, or take a fresh copy")
    if "forward" in vars(model):
        raise PlanError(
            f"the forward of this {type(model).__name__} was replaced on the object itself, which tracing does not "
            "see: put it into the class, or leave out maps="
        )
    _refuse_power_iterations(model)
    found: dict[bool, Calls] = {}
    for training in (True, False):
        with mode_kept(model):
            model.train(training)
            try:
                found[training] = calls_of(model, given, LEAVES, buffers=True)
            except TRACING_ERRORS as error:
                raise PlanError(cannot_trace(model, error)) from error
    return Modes(found[True], found[False])


def _refuse_power_iterations(model: nn.Module) -> None:
    """PlanError for a block that torch.nn.utils.spectral_norm watches: it works on buffers in place and without
    gradients, of which the calls that are traced know nothing, and would fail in training."""
    for path, module in model.named_modules():
        for name, maker in recomputed(module).items():
            # The hooks of the model itself go on being called, and so do those of what stays the call of a module.
            if maker is SPECTRAL_NORM and module is not model and is_looked_into(module, LEAVES):
                raise PlanError(
                    f"feature maps of {type(model).__name__} cannot be quantized: {maker.told([f'{path}.{name}'])} of "
                    f"a block whose code is traced: {maker.undone(name)}, or leave out maps="
                )


def cannot_trace(model: nn.Module, error: BaseException) -> str:
    """Why a model has no maps that could be quantized, and what to do."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[0].strip().rstrip('.') if lines else 'no message'}{place_of(error)}"
    return (
        f"feature maps of {type(model).__name__} cannot be quantized, because torch.fx cannot trace it: {reason}. Let "
        "code that runs depend on shapes and settings alone, hide what cannot in a function under torch.fx.wrap, or "
        "leave out maps="
    )
