"""plan(): look at a model and say, tensor by tensor and map by map, what may change and why the rest is kept."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from secateur.errors import PlanError
from secateur.ir.plan import Plan
from secateur.ir.plan_rows import NO_PATTERN, NOT_CHOSEN, TensorPlan, check_rules
from secateur.ir.rules import Prune, Quantize, named_rule
from secateur.nn.maps.planning import plan_maps
from secateur.nn.sites import Site, find_sites, measure_reuse


def plan(
    model: nn.Module,
    example: Any,
    *,
    prune: Prune | None = None,
    quantize: Quantize | None = None,
    maps: Quantize | str | None = None,
    skip: tuple[str, ...] = (),
) -> Plan:
    """A Plan with one row for every parameter tensor and, where `maps` is given, one for every feature map.

    example  a tensor or tuple of tensors the model accepts, batch first; run once without gradients to count
             multiply-accumulates
    prune    the rule for every tensor that can be pruned: the weights of the module types in docs/layers.md, but for
             those that are frozen while another parameter trains
    quantize the rule for every tensor that can be quantized, which are the same; first and last layers too, unless
             `Plan.replace` or `skip` says otherwise
    maps     the rule for every feature map that integer arithmetic reads (docs/maps.md); the model's outputs
             stay float; "dynamic": 8 bits at scales found at run time. PlanError for a model that torch.fx cannot trace
    skip     module paths, names of tensors or maps, or shell patterns that are kept; one that names nothing is a
             PlanError
    """
    maps = named_rule(maps)
    check_rules(prune=prune, quantize=quantize, maps=maps)
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise PlanError(f"{lazy[0]} has no shape yet (a lazy module): run the model once before planning")
    reuse = measure_reuse(model, example)
    tensors = tuple(_row(site, reuse.get(id(site.tensor), 0), prune, quantize) for site in find_sites(model))
    rows = Plan(tensors, plan_maps(model, example, maps) if isinstance(maps, Quantize) else ())
    for pattern in (skip,) if isinstance(skip, str) else skip:
        rows = rows.skip(pattern)
    return rows


def _row(site: Site, reuse: int, prune: Prune | None, quantize: Quantize | None) -> TensorPlan:
    _, module, _ = site.ends[0]
    refusal = next((why for why in (site.refusal(prune), site.refusal(quantize)) if why), "")
    unfit = "" if refusal or prune is None else site.unfit(prune)
    return TensorPlan(
        name=site.names[0],
        kind=type(module).__name__,
        shape=tuple(site.tensor.shape),
        reuse=reuse,
        prune=None if refusal or unfit else prune,
        quantize=None if refusal else quantize,
        reason=refusal or (NO_PATTERN + unfit if unfit else "" if prune or quantize else NOT_CHOSEN),
        tied=site.names[1:],
    )
