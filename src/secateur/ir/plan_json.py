"""The rows of a plan as JSON objects and back. What a text holds is checked key by key before a row is made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from secateur.errors import PlanError
from secateur.ir.plan_rows import EXAMPLE, ROW, MapPlan, TensorPlan, check_map_rule, check_weight_rule
from secateur.ir.rules import Prune, Quantize, near


def row_to_dict(row: TensorPlan | MapPlan) -> dict[str, Any]:
    """What a row says, without what it and its rules leave empty."""
    data = dataclasses.asdict(row)
    for name in ("prune", "quantize"):
        if data.get(name) is not None:
            data[name] = {key: value for key, value in data[name].items() if value is not None}
    return {key: value for key, value in data.items() if key == "shape" or value not in ((), "", None)}


def tensor_from_dict(data: object) -> TensorPlan:
    """The row of a tensor; PlanError says what is wrong with it."""
    found = _checked(data, TensorPlan, _TENSOR_CHECKS)
    fields: dict[str, Any] = {**found, "shape": tuple(found["shape"]), "tied": tuple(found.get("tied", ()))}
    for key, kind in (("prune", Prune), ("quantize", Quantize)):
        if found.get(key) is not None:
            rule = fields[key] = _rule_from_dict(key, kind, found[key])
            if isinstance(rule, Quantize):
                check_weight_rule(rule)
    return TensorPlan(**fields)


def map_from_dict(data: object) -> MapPlan:
    """The row of a feature map; PlanError says what is wrong with it."""
    found = _checked(data, MapPlan, _MAP_CHECKS)
    fields: dict[str, Any] = {**found, "shape": tuple(found["shape"]), "reads": tuple(found.get("reads", ()))}
    if found.get("quantize") is not None:
        rule = fields["quantize"] = _rule_from_dict("quantize", Quantize, found["quantize"])
        assert isinstance(rule, Quantize)
        check_map_rule(rule)
    return MapPlan(**fields)


def _checked(data: object, kind: type[TensorPlan | MapPlan], checks: Mapping[str, Callable[[Any], bool]]) -> dict:
    if not isinstance(data, dict):
        raise PlanError(f"a row of a plan is an object, got {data!r}")
    known = {field.name for field in dataclasses.fields(kind)}
    for key in data:
        if key not in known:
            raise PlanError(f"unknown key {key!r} in a row{near(key, known)}")
    for key, check in checks.items():
        if key in data and not check(data[key]):
            raise PlanError(f"row {data.get('name')!r}: {key}={data[key]!r} has the wrong type")
    if missing := [key for key in ("name", "kind", "shape") if key not in data]:
        raise PlanError(f"row {data.get('name')!r} lacks {', '.join(missing)}")
    return data


def _rule_from_dict(name: str, kind: type[Prune] | type[Quantize], data: dict[str, Any]) -> Prune | Quantize:
    known = {field.name for field in dataclasses.fields(kind)}
    for key in data:
        if key not in known:
            raise PlanError(f"unknown key {key!r} in a {name} rule{near(key, known)}")
    return kind(**data)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_ROW_CHECKS: dict[str, Callable[[Any], bool]] = {
    "name": lambda v: isinstance(v, str) and v != "",
    "kind": lambda v: isinstance(v, str),
    "shape": lambda v: isinstance(v, list) and all(map(_is_count, v)),
    "quantize": lambda v: v is None or isinstance(v, dict),
    "reason": lambda v: isinstance(v, str),
}
_TENSOR_CHECKS: dict[str, Callable[[Any], bool]] = {
    **_ROW_CHECKS,
    "reuse": _is_count,
    "prune": lambda v: v is None or isinstance(v, dict),
    "tied": _is_names,
}
_MAP_CHECKS: dict[str, Callable[[Any], bool]] = {
    **_ROW_CHECKS,
    "signed": lambda v: isinstance(v, bool),
    "per": lambda v: v in (ROW, EXAMPLE),
    "reads": _is_names,
}
