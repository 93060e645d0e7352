"""prepare_(): put every tensor a plan prunes or quantizes under its WeightTransform, and a quantizer behind every map
that it quantizes, in place."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from secateur.errors import PlanError
from secateur.ir.plan import Plan
from secateur.ir.plan_rows import INPUT, TensorPlan
from secateur.ir.rules import near
from secateur.nn.dynamic_map import DynamicMap
from secateur.nn.map_quantize import MapQuantize
from secateur.nn.maps.flow import BUFFER, PARAMETER
from secateur.nn.maps.insertion import Insertion, quantizers_of
from secateur.nn.recomputed import all_recomputed
from secateur.nn.recurrent import read_afresh
from secateur.nn.sites import Site, find_sites
from secateur.nn.transform import WeightTransform, transforms_of


@torch.no_grad()
def prepare_(model: nn.Module, plan: Plan) -> nn.Module:
    """Parametrize the weights the plan prunes or quantizes, and quantize the feature maps it names; returns the model.
    All or nothing: a plan that does not fit changes nothing.

    Build the optimizer after this call (`param_groups`): thresholds, ranges and widths are new parameters. Quantizers
    of maps are in model.secateur_maps, and the model's forward is now the calls of its own, in training and in
    evaluation, with these between them; its modules, keys and hooks of leaves stay. Hooks of modules whose own code was
    traced do not run any more.
    """
    if transforms_of(model) or quantizers_of(model) is not None:
        raise PlanError("this model is already prepared: strip_ it first, or prepare a fresh copy")
    if not plan.changed and not plan.quantized_maps:
        raise PlanError(
            "this plan changes nothing, so preparing would be a silent no-op: plan(model, example, prune=Prune())"
            + _first_recomputed(model)
        )
    chosen = _match(find_sites(model), plan)
    for row, site in chosen:
        _check(row, site)
    insertion = _insertion(model, plan)
    for row, site in chosen:
        # One transform object at every end: tied weights stay one parameter with one threshold.
        transform = WeightTransform(site.tensor.detach(), row, site.channel_axis() or 0)
        for _, module, name in site.ends:
            parametrize.register_parametrization(module, name, transform)
    for module in {module for _, site in chosen for _, module, _ in site.ends if isinstance(module, nn.RNNBase)}:
        read_afresh(module)
    if insertion is not None:
        insertion.install()
    return model


def _first_recomputed(model: nn.Module) -> str:
    """Why no rule may have helped: weights that are no parameters, and how to make them some."""
    for maker, names in all_recomputed(model).items():
        return f"; {maker.told(names)}, so that it is no parameter: {maker.undone(names[0].rpartition('.')[2])}"
    return ""


def _insertion(model: nn.Module, plan: Plan) -> Insertion | None:
    """Fresh quantizers of all maps that the plan quantizes."""
    quantizers: dict[str, nn.Module] = {}
    for row in plan.quantized_maps:
        assert row.quantize is not None
        elements = 0 if row.kind in (PARAMETER, BUFFER) else row.size  # those are in the file and no example's
        shape = row.quantize, row.signed, elements
        quantizer = DynamicMap(*shape, row.per) if row.quantize.is_dynamic else MapQuantize(*shape)
        quantizers[row.name], quantizer.row = quantizer, row
    given = sum(row.kind == INPUT for row in plan.maps)
    if not quantizers:
        return None
    insertion = Insertion(model, quantizers, given)
    insertion.home.floats = tuple(row for row in plan.maps if row.float_bytes)
    return insertion


def _match(sites: list[Site], plan: Plan) -> list[tuple[TensorPlan, Site]]:
    by_name = {name: site for site in sites for name in site.names}
    for row in plan:
        if row.name not in by_name:
            raise PlanError(f"the plan speaks of {row.name!r}, which this model does not have{near(row.name, by_name)}")
    return [(row, by_name[row.name]) for row in plan.changed]


def _check(row: TensorPlan, site: Site) -> None:
    for rule, done in ((row.prune, "pruned"), (row.quantize, "quantized")):
        if rule is not None and (refusal := site.refusal(rule)):
            raise PlanError(f"{row.name} cannot be {done}: {refusal}")
    if row.prune is not None and (unfit := site.unfit(row.prune)):
        raise PlanError(f"{row.name} cannot be pruned by {row.prune.method}: {unfit}")
    if tuple(site.tensor.shape) != row.shape:
        raise PlanError(f"{row.name} has shape {tuple(site.tensor.shape)}, the plan was made for {row.shape}")
    if set(site.names) != {row.name, *row.tied}:
        raise PlanError(
            f"{row.name} is one tensor with {site.names}, the plan says {(row.name, *row.tied)}: plan again"
        )
    if not torch.isfinite(site.tensor).all():
        raise PlanError(f"{row.name} holds NaN or infinity: nothing can be learned from it")
    if not site.tensor.any():
        raise PlanError(
            f"{row.name} is all zero: its threshold or range would have no scale; train it first or skip it"
        )
