"""Feature maps under quantization: where a prepared model keeps their quantizers; and whether a model is prepared."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from secateur.errors import PlanError
from secateur.ir.plan_rows import MapPlan
from secateur.nn.map_quantize import MapQuantize
from secateur.nn.transform import Transformed, transforms_of

MAPS = "secateur_maps"
"""The module of the root that holds the quantizers: a ModuleDict by `key_of` a map's name."""


@dataclass(frozen=True)
class MapSite:
    """One quantized feature map: its name and row in the plan, and what quantizes it."""

    name: str
    row: MapPlan
    quantizer: MapQuantize


def key_of(name: str) -> str:
    """The key of a map's quantizer: a module's name may hold no dot."""
    return name.replace(".", ":")


def name_of(key: str) -> str:
    """The name of a map by the key of its quantizer."""
    return key.replace(":", ".")


def scale_key(key: str) -> str:
    """The state-dict key of a frozen map's scale, and so the name of a constant in an artifact's graph."""
    return f"{MAPS}.{key}.scale"


def maps_of(model: nn.Module) -> tuple[MapSite, ...]:
    """Every quantized feature map of a prepared model, in the order in which they are made; none of a restored one."""
    holder = getattr(model, MAPS, None)
    quantizers = holder.values() if isinstance(holder, nn.ModuleDict) else ()
    rows = ((one.row, one) for one in quantizers if isinstance(one, MapQuantize))
    return tuple(MapSite(row.name, row, one) for row, one in rows if row is not None)


def prepared_sites(model: nn.Module) -> tuple[tuple[Transformed, ...], tuple[MapSite, ...]]:
    """Transformed weights and quantized feature maps; PlanError for a model that has neither."""
    weights, maps = transforms_of(model), maps_of(model)
    if not weights and not maps:
        raise PlanError("this model is not prepared: call prepare_(model, plan) first")
    return weights, maps
