"""Feature maps under quantization: where a prepared model keeps their quantizers; and whether a model is prepared."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from secateur.errors import PlanError
from secateur.ir.map_names import MAPS
from secateur.ir.plan_rows import MapPlan
from secateur.nn.map_quantize import MapQuantize
from secateur.nn.transform import Transformed, transforms_of


@dataclass(frozen=True)
class MapSite:
    """One quantized feature map: its name and row in the plan, and what quantizes it."""

    name: str
    row: MapPlan
    quantizer: MapQuantize


def maps_of(model: nn.Module) -> tuple[MapSite, ...]:
    """Every quantized feature map of a prepared model, in the order in which they are made; none of a restored one."""
    holder = getattr(model, MAPS, None)
    quantizers = holder.values() if isinstance(holder, nn.ModuleDict) else ()
    rows = ((one.row, one) for one in quantizers if isinstance(one, MapQuantize))
    return tuple(MapSite(row.name, row, one) for row, one in rows if row is not None)


def float_maps_of(model: nn.Module) -> tuple[MapPlan, ...]:
    """The plan's rows of maps that stay float32 in a prepared model; of one whose plan quantizes no map none."""
    return getattr(getattr(model, MAPS, None), "floats", ())


def prepared_sites(model: nn.Module) -> tuple[tuple[Transformed, ...], tuple[MapSite, ...]]:
    """Transformed weights and quantized feature maps; PlanError for a model that has neither."""
    weights, maps = transforms_of(model), maps_of(model)
    if not weights and not maps:
        raise PlanError("this model is not prepared: call prepare_(model, plan) first")
    return weights, maps
